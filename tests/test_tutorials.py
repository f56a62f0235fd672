"""Files, commands and code of docs/tutorials are tried in their order, as a reader would.

A block whose first line is "# NAME.toml" or "# NAME.py" is a file, other Python is executed, bash is `tmsjax ...`.
`bash scripts/test.sh --notebooks` runs them.
"""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, run_command

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
pytestmark = pytest.mark.notebooks


def blocks(path: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_can_be_followed(path, registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    for language, text in blocks(path):
        if (file := re.match(r"# ([a-z_]+\.(?:toml|py))\n", text)) is not None:
            Path(file[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, path.name, "exec"), made)
        else:
            assert language == "bash"
            for line in text.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "tmsjax"
                done = run_command(*arguments)
                print(done.stdout)
                assert (done.returncode, done.stderr) == (0, "")
    if path.stem == "first_map":
        drawn = {figure.stem for figure in (tmp_path / "runs" / "first-map" / "figures").glob("*.png")}
        told = re.findall(r"^\| `([a-z_]+)` \|", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert drawn == set(told), "its table names every figure"
