"""Pages of docs/: their code runs, the specs in them load, and the table of guarantees names tests that exist."""

import ast
import re
import tomllib
from dataclasses import fields

import pytest
from conftest import ROOT, run_command

from tmsjax.spec import TABLES, load_spec

EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_the_code_of_extending_runs(registries):
    import tmsjax

    made: dict = {}
    for block in blocks(EXTENDING, "python"):
        exec(compile(block, "docs/extending.md", "exec"), made)
    assert made["run"].dataset["W"].dims[-2:] == ("hidden", "feature")
    assert list(made["figures"]) == ["widths"]
    for changes in (
        {"model": {"family": "or"}, "data": {"values": "constant"}},
        {"model": {"family": "low-rank", "rank": 2}, "data": {"values": "triangular"}},
        {"model": {"family": "sparse-hidden", "l1": 0.01}, "data": {"activity": "with-the-first"}},
    ):
        raw = {
            "name": "documented",
            "axes": {"replica": {"count": 4}},
            "instance": {"feature_probability": 0.3},
            "train": {"steps": 300, "batch": 32, "learning_rate": 1e-2},
            "record": {"steps": [0, 300]},
            **changes,
        }
        raw["model"] = {"features": 4, "hidden": 3, **changes["model"]}
        losses = tmsjax.run_sweep(raw).dataset["history_loss"].to_numpy()
        assert (losses[:, 1] < 0.7 * losses[:, 0]).all(), "it learns"


@pytest.mark.slow
def test_the_example_of_own_models_runs_from_the_command_line(tmp_path):
    sizes = ["axes.l1.count=2", "axes.feature_probability.count=2", "train.steps=20", "record.steps=[20]"]
    changes = [word for size in sizes for word in ("--set", size)]
    done = run_command("run", ROOT / "sweeps" / "own_models.toml", "--out", tmp_path / "run", *changes)
    assert done.returncode == 0, done.stderr
    assert "own_models.py" in done.stdout


def test_the_commented_spec_loads_and_shows_the_keys_of_its_tables():
    text = (ROOT / "docs" / "reference" / "spec_keys.md").read_text(encoding="utf-8")
    (block,) = blocks(text, "toml")
    assert load_spec(tomllib.loads(block)).instances == 10 * 2 * 8
    tables = [name for name in TABLES if f"\n[{name}]" in block]
    assert set(tables) >= {"model", "instance", "train", "data", "init", "record", "study"}
    keys = [f.name for name in tables for f in fields(TABLES[name]) if f.metadata]
    assert [key for key in keys if not re.search(rf"\b{key}\b", block)] == []


def usual_and_slow_tests() -> tuple[set[str], set[str]]:
    """Names of the tests that the usual command runs, and of those marked slow."""
    usual, slow = set(), set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                marked = "pytest.mark.slow" in map(ast.unparse, node.decorator_list)
                (slow if marked else usual).add(node.name)
    return usual, slow


def test_the_tests_of_every_guarantee_exist_and_are_as_slow_as_the_table_says():
    usual, slow = usual_and_slow_tests()
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if "`test_" in row]
    assert len(rows) > 20
    for row in rows:
        now, _, later = row.partition("slow: ")
        assert not set(re.findall(r"\btest_\w+\b(?!\.py)", now)) - usual, row
        assert not set(re.findall(r"\btest_\w+\b(?!\.py)", later)) - slow, row
