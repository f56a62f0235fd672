"""Files that a spec imports: only run and resume execute them; runs record them and refuse changed or missing files."""

import hashlib
import importlib.util
import json
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import digest, run_command, slowly, small_spec

import tmsjax
from tmsjax.errors import Interrupted, RunError, SpecError
from tmsjax.kinds import ACTIVATIONS, FAMILIES, located
from tmsjax.runs import open_run, run_sweep
from tmsjax.runs.files import read_sealed, write_sealed
from tmsjax.spec import load_spec, to_toml

MODELS = """
import pathlib
import jax.numpy as jnp
import tmsjax

with open(pathlib.Path(__file__).with_name("executed"), "a") as marker:
    marker.write("x")


def apply(params, x, f):
    return f(params["V"].T @ (params["W"] @ x) + params["b"])


tmsjax.add_activation("softplus-of-a-file", lambda x: jnp.logaddexp(x, 0.0))
tmsjax.add_family(
    "untied-of-a-file",
    parameters={"W": ("hidden", "feature"), "V": ("hidden", "feature"), "b": ("feature",)},
    apply=apply,
    directions=lambda params: params["W"],
)
"""
NAMES = {"activation": "softplus-of-a-file", "family": "untied-of-a-file"}
CHANGED = "# another word\n"


def sweep(**changes) -> dict:
    return small_spec(**({"imports": ["mymodels.py"], "model": NAMES} | changes))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a spec and the file that it imports."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "mymodels.py").write_text(MODELS)
    (place / "sweep.toml").write_text(to_toml(load_spec(sweep())))
    yield place
    for registry in (ACTIVATIONS, FAMILIES):
        for file in tmp_path.rglob("*.py"):
            registry.remove_source(str(file))


def executions(place: Path) -> int:
    marker = place / "executed"
    return len(marker.read_text()) if marker.exists() else 0


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def interrupted(source, out: Path) -> None:
    """Leaves a run of some steps in `out`."""
    calls = iter([False] * 3 + [True])
    with pytest.raises(Interrupted):
        run_sweep(source, out, overrides=["checkpoint.segment_seconds=0"], should_stop=lambda: next(calls))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path, str]:
    """A run made by the command: its folder, that of its spec, and what the command printed."""
    place = tmp_path_factory.mktemp("finished")
    (place / "mymodels.py").write_text(MODELS)
    (place / "sweep.toml").write_text(to_toml(load_spec(sweep())))
    done = run_command("run", place / "sweep.toml", cwd=place)
    assert done.returncode == 0, done.stderr
    return place / done.stdout.splitlines()[-1], place, done.stdout


def test_the_command_tells_records_and_executes_the_file_once(finished):
    run, place, output = finished
    file = place / "mymodels.py"
    assert output.splitlines()[0] == f"imports {file} (sha256 {sha256(file)[:8]})"
    assert executions(place) == 1
    info = json.loads((run / "run.json").read_text())
    assert info["imports"] == [{"name": "mymodels.py", "path": str(file), "sha256": sha256(file)}]
    assert {"W", "V", "b"} <= set(open_run(run).dataset.data_vars)


def test_the_folder_is_named_by_the_hash_of_the_whole_spec(finished):
    run, _, _ = finished
    assert run.name == f"small-{open_run(run).spec.hash[:8]}"


def test_stored_runs_are_read_without_the_file_and_nothing_is_executed(finished, tmp_path):
    source, place, _ = finished
    run = tmp_path / "run"
    shutil.copytree(source, run)
    before = executions(place)
    moved = (place / "mymodels.py").rename(place / "moved.py")
    try:
        for verb in ("info", "map", "compare", "plot"):
            done = run_command(verb, run)
            assert done.returncode == 0, f"{verb}: {done.stderr}"
        assert (run / "figures" / "phase_map.png").exists()
    finally:
        moved.rename(place / "mymodels.py")
    for verb in ("info", "map", "compare", "plot"):
        assert run_command(verb, run).returncode == 0
    assert executions(place) == before


def test_info_of_a_spec_executes_only_when_asked(folder):
    done = run_command("info", folder / "sweep.toml")
    assert done.returncode == 0, done.stderr
    assert "softplus-of-a-file" in done.stdout
    assert "12 = 2 feature_probability x 3 extra_importance x 2 replica\n" in done.stdout
    assert "timing need --imports" in done.stdout
    assert "training time" not in done.stdout
    assert executions(folder) == 0
    done = run_command("info", folder / "sweep.toml", "--imports")
    assert done.returncode == 0, done.stderr
    assert "training time" in done.stdout
    assert executions(folder) == 1


@pytest.mark.smoke
def test_runs_stop_and_resume_to_the_same_bytes(folder, tmp_path):
    whole = run_sweep(folder / "sweep.toml")
    interrupted(folder / "sweep.toml", tmp_path / "run")
    assert executions(folder) == 1, "two runs in a process execute it once"
    done = run_command("resume", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"imports {folder / 'mymodels.py'} (sha256 ")
    assert executions(folder) == 2
    assert digest(open_run(tmp_path / "run").dataset) == digest(whole.dataset)


@pytest.mark.parametrize("change", ["changed", *slowly("missing")])
def test_a_file_that_is_not_what_it_was_is_refused_before_it_is_executed(folder, tmp_path, change):
    out, file = tmp_path / "run", folder / "mymodels.py"
    interrupted(folder / "sweep.toml", out)
    before, was = executions(folder), sha256(file)
    if change == "changed":
        file.write_text(MODELS + CHANGED)
        what = f"{file}: has changed (sha256 {was[:8]} recorded, {sha256(file)[:8]} now)"
    else:
        file.rename(folder / "moved.py")
        what = f"{file}: missing (sha256 {was[:8]} recorded)"
    for arguments in (("resume", out), ("run", folder / "sweep.toml", "--out", out)):
        done = run_command(*arguments)
        assert done.returncode == 2
        assert what in done.stderr
        assert "another --out or --fresh" in done.stderr
        assert "Traceback" not in done.stderr
    with pytest.raises(RunError, match="its imports have changed"):
        run_sweep(open_run(out).spec, out)
    assert executions(folder) == before
    if change == "changed":
        done = run_command("run", folder / "sweep.toml", "--out", out, "--fresh")
        assert done.returncode == 0, done.stderr
        assert executions(folder) == before + 1
    else:
        shutil.copy(folder / "moved.py", file)
        assert run_command("resume", out).returncode == 0


@pytest.mark.slow
def test_imports_from_several_places_resume_from_where_they_were(tmp_path):
    place = tmp_path / "specs"
    (place / "sub").mkdir(parents=True)
    (tmp_path / "shared").mkdir()
    activation, family = MODELS.split("tmsjax.add_family")
    (place / "sub" / "family.py").write_text(
        activation.split("tmsjax.add_activation")[0] + "tmsjax.add_family" + family
    )
    (tmp_path / "shared" / "activation.py").write_text(activation)
    raw = sweep(imports=["sub/family.py", "../shared/activation.py"])
    (place / "sweep.toml").write_text(to_toml(load_spec(raw)))
    out = tmp_path / "run"
    assert run_command("run", place / "sweep.toml", "--out", out).returncode == 0
    (out / "results.nc").unlink()
    done = run_command("resume", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"imports {place / 'sub' / 'family.py'} (" in done.stdout
    assert f"imports {tmp_path / 'shared' / 'activation.py'} (" in done.stdout


@pytest.mark.slow
def test_the_same_file_in_another_place_goes_on_and_is_recorded(folder, tmp_path):
    out, other = tmp_path / "run", tmp_path / "other"
    assert run_command("run", folder / "sweep.toml", "--out", out).returncode == 0
    other.mkdir()
    for name in ("sweep.toml", "mymodels.py"):
        (folder / name).rename(other / name)
    (out / "results.nc").unlink()
    assert run_command("resume", out).returncode == 2, "it is not where it was"
    done = run_command("run", other / "sweep.toml", "--out", out)
    assert done.returncode == 0, done.stderr
    assert open_run(out).spec.folder == str(other)
    (out / "results.nc").unlink()
    assert run_command("resume", out).returncode == 0


@pytest.mark.slow
def test_entries_that_only_python_added_are_named_when_a_run_cannot_go_on(tmp_path):
    def square(x):
        return x * x

    tmsjax.add_activation("square-of-a-notebook", square)
    out = tmp_path / "run"
    try:
        raw = small_spec(model={"activation": "square-of-a-notebook"})
        interrupted(raw, out)
        done = run_command("resume", out)
        assert done.returncode == 2
        assert "model.activation = 'square-of-a-notebook' is not known here" in done.stderr
        assert "Traceback" not in done.stderr
        assert digest(run_sweep(open_run(out).spec, out).dataset) == digest(run_sweep(raw).dataset)
    finally:
        ACTIVATIONS.remove_source(__name__)
    assert run_command("map", out).returncode == 0


def test_what_does_not_fit_the_spec_is_refused_before_any_work(folder, tmp_path):
    (folder / "mymodels.py").write_text(MODELS.replace('lambda params: params["W"]', 'lambda params: params["W"].T'))
    done = run_command("run", folder / "sweep.toml", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "model.family" in done.stderr
    assert "directions gives float32[2, 1], not float32[1, 2]" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_family_of_a_file_trains_what_its_functions_say(folder):
    d = run_sweep(folder / "sweep.toml", overrides=["train.steps=1"]).dataset
    assert d["V"].dims[-2:] == ("hidden", "feature")
    assert not np.array_equal(d["V"], d["W"])


@pytest.mark.parametrize("source", [None, [], 3])
def test_no_spec_at_all_is_a_spec_error(source):
    with pytest.raises(SpecError, match="needs a Spec, a dict or the path of a TOML file"):
        run_sweep(source)


def test_an_activity_of_a_file_may_need_no_probability():
    """Whether it does is known when the file was executed; until then the spec is accepted."""
    raw = sweep(axes={"extra_importance": {"values": [1.0, 2.0]}}, data={"activity": "of-a-file"})
    del raw["axes"]["feature_probability"], raw["instance"]["feature_probability"]
    assert load_spec(raw).data.activity == "of-a-file"
    with pytest.raises(SpecError, match=r"instance.feature_probability: is missing"):
        load_spec(raw | {"imports": []})


IN_A_WORKER = """
import multiprocessing, sys
import tmsjax


def weights(spec):
    return tmsjax.run_sweep(spec, progress=False).dataset["W"].to_numpy()


if __name__ == "__main__":
    spec = tmsjax.load_spec(sys.argv[1])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(weights, (spec,))
    assert (there == weights(spec)).all()
"""


@pytest.mark.slow
def test_a_spec_that_is_sent_to_a_worker_process_imports_there(folder):
    script = folder / "script.py"
    script.write_text(IN_A_WORKER)
    command = [sys.executable, str(script), str(folder / "sweep.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert executions(folder) == 2, "once in each process"


def test_bytecode_beside_a_file_is_not_executed(folder, tmp_path):
    """What is executed is what was hashed, even where __pycache__ holds other code that Python would prefer."""
    other = tmp_path / "other.py"
    other.write_text(MODELS.replace("executed", "tampered"))
    cached = importlib.util.cache_from_source(folder / "mymodels.py")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(other), cached, str(folder / "mymodels.py"), invalidation_mode=unchecked)
    run_sweep(folder / "sweep.toml")
    assert executions(folder) == 1
    assert not (folder / "tampered").exists()


def test_a_file_that_no_record_names_is_not_executed_on_resume(folder, tmp_path):
    interrupted(folder / "sweep.toml", tmp_path / "run")
    info, _ = read_sealed(tmp_path / "run" / "run.json")
    for found in ([], 3, [3], [{"name": "mymodels.py"}]):
        write_sealed(tmp_path / "run" / "run.json", {**info, "imports": found})
        before = executions(folder)
        done = run_command("resume", tmp_path / "run")
        assert (done.returncode, executions(folder)) == (2, before), done.stderr
        assert "Traceback" not in done.stderr


def test_what_is_no_file_or_named_twice_is_refused(folder):
    (folder / "loop.py").symlink_to(folder / "loop.py")
    (folder / "link.py").symlink_to(folder / "mymodels.py")
    os.mkfifo(folder / "pipe.py")
    for names, why in (
        (["loop.py"], "cannot be read"),
        (["pipe.py"], "not a regular file"),
        (["mymodels.py", "link.py"], "names already"),
        (["tmsjax.errors"], "no module is named"),
    ):
        with pytest.raises(SpecError, match=why):
            located(names, str(folder))
