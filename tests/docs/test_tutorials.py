"""The tutorials in docs/: files, commands and code are tried in their order, as a reader would.

A block whose first line is "# NAME.toml" or "# NAME.py" is a file, other Python is executed, bash is `tmsjax ...`.
`bash scripts/test.sh --notebooks` follows all of them.
"""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, run_command

from docs.test_notebooks import check_public_names
from tmsjax.spec import load_spec

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def blocks(path: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def file_of(text: str) -> str | None:
    """The name of the file that a block is, or None."""
    found = re.match(r"# ([a-z_]+\.(?:toml|py))\n", text)
    return found and found[1]


def test_code_and_specs_of_tutorials_are_valid():
    for path in TUTORIALS:
        for language, text in blocks(path):
            if language == "python":
                check_public_names(text)
            elif language == "toml":
                assert load_spec(tomllib.loads(text)).instances > 1, path.name


@pytest.mark.notebooks
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_can_be_followed(path, registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    for language, text in blocks(path):
        if (name := file_of(text)) is not None:
            Path(name).write_text(text, encoding="utf-8")
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
