"""Units trained by processes of this machine, real ones: workers of one command, and shares of a job array."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import command, digest, run_command, small_spec, write_spec

import tmsjax
from tmsjax.errors import RunError, SpecError
from tmsjax.runs import open_run, run_sweep
from tmsjax.runs.workers import seats

BRIEF = {"every_seconds": 0.2, "segment_seconds": 0.05}


def sweep(folder: Path, steps: int = 4000, **changes) -> str:
    """The path of a spec of 6 units, each a cell of 300 models."""
    raw = small_spec(train={"steps": steps}, engine={"unit": 300}, checkpoint=BRIEF, **changes)
    raw["axes"]["replica"]["count"] = 300
    return write_spec(folder / "sweep.toml", raw)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    """The digest of the results of one process."""
    folder = tmp_path_factory.mktemp("whole")
    return digest(run_sweep(sweep(folder)).dataset)


def start(*arguments, stderr=subprocess.PIPE) -> subprocess.Popen:
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=stderr, text=True)


def wait_for(what: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 60) -> object:
    """Waits until something is true, while the process runs."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "took too long"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def children(process: subprocess.Popen) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stored(out: Path) -> list[Path]:
    return sorted((out / "results").glob("[0-9]*.nc"))


def under_way(out: Path) -> list[Path]:
    """Checkpoints of units that have no results yet."""
    return [p for p in out.glob("units/*/checkpoints/[0-9]*") if not (out / f"results/{p.parts[-3]}.nc").exists()]


def test_a_killed_worker_costs_its_unit_and_no_byte(tmp_path, whole):
    out = tmp_path / "run"
    process = start("run", sweep(tmp_path), "--out", out, "--workers", 2)
    wait_for(lambda: under_way(out), process)
    first = children(process)
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    wait_for(lambda: len(set(children(process)) - set(first)) == 1, process)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "6/6 units  2 workers  0 s left" in output
    assert "trained 1,800 models" in output
    assert not any(map(alive, first))
    run = open_run(out)
    assert digest(run.dataset) == whole
    info = run.directory.info()
    assert info["state"] == "complete"
    assert info["platform"] == "cpu"
    assert info["device"].startswith("2 workers on cpu, ")
    assert info["seconds_of_training"] > 0
    assert info["peak_memory_bytes"] > 1e8
    assert run_sweep(tmp_path / "sweep.toml", out, workers=2).trained == 0


@pytest.mark.slow
def test_a_unit_that_fails_three_times_is_named_and_the_others_are_stored(tmp_path, whole):
    out = tmp_path / "run"
    process = start("run", sweep(tmp_path), "--out", out, "--workers", 2)
    wait_for(lambda: (out / "run.json").exists(), process)
    (out / "units").mkdir(exist_ok=True)
    (out / "units" / "00003").write_text("a file where a folder belongs")
    _, errors = process.communicate()
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    lines = errors.splitlines()
    assert lines[0] == f"error: {out}: 1 of 6 units failed, each in 3 attempts:"
    assert lines[1].startswith("  unit 3: ")
    assert "File exists" in lines[1]
    assert lines[2] == f"  5 units were stored; to try the others again: tmsjax resume {out}"
    assert [p.name for p in stored(out)] == [f"0000{k}.nc" for k in (0, 1, 2, 4, 5)]
    (out / "units" / "00003").unlink()
    run = run_sweep(tmp_path / "sweep.toml", out)
    assert run.trained == 1
    assert digest(run.dataset) == whole


@pytest.mark.slow
def test_a_signal_saves_the_units_under_way_and_a_kill_leaves_no_worker(tmp_path):
    out, spec = tmp_path / "run", sweep(tmp_path, steps=40_000)  # units so long that the signal meets both under way
    process = start("run", spec, "--out", out, "--workers", 2)
    wait_for(lambda: under_way(out), process)
    workers = children(process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "of 6 units done; to continue: tmsjax resume" in errors
    assert under_way(out)
    assert not any(map(alive, workers))
    process = start("resume", out, "--workers", 2)
    workers = wait_for(lambda: children(process), process)
    wait_for(lambda: (out / "log.jsonl").read_text().count('"start"') == 2, process)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, workers)), seconds=20)
    assert digest(run_sweep(spec, out).dataset) == digest(run_sweep(spec).dataset)


@pytest.mark.slow
def test_a_run_of_one_unit_trains_on_one_worker(tmp_path):
    spec = write_spec(tmp_path / "sweep.toml", small_spec())
    out = tmp_path / "run"
    run = run_sweep(spec, out, workers=3)
    assert digest(run.dataset) == digest(run_sweep(small_spec()).dataset)
    assert run.steps() == [30]
    assert run.directory.info()["seconds_of_training"] > 0
    assert not (out / "units").exists()


def test_workers_need_a_file_for_what_was_added_in_python(tmp_path, registries):
    tmsjax.add_activation("square-of-a-test", lambda x: x * x)
    with pytest.raises(RunError, match="workers need a file that adds it, named in the spec's `imports`"):
        run_sweep(small_spec(model={"activation": "square-of-a-test"}), tmp_path / "run", workers=1)


def test_workers_divide_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [cores for cores, _ in seats(3, [])] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert [cores for cores, _ in seats(9, [])][-1] == [7]
    gpus = [{"CUDA_VISIBLE_DEVICES": name} for name in ("2", "5")]
    environments = [environment for _, environment in seats(3, gpus)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["2", "5", "2"]
    fractions = [environment.get("XLA_PYTHON_CLIENT_MEM_FRACTION") for environment in environments]
    assert fractions == ["0.38", None, "0.38"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "from 1 to 1024, not 0"),
        ({"workers": 2, "client": "tcp://host:8786"}, "--workers, --dask: 1 problem\n  choose one of them"),
        ({"workers": 2, "units": "1/2"}, "choose one of them"),
        ({"client": "tcp://host:8786", "units": "1/2"}, "choose one of them"),
        ({"client": "host"}, "tcp://HOST:8786, not 'host'"),
        ({"client": "tcp://host:"}, "tcp://HOST:8786"),
    ],
)
def test_bad_options_are_refused_before_any_work(tmp_path, options, message):
    with pytest.raises(SpecError, match=message):
        run_sweep(small_spec(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_workers_of_a_run_in_memory_are_refused():
    with pytest.raises(SpecError, match="workers need `out`"):
        run_sweep(small_spec(), workers=2)


@pytest.mark.slow
def test_three_processes_of_a_job_array_one_killed_give_the_bytes_of_one(tmp_path, whole):
    out, spec = tmp_path / "run", sweep(tmp_path)
    jobs = [start("run", spec, "--out", out, "--units", f"{k}/3") for k in (1, 2, 3)]
    wait_for(lambda: under_way(out) or stored(out), jobs[1])
    jobs[1].kill()
    for job in jobs:
        job.communicate()
    assert [job.returncode for job in jobs] == [0, -signal.SIGKILL, 0]
    done = run_command("run", spec, "--out", out, "--units", "2/3")
    assert done.returncode == 0, done.stderr
    assert open_run(out).directory.info()["state"] == "complete"
    assert digest(open_run(out).dataset) == whole
