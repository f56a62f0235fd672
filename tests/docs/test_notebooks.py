"""The notebooks in docs/ are stripped and use public names; the tests marked notebooks execute them with Jupyter."""

import ast
import json
from functools import reduce

import pytest
from conftest import ROOT

import tmsjax

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(path, kind: str) -> list[str]:
    """The sources of the notebook's cells of one kind."""
    read = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in read["cells"] if cell["cell_type"] == kind]


def check_public_names(source: str) -> None:
    """The code compiles, and what it uses of tmsjax is public and exists."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tmsjax"):
            assert node.module == "tmsjax.errors"
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("tmsjax."):
            first, *others = ast.unparse(node).split(".")[1:]
            assert first in tmsjax.__all__
            reduce(getattr, others, getattr(tmsjax, first))


def test_notebooks_are_stored_without_outputs_and_use_public_names():
    wrong = []
    for path in NOTEBOOKS:
        read = json.loads(path.read_text(encoding="utf-8"))
        made = [cell for cell in read["cells"] if cell.get("outputs") or cell.get("execution_count")]
        if made or read["metadata"].get("language_info", {}).get("version"):
            wrong.append(f"{path.name}: has outputs, or the version of whoever ran it last")
        for source in cells(path, "code"):
            check_public_names(source)
    assert wrong == []


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_jupyter_executes_a_notebook(path, tmp_path):
    import nbclient
    import nbformat

    read = nbformat.read(path, as_version=4)
    nbformat.validate(read)
    client = nbclient.NotebookClient(
        read, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert not any(tmp_path.iterdir()), "it writes only into a temporary folder"
    outputs = [output for cell in read.cells if cell.cell_type == "code" for output in cell.outputs]
    warned = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not warned
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert "image/png" in kinds, "figures appear as pictures"
