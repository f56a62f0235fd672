"""Jupyter executes the notebooks in docs/: `bash scripts/test.sh --notebooks`."""

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.notebooks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_jupyter_executes_a_notebook(path, tmp_path):
    import nbclient
    import nbformat

    read = nbformat.read(path, as_version=4)
    nbformat.validate(read)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(read, timeout=300, kernel_name="python3", resources=place).execute()
    assert not any(tmp_path.iterdir()), "it writes only into a temporary folder"
    outputs = [output for cell in read.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert "image/png" in kinds, "figures appear as pictures"
