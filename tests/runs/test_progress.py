"""Progress: a bar in terminals, lines from the command, otherwise nothing; diverged models."""

import warnings

import pytest
from conftest import run_command, small_spec, write_spec

from tmsjax.engine import programs
from tmsjax.errors import Diverged
from tmsjax.runs import progress_bar, run_sweep
from tmsjax.runs.progress import Progress
from tmsjax.spec import load_spec

CALM = {"learning_rate": 1e-2, "steps": 1000, "schedule": "constant"}


def wild_spec() -> dict:
    """Six of the twelve models diverge."""
    raw = small_spec(train=CALM)
    raw["train"]["learning_rate"] = {"select": "feature_probability", "of": [1e6, 1e-2]}
    return raw


def on_terminal(monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def test_python_shows_a_bar_in_a_terminal(monkeypatch, capsys):
    on_terminal(monkeypatch)
    programs._kept.cache_clear()
    run_sweep(small_spec())
    assert "compiling ..." in (out := capsys.readouterr().out)
    assert "30/30" in out


@pytest.mark.parametrize("options", [{"progress": False}, {"listen": lambda p: None}])
def test_python_shows_no_bar_when_told_so_or_somebody_listens(monkeypatch, capsys, options):
    on_terminal(monkeypatch)
    run_sweep(small_spec(), **options)
    assert capsys.readouterr().out == ""


def test_python_prints_nothing_where_there_is_no_terminal(capsys):
    run_sweep(small_spec())
    assert capsys.readouterr().out == ""


def test_plain_lines_come_every_ten_seconds_and_at_the_end(capsys):
    spec = load_spec(small_spec())
    with progress_bar(spec) as listen:
        assert listen is None
    with progress_bar(spec, plain=True) as listen:
        for step, seconds in ((1, 3.0), (10, 11.0), (15, 20.0), (20, 21.5), (30, 22.0)):
            listen(Progress(step, 30, seconds, 4.0, 5e3, 0.25, models=12))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["10/30", "20/30", "30/30"]
    assert lines[0] == "step 10/30  2 s left  4 models/s 5.0e+03 samples/s mean loss 0.25"


@pytest.mark.parametrize(
    "changes",
    [{}, {"engine": {"path": "scalars"}}, {"model": {"activation": "gelu"}, "record": {"measures": []}}],
    ids=str,
)
def test_compiling_is_told_once_and_only_if_something_is_compiled(changes, capsys):
    programs._kept.cache_clear()
    told = []
    for seed in (1, 2):
        spec = load_spec(small_spec(seed=seed, **changes))
        with progress_bar(spec, plain=True) as listen:
            run_sweep(spec, listen=listen)
        told.append(capsys.readouterr().out.splitlines())
    assert [[line.partition(" ")[0] for line in lines] for lines in told] == [["compiling", "step"], ["step"]]
    assert told[0][0] == "compiling ..."


def test_python_warns_once_of_diverged_models_when_a_sweep_finishes(tmp_path):
    for out in (None, tmp_path / "run"):
        with pytest.warns(Diverged, match=r"^6 of 12 models diverged \(not finite, or") as caught:
            run_sweep(wild_spec(), out)
        assert [w.filename for w in caught] == [__file__], "one, at the line that called"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_sweep(wild_spec(), tmp_path / "run")  # is complete
        run_sweep(small_spec(train=CALM))


def test_the_command_prints_its_line_and_no_warning(tmp_path):
    done = run_command("run", write_spec(tmp_path / "s.toml", wild_spec()), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "diverged models: 6\n" in done.stdout
    assert "diverged" not in done.stderr
