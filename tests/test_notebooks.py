"""The notebooks in docs/: stripped, and their code runs. Those marked notebooks are executed by Jupyter."""

import ast
import json
import time
from functools import reduce

import pytest
from conftest import ROOT

import tmsjax
from tmsjax import errors

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FIRST = ROOT / "docs" / "notebooks" / "first_sweep.ipynb"
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind: str) -> list[str]:
    """The sources of the notebook's cells of one kind."""
    read = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in read["cells"] if cell["cell_type"] == kind]


def evaluated(source: str, made: dict):
    """Executes a cell. Returns the value of its last expression, or None."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), made)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), made)


def public_names(source: str) -> set[str]:
    """The names of tmsjax that the code uses, such as "theory.jump"."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id == "tmsjax":
            names.add(".".join(reversed(parts)))
    return names


def check_public_names(source: str) -> None:
    """The code compiles, and what it uses of tmsjax is public and exists."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tmsjax"):
            assert node.module == "tmsjax.errors"
            assert all(hasattr(errors, name.name) for name in node.names)
    for name in public_names(source):
        first, *others = name.split(".")
        assert first in tmsjax.__all__
        reduce(getattr, others, getattr(tmsjax, first))


def test_there_are_five():
    assert len(NOTEBOOKS) == 5
    assert FIRST in NOTEBOOKS


@every
def test_a_notebook_is_stored_without_outputs(path):
    read = json.loads(path.read_text(encoding="utf-8"))
    for cell in read["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}
    assert set(read["metadata"]) == {"kernelspec", "language_info"}
    assert read["metadata"]["language_info"] == {"name": "python"}, "no version of whoever ran it last"


@every
def test_a_notebook_teaches_with_prose_and_public_names(path):
    code, prose = cells(path, "code"), cells(path, "markdown")
    assert prose[0].startswith("# ")
    assert len(prose) >= len(code) / 2
    for source in code:
        check_public_names(source)


def test_the_first_notebook_runs(registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made: dict = {"__name__": "__main__"}
    shown = [evaluated(source, made) for source in cells(FIRST, "code")]
    html = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert sum(text is not None for text in html) == 3, "the spec, the run and the explorer"
    assert not any(tmp_path.iterdir())


@pytest.mark.notebooks
@every
def test_jupyter_executes_a_notebook(path, tmp_path):
    import nbclient
    import nbformat

    read = nbformat.read(path, as_version=4)
    nbformat.validate(read)
    began = time.monotonic()
    client = nbclient.NotebookClient(
        read, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    print(f"{path.stem}: {time.monotonic() - began:.1f} s")
    assert not any(tmp_path.iterdir()), "it writes only into a temporary folder"
    outputs = [output for cell in read.cells if cell.cell_type == "code" for output in cell.outputs]
    warned = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not warned
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert "image/png" in kinds, "figures appear as pictures"
