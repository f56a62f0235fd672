"""Rooms import only from rooms before them, through their faces; heavy libraries are imported only where allowed."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tmsjax

PACKAGE = Path(tmsjax.__file__).parent
ROOMS = ("kinds", "spec", "models", "engine", "theory", "runs", "analysis", "plots")
BENEATH = ("errors", "lazy")  # modules that every room may use
ON_TOP = ("__init__", "cli", "examples", "terminal")
MODULES = sorted(str(p.relative_to(PACKAGE).with_suffix("")) for p in PACKAGE.rglob("*.py"))
LONGEST = 400  # lines of a module
ONLY_IN = {
    "orbax": {"runs/checkpoint"},
    "matplotlib": {
        f"plots/{name}"
        for name in (
            "style",
            "bars",
            "maps",
            "features",
            "neurons",
            "curves",
            "reports",
            "animation",
            "notebook",
            "dynamics",
        )
    },
    "PIL": {"plots/animation"},
    "contourpy": {"analysis/outlines"},
    "distributed": {"runs/cluster"},
    "typer": {"cli", "examples", "terminal"},
    "optax": {"kinds/optimizers", "kinds/schedules", "engine/train"},
}
WITHOUT_JAX = ("kinds", "spec", "theory", "runs", "analysis", "plots", "cli")


def imports(module: str) -> list[tuple[str, str]]:
    """(module, name) of everything that a module imports, anywhere in its text; name "" for a plain import."""
    found = []
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


def ours(module: str) -> list[tuple[str, str, str]]:
    """(room, rest of the path, name) of what a module imports of this package."""
    found = []
    for path, name in imports(module):
        parts = path.split(".")
        if parts[0] == "tmsjax":
            whole = [*parts[1:], name] if len(parts) == 1 else [*parts[1:2], ".".join(parts[2:]), name]
            found.append((whole[0], *(whole[1:] if len(parts) > 1 else ("", ""))))
    return found


def room_of(module: str) -> str:
    return module.split("/")[0]


def test_every_module_stands_in_a_room():
    stray = [m for m in MODULES if room_of(m) not in (*ROOMS, *BENEATH, *ON_TOP)]
    assert not stray
    assert {room_of(m) for m in MODULES} == {*ROOMS, *BENEATH, *ON_TOP}


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in ROOMS])
def test_a_room_imports_from_rooms_before_it_and_through_their_faces(module):
    room = room_of(module)
    before = ROOMS[: ROOMS.index(room)]
    for other, rest, name in ours(module):
        assert other == room or other in before or other in BENEATH, f"{module} imports {other}"
        if other in before and (rest, name) != ("", ""):
            face = importlib.import_module(f"tmsjax.{other}").__all__
            assert (rest or name) in face, f"{module} reaches past the face of {other}: {rest or name}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_has_a_circle(room):
    """Modules of one room: each can be imported after those that it imports."""
    modules = {m for m in MODULES if room_of(m) == room and not m.endswith("__init__")}
    needs = {}
    for module in modules:
        inside = [(rest, name) for other, rest, name in ours(module) if other == room]
        needs[module] = {f"{room}/{(rest or name).replace('.', '/')}" for rest, name in inside} & modules
    while free := {m for m, needed in needs.items() if not needed & needs.keys()}:
        needs = {m: needed for m, needed in needs.items() if m not in free}
    assert not needs


@pytest.mark.parametrize("room", ROOMS)
def test_a_face_says_what_the_room_is_for_and_has_what_it_names(room):
    face = importlib.import_module(f"tmsjax.{room}")
    told = face.__doc__.partition("\nExamples:\n")[0].strip().splitlines()
    assert 2 <= len(told) <= 8
    assert told[0].startswith(f"{room.capitalize()}: ")
    assert told[0].endswith(".")
    assert sorted(face.__all__) == sorted(set(face.__all__))
    for name in face.__all__:
        assert getattr(face, name) is not None


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_too_long(module):
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("library", ONLY_IN)
def test_libraries_stay_in_their_modules(library):
    users = {m for m in MODULES if any(path.split(".")[0] == library for path, _ in imports(m))}
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


def test_vmap_over_instances_jit_and_sharding_live_in_few_modules():
    for module in MODULES:
        text = (PACKAGE / f"{module}.py").read_text()
        theory = ("theory/newton", "theory/landscape", "theory/curvature")
        if module not in ("engine/ensemble", *theory):
            assert "jax.jit" not in text, module
            assert "NamedSharding" not in text, module
        over_instances = ("engine/ensemble", "engine/segment", "engine/lanes")
        of_samples = ("models/loss", "engine/training_set")
        if module not in (*over_instances, *of_samples, "models/trial", "theory/vertices"):  # over samples, outputs
            assert "jax.vmap" not in text, module
