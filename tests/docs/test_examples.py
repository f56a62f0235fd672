"""`tmsjax examples`: lists the example sweeps, and copies one with what it needs, overwriting nothing."""

import re
import shutil

import pytest
from conftest import ROOT, run_command

from tmsjax import examples
from tmsjax.errors import RunError, SpecError
from tmsjax.spec import load_spec

SWEEPS = sorted(path.stem for path in (ROOT / "sweeps").glob("*.toml"))


def test_the_list_has_every_sweep_with_its_models_and_a_sentence():
    lines = run_command("examples").stdout.splitlines()
    found = [re.match(r"(\w+) +[\d,]+ models  (.{20,})", line) for line in lines]
    assert [match[1] for match in found if match] == SWEEPS
    assert "imports own_models.py" in lines[[line.split(" ")[0] for line in lines].index("own_models") + 1]


def test_a_copy_has_what_the_sweep_imports_and_runs(tmp_path):
    done = run_command("examples", "own_models", "--to", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own_models.py", "own_models.toml"]
    assert (tmp_path / "own_models.py").read_bytes() == (ROOT / "sweeps" / "own_models.py").read_bytes()
    models = load_spec(tmp_path / "own_models.toml", imports=False).instances
    assert f"to train its {models} models: tmsjax run {tmp_path}" in done.stdout


def test_a_sweep_that_needs_a_run_brings_the_sweep_and_says_where_its_run_goes(tmp_path):
    done = run_command("examples", "autoencoders.toml", "--to", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["autoencoders.toml", "autoencoders_toy.toml"]
    assert f"first: tmsjax run {tmp_path}/autoencoders_toy.toml --out " in done.stdout


def test_nothing_is_overwritten(tmp_path):
    one = examples.example("own_models")
    assert [written for _, written in examples.copy(one, tmp_path)] == [True, True]
    assert [written for _, written in examples.copy(one, tmp_path)] == [False, False]
    (tmp_path / "own_models.toml").unlink()
    (tmp_path / "own_models.py").write_text("mine")
    with pytest.raises(RunError, match=r"own_models\.py: another file of this name is there"):
        list(examples.copy(one, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["own_models.py"], "nothing is written if one file is in the way"


def test_unknown_names_and_folders_exit_2(tmp_path):
    done = run_command("examples", "one-neuron-rellu", "--to", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no example is named 'one-neuron-rellu'; did you mean 'one_neuron_relu'?" in done.stderr
    with pytest.raises(SpecError, match="no example is named"):
        examples.example("../pyproject")
    assert list(tmp_path.iterdir()) == []
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
