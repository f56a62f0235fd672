"""`tmsjax examples`: lists the example sweeps, and copies one with what it needs, overwriting nothing."""

import re
import shutil

import pytest
from conftest import ROOT, run_command

from tmsjax import examples
from tmsjax.errors import RunError, SpecError
from tmsjax.spec import load_spec

SWEEPS = sorted(path.stem for path in (ROOT / "sweeps").glob("*.toml"))


def test_the_list_has_every_sweep_with_its_models_sentence_and_needs():
    done = run_command("examples")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    entries = [line for line in lines if re.match(r"\w+ +[\d,]+ models  ", line)]
    assert [line.split()[0] for line in entries] == SWEEPS
    assert any(
        line.startswith("intro ") and " 1,000 models  Five features in two dimensions: the col" in line
        for line in lines
    )
    assert lines[[line.split()[0] for line in lines].index("own_models") + 1].strip() == "imports own_models.py"
    assert (
        lines[[line.split()[0] for line in lines].index("autoencoders") + 1].strip()
        == "needs the run of autoencoders_toy"
    )


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sentence_is_one_sentence_without_sources(name):
    one = examples.example(name)
    assert 20 < len(one.sentence) < 260
    assert "Elhage" not in one.sentence
    assert one.sentence[0].isalnum()
    assert one.sentence.count("(") == one.sentence.count(")")


def test_a_copy_has_what_the_sweep_imports_and_runs(tmp_path):
    done = run_command("examples", "own_models", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "sweeps").iterdir()) == ["own_models.py", "own_models.toml"]
    assert (tmp_path / "sweeps" / "own_models.py").read_bytes() == (ROOT / "sweeps" / "own_models.py").read_bytes()
    assert done.stdout.splitlines()[-1] == "to train its 720 models: tmsjax run sweeps/own_models.toml"
    assert load_spec(tmp_path / "sweeps" / "own_models.toml", imports=False).instances == 720


def test_a_sweep_that_needs_a_run_brings_the_sweep_and_says_where_its_run_goes(tmp_path):
    done = run_command("examples", "autoencoders.toml", "--to", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["autoencoders.toml", "autoencoders_toy.toml"]
    assert "first: tmsjax run mine/autoencoders_toy.toml --out runs/autoencoders_toy\n" in done.stdout


def test_nothing_is_overwritten(tmp_path):
    one = examples.example("memorization")
    assert [written for _, written in examples.copy(one, tmp_path)] == [True, True]
    assert [written for _, written in examples.copy(one, tmp_path)] == [False, False]
    (tmp_path / "memorization.toml").unlink()
    (tmp_path / "unit_length.py").write_text("mine")
    with pytest.raises(RunError, match=r"unit_length\.py: another file of this name is there"):
        list(examples.copy(one, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["unit_length.py"], "nothing is written if one file is in the way"
    (tmp_path / "memorization.toml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"memorization\.toml"):
        list(examples.copy(one, tmp_path))
    assert not (tmp_path / "elsewhere").exists()


def test_the_command_prints_its_version():
    done = run_command("--version")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"tmsjax \d+\.\d+\.\d+\n", done.stdout)


def test_unknown_names_get_the_nearest_and_exit_code_2(tmp_path):
    done = run_command("examples", "one-neuron-rellu", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no example is named 'one-neuron-rellu'; did you mean 'one_neuron_relu'?" in done.stderr
    with pytest.raises(SpecError, match="no example is named"):
        examples.example("../pyproject")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folders_exit_2(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_command("examples", "intro", "--to", tmp_path / "file")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_a_wheel_has_them_inside_the_package(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "sweeps", tmp_path / "sweeps")
    monkeypatch.setattr(examples, "FOLDERS", (tmp_path / "sweeps", ROOT / "absent"))
    assert examples.folder() == tmp_path / "sweeps"
    monkeypatch.setattr(examples, "FOLDERS", (tmp_path / "absent",) * 2)
    with pytest.raises(RunError, match="has no example sweeps"):
        examples.folder()
