"""Files that a spec imports: only run and resume execute them; runs record them and refuse changed or missing files."""

import hashlib
from pathlib import Path

import pytest
from conftest import digest, run_command, small_spec

import tmsjax
from tmsjax.errors import Interrupted, RunError, SpecError
from tmsjax.kinds import imports, located
from tmsjax.runs import open_run, run_sweep
from tmsjax.runs.files import read_sealed, write_sealed
from tmsjax.spec import load_spec, to_toml

pytestmark = pytest.mark.usefixtures("registries")

MODELS = """
import pathlib
import jax.numpy as jnp
import tmsjax

with open(pathlib.Path(__file__).with_name("executed"), "a") as marker:
    marker.write("x")

tmsjax.add_activation("softplus-of-a-file", lambda x: jnp.logaddexp(x, 0.0))
tmsjax.add_family(
    "untied-of-a-file",
    parameters={"W": ("hidden", "feature"), "V": ("hidden", "feature"), "b": ("feature",)},
    apply=lambda params, x, f: f(params["V"].T @ (params["W"] @ x) + params["b"]),
    directions=lambda params: params["W"],
)
"""
NAMES = {"activation": "softplus-of-a-file", "family": "untied-of-a-file"}


@pytest.fixture
def folder(tmp_path, registries) -> Path:
    """A folder with a spec and the file that it imports, in a process that has not executed it."""
    imports._executed.clear()
    place = tmp_path / "place"
    place.mkdir()
    (place / "mymodels.py").write_text(MODELS)
    (place / "sweep.toml").write_text(to_toml(load_spec(small_spec(imports=["mymodels.py"], model=NAMES))))
    return place


def executions(place: Path) -> int:
    marker = place / "executed"
    return len(marker.read_text()) if marker.exists() else 0


def interrupted(source, out: Path) -> Path:
    """Leaves a run of some steps in `out`."""
    calls = iter([False] * 3 + [True])
    with pytest.raises(Interrupted):
        run_sweep(source, out, overrides=["checkpoint.segment_seconds=0"], should_stop=lambda: next(calls))
    return out


def test_the_command_tells_records_and_executes_the_file_once(folder):
    file, spec, run = folder / "mymodels.py", folder / "sweep.toml", folder / "run"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    asked = run_command("info", spec)
    assert "softplus-of-a-file" in asked.stdout
    assert "need --imports" in asked.stdout
    assert executions(folder) == 0
    assert "training time" in run_command("info", spec, "--imports").stdout
    done = run_command("run", spec, "--out", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"imports {file} (sha256 {sha256[:8]})"
    assert executions(folder) == 2
    found = open_run(run)
    assert list(found.directory.info().imports) == [{"name": "mymodels.py", "path": str(file), "sha256": sha256}]
    assert {"W", "V", "b"} <= set(found.dataset.data_vars)


def test_stored_runs_are_read_without_the_file_and_nothing_is_executed(folder, tmp_path):
    run_sweep(folder / "sweep.toml", tmp_path / "run")
    assert executions(folder) == 1
    for rename in (("mymodels.py", "moved.py"), ("moved.py", "mymodels.py")):
        (folder / rename[0]).rename(folder / rename[1])
        imports._executed.clear()
        run = open_run(tmp_path / "run")
        tmsjax.compare(run)
        assert tmsjax.figures(run)
        assert tmsjax.measures(run)["norm"].shape == (2, 3, 2, 2)
    for verb in ("info", "map"):
        assert run_command(verb, tmp_path / "run").returncode == 0
    assert executions(folder) == 1


@pytest.mark.smoke
def test_runs_stop_and_resume_to_the_same_bytes(folder, tmp_path):
    whole = run_sweep(folder / "sweep.toml")
    out = interrupted(folder / "sweep.toml", tmp_path / "run")
    assert executions(folder) == 1, "two runs in a process execute it once"
    done = run_command("resume", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"imports {folder / 'mymodels.py'} (sha256 ")
    assert digest(open_run(out).dataset) == digest(whole.dataset)


def test_a_file_that_is_not_what_it_was_is_refused_before_it_is_executed(folder, tmp_path):
    out, file = interrupted(folder / "sweep.toml", tmp_path / "run"), folder / "mymodels.py"
    file.write_text(MODELS + "# another word\n")
    for source in (folder / "sweep.toml", open_run(out).spec):
        with pytest.raises(RunError, match=rf"its imports have changed:\n  {file}: has changed \(sha256 .{{8}} rec"):
            run_sweep(source, out)
    done = run_command("resume", out)
    assert done.returncode == 2
    assert "another --out or --fresh" in done.stderr
    assert "Traceback" not in done.stderr
    file.unlink()
    with pytest.raises(SpecError, match=rf"imports\[0\]: {file} is no readable file"):
        run_sweep(open_run(out).spec, out)
    assert executions(folder) == 1
    file.write_text(MODELS)
    info, _ = read_sealed(out / "run.json")
    for record in ([], 3, [3], [{"name": "mymodels.py"}]):  # written by somebody else
        write_sealed(out / "run.json", {**info, "imports": record})
        with pytest.raises(RunError, match=r"its imports have changed|damaged: no good imports"):
            run_sweep(open_run(out).spec, out)
    assert executions(folder) == 1


@pytest.mark.slow
def test_imports_from_several_places_go_on_from_there_and_from_elsewhere(tmp_path, folder):
    activation, family = MODELS.split("tmsjax.add_family")
    (folder / "sub").mkdir()
    (folder / "sub" / "family.py").write_text("import tmsjax\ntmsjax.add_family" + family)
    (folder.parent / "activation.py").write_text(activation)
    raw = small_spec(imports=["sub/family.py", "../activation.py"], model=NAMES)
    (folder / "sweep.toml").write_text(to_toml(load_spec(raw)))
    out = interrupted(folder / "sweep.toml", tmp_path / "run")
    done = run_command("resume", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"imports {folder / 'sub' / 'family.py'} (" in done.stdout
    (out / "results.nc").unlink()
    other = folder.rename(tmp_path / "other")
    assert run_command("resume", out).returncode == 2, "it is not where it was"
    assert run_command("run", other / "sweep.toml", "--out", out).returncode == 0
    assert open_run(out).spec.folder == str(other), "it is recorded"


def test_entries_that_only_python_added_are_named_when_a_run_cannot_go_on(tmp_path):
    tmsjax.add_activation("square-of-a-notebook", lambda x: x * x)
    out = interrupted(small_spec(model={"activation": "square-of-a-notebook"}), tmp_path / "run")
    done = run_command("resume", out)
    assert done.returncode == 2
    assert "model.activation = 'square-of-a-notebook' is not known here" in done.stderr
    assert "Traceback" not in done.stderr
    assert run_sweep(open_run(out).spec, out).trained == 1


def test_what_does_not_fit_is_refused_before_any_work(folder, tmp_path):
    (folder / "mymodels.py").write_text(MODELS.replace('lambda params: params["W"]', 'lambda params: params["W"].T'))
    with pytest.raises(SpecError, match=r"directions gives float32\[2, 1\], not float32\[1, 2\]"):
        run_sweep(folder / "sweep.toml", tmp_path / "run")
    (folder / "mymodels.py").write_text(MODELS + "1 / 0\n")
    with pytest.raises(SpecError, match=r"mymodels.py, line \d+: ZeroDivisionError: division by zero"):
        run_sweep(folder / "sweep.toml", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (folder / "loop.py").symlink_to(folder / "loop.py")
    for name, why in (("loop.py", "no readable file"), ("", "no readable file"), ("no.such", "no module is named")):
        with pytest.raises(SpecError, match=why):
            located([name or f"{folder.name}.py"], str(folder))


def test_no_spec_at_all_is_a_spec_error():
    for source in (None, [], 3):
        with pytest.raises(SpecError, match="needs a Spec, a dict or the path of a TOML file"):
            run_sweep(source)


def test_an_activity_of_a_file_may_need_no_probability():
    """Whether it does is known when the file was executed; until then the spec is accepted."""
    raw = small_spec(imports=["mymodels.py"], data={"activity": "own"})
    del raw["axes"]["feature_probability"], raw["instance"]["feature_probability"]
    assert load_spec(raw).data.activity == "own"
    with pytest.raises(SpecError, match=r"instance.feature_probability: is missing"):
        load_spec(raw | {"imports": []})


@pytest.mark.slow
def test_a_worker_process_imports_the_file_there(folder, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster:
        run = run_sweep(folder / "sweep.toml", tmp_path / "run", client=cluster.scheduler_address)
    assert executions(folder) == 2, "once in each process"
    assert digest(run.dataset) == digest(run_sweep(folder / "sweep.toml").dataset)
