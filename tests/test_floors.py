"""The house: modules import only from floors below them, and heavy libraries stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tmsjax

PACKAGE = Path(tmsjax.__file__).parent
FLOORS = {
    "quantity": -1,
    "spec": 0,
    "machine": 0,
    "scalars": 0,
    "threefry": 0,
    "theory": 0,
    "expected": 0,
    "metrics": 0,
    "pairs": 1,
    "polytopes": 1,
    "grid": 1,
    "loader": 1,
    "shard": 1,
    "data": 2,
    "model": 2,
    "loss": 3,
    "train": 4,
    "ensemble": 5,
    "files": 4,
    "capacity": 6,
    "processes": 6,
    "store": 5,
    "checkpoint": 6,
    "run": 7,
    "analysis": 6,
    "optimum": 6,
    "sweep": 8,
    "merge": 8,
    "comparison": 8,
    "plots": 7,
    "replicas": 7,
    "boundary": 7,
    "study_plots": 8,
    "features": 7,
    "feature_plots": 8,
    "studies": 9,
    "estimate": 9,
    "bound": 6,
    "competitors": 8,
    "bench": 9,
    "throughput": 9,
    "cli": 10,
    "__init__": 11,
}
ONLY_IN = {
    "orbax": {"checkpoint"},
    "matplotlib": {"plots", "study_plots", "feature_plots"},
    "contourpy": {"analysis"},
    "typer": {"cli"},
}
WITHOUT_JAX = [
    "spec",
    "expected",
    "loader",
    "run",
    "analysis",
    "comparison",
    "replicas",
    "plots",
    "study_plots",
    "features",
    "feature_plots",
    "studies",
    "pairs",
    "polytopes",
    "metrics",
    "theory",
    "store",
    "cli",
]


def imports(module: str) -> set[str]:
    """Dotted names that a module imports, anywhere in its text."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "tmsjax":
            names |= {f"tmsjax.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_every_module_has_a_floor():
    assert {p.stem for p in PACKAGE.glob("*.py")} == set(FLOORS)


@pytest.mark.parametrize("module", FLOORS)
def test_imports_come_from_below(module):
    ours = {name.split(".")[1] for name in imports(module) if name.startswith("tmsjax.")}
    above = {name for name in ours if FLOORS[name] >= FLOORS[module]}
    assert not above, f"{module} (floor {FLOORS[module]}) imports {above}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_in_one_module(library):
    users = {m for m in FLOORS if any(name.split(".")[0] == library for name in imports(m))}
    assert users == ONLY_IN[library]


@pytest.mark.parametrize("module", WITHOUT_JAX)
def test_reading_and_drawing_need_no_jax(module):
    code = f"import sys, tmsjax.{module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_neither_jax_nor_xarray():
    code = "import sys; from tmsjax import cli\ntry: cli.app(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit(any(m in sys.modules for m in ('jax', 'xarray', 'matplotlib', 'scipy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "compare" in done.stdout


def test_vmap_over_instances_jit_and_sharding_live_in_the_ensemble():
    for module in FLOORS:
        text = (PACKAGE / f"{module}.py").read_text()
        if module not in ("ensemble", "bound", "competitors", "optimum"):  # they train no instances
            assert "jax.jit" not in text, module
            assert "NamedSharding" not in text, module
        if module not in ("ensemble", "competitors", "loss"):  # loss maps over samples
            assert "jax.vmap" not in text, module
