"""README.md: its code runs, its commands exist, and it stays a first page."""

import re
import shlex

from conftest import ROOT

from tmsjax.cli import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALLER = ["--set", "train.steps=20", "--set", "axes.replica.count=2"]


def test_it_is_short():
    lines = README.splitlines()
    assert len(lines) <= 110
    assert len(README.split()) <= 800
    assert [line for line in lines if len(line) > 140] == []
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    assert len(contributing) <= 100


def test_its_code_and_its_commands_run(tmp_path, monkeypatch, capsys):
    """The block of Python as it is, then the block of `tmsjax` lines, with a small sweep."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.99, "agreement with exact theory"
    assert (tmp_path / "first_map.png").stat().st_size > 10_000
    (commands,) = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in commands.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "tmsjax"
        app([*arguments, *(SMALLER if arguments[0] == "run" else [])], standalone_mode=False)
    assert (tmp_path / "runs" / "first-map" / "explorer.html").stat().st_size > 100_000


def test_its_scripts_and_commands_exist():
    for path in re.findall(r"bash (scripts/\S+\.sh)", README):
        assert (ROOT / path).exists(), path
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"`tmsjax (\w+)", README)) <= names


def test_its_functions_are_public():
    import tmsjax

    table = README.split("## What to call")[1].split("\n## ")[0]
    named = {name for name in re.findall(r"`(\w+)[`(]", table) if name != "tmsjax"}
    assert len(named) > 8
    assert named <= set(tmsjax.__all__)
