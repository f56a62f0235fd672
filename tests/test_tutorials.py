"""The tutorials in docs/: files, commands and code are tried in their order, as a reader would.

A block whose first line is "# NAME.toml" or "# NAME.py" is a file, other Python is executed, bash is `tmsjax ...`. The
default suite follows the first tutorial within one process; `bash scripts/test.sh --notebooks` follows all of them.
"""

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, run_command
from test_notebooks import check_public_names

from tmsjax.cli import app
from tmsjax.spec import load_spec

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FIRST = ROOT / "docs" / "tutorials" / "first_map.md"
SMALLER = ("axes.feature_probability.count=12", "axes.extra_importance.count=12")  # of the first tutorial
every = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


def blocks(path: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def file_of(text: str) -> str | None:
    """The name of the file that a block is, or None."""
    found = re.match(r"# ([a-z_]+\.(?:toml|py))\n", text)
    return found and found[1]


def commands(text: str) -> list[list[str]]:
    """The arguments of every `tmsjax` line of a block."""
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    assert all(words[0] == "tmsjax" for words in lines)
    return [words[1:] for words in lines]


def follow(path: Path, execute: Callable[[list[str]], None]) -> None:
    """Does what the tutorial says, in the current folder."""
    made: dict = {}
    for language, text in blocks(path):
        if (name := file_of(text)) is not None:
            Path(name).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, path.name, "exec"), made)
        else:
            assert language == "bash"
            for arguments in commands(text):
                execute(arguments)


def test_there_are_four():
    assert len(TUTORIALS) == 4
    assert FIRST in TUTORIALS


@every
def test_code_and_specs_of_a_tutorial_are_valid_and_links_lead_somewhere(path):
    found = blocks(path)
    assert any(language == "python" or file_of(text) for language, text in found)
    for language, text in found:
        if language == "python":
            check_public_names(text)
        elif language == "toml":
            assert load_spec(tomllib.loads(text)).instances > 1
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), link


@pytest.mark.notebooks
def test_the_first_tutorial_can_be_followed(registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def execute(arguments: list[str]) -> None:
        if arguments[0] != "info":  # times training for some seconds
            sizes = [word for size in SMALLER for word in ("--set", size)] if arguments[0] == "run" else []
            app([*arguments, *sizes], standalone_mode=False)

    follow(FIRST, execute)
    made = {path.name for path in (tmp_path / "runs" / "first-map").rglob("*.*")}
    assert {"explorer.html", "report.md", "phase_map-best.nc", "phase_map-single.nc", "panels.svg"} <= made
    told = FIRST.read_text(encoding="utf-8")
    figures = {path.stem for path in (tmp_path / "runs" / "first-map" / "figures").glob("*.png")}
    assert figures == set(re.findall(r"^\| `([a-z_]+)` \|", told, re.MULTILINE)), "the table names every figure"


@pytest.mark.notebooks
@every
def test_a_tutorial_can_be_followed(path, registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def execute(arguments: list[str]) -> None:
        done = run_command(*arguments)
        print(done.stdout)
        assert done.returncode == 0, done.stderr
        assert not done.stderr

    follow(path, execute)
