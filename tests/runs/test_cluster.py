"""Units trained on a Dask cluster of real processes: the same bytes through kills, joins and a new scheduler."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import digest, run_process, small_spec, write_spec
from processes import start, stored, sweep, under_way, wait_for

from tmsjax.runs import open_run, run_sweep

pytest.importorskip("distributed")

WRONG_VERSION = """
import importlib.metadata
found = importlib.metadata.Distribution.from_name
importlib.metadata.version = lambda name: "0.0.1" if name == "jax" else found(name).version
"""
NO_TMSJAX = """
import sys
sys.modules["tmsjax"] = None
"""
BLIND = """
import tmsjax.runs.join as join
from tmsjax.runs import RunDirectory
join.RunDirectory = lambda path: RunDirectory(f"/nowhere{path}")
"""
FAILING = """
import tmsjax.runs.join as join
def train_unit(job, unit, *more, really=join.train_unit):
    if unit == 3:
        raise ValueError("no luck")
    return really(job, unit, *more)
join.train_unit = train_unit
"""


def free_port() -> int:
    """A port that no outgoing connection takes while no scheduler listens there."""
    for port in np.random.default_rng().integers(10_000, 30_000, 100):
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", int(port)))
            return int(port)
    raise AssertionError("no free port")


class Cluster:
    """A scheduler at one port of this machine, and workers."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen] = []

    def start(self, *arguments) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *map(str, arguments), "--no-dashboard"]
        with open(self.folder / f"dask-{len(self.processes)}.log", "w") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))
        return self.processes[-1]

    def scheduler(self) -> subprocess.Popen:
        return self.start("scheduler", "--host", "127.0.0.1", "--port", self.port)

    def worker(self, preload: str = "") -> subprocess.Popen:
        options = ["worker", self.address, "--no-nanny", "--nthreads", 2, "--local-directory", self.folder]
        if preload:
            file = self.folder / f"preload_{len(self.processes)}.py"
            file.write_text(preload)
            options += ["--preload", file]
        return self.start(*options)

    def registered(self, process: subprocess.Popen) -> None:
        """Waits until a worker has joined."""
        log = self.folder / f"dask-{self.processes.index(process)}.log"
        wait_for(lambda: "Registered to" in log.read_text(), process)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.end()
    for log in sorted([*tmp_path.glob("dask-*.log"), *tmp_path.glob("errors")]):  # shown if the test failed
        print(f"--- {log.name}\n{log.read_text()[-3000:]}")


@pytest.mark.slow
def test_kills_a_late_worker_and_a_new_scheduler_change_no_byte(tmp_path, cluster):
    spec, out = sweep(tmp_path, steps=8000), tmp_path / "run"
    scheduler = cluster.scheduler()
    workers = [cluster.worker() for _ in range(3)]
    for worker in workers:
        cluster.registered(worker)
    words = tmp_path / "errors"
    with open(words, "w") as errors:
        process = start("run", spec, "--out", out, "--dask", cluster.address, stderr=errors)
    wait_for(lambda: under_way(out), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143, words.read_text()
    assert "units under way were saved; to continue: tmsjax resume" in words.read_text()
    assert under_way(out)
    with open(words, "w") as errors:
        process = start("resume", out, "--dask", cluster.address, stderr=errors)
    wait_for(lambda: (out / "log.jsonl").read_text().count('"start"') == 2, process)
    workers[0].kill()
    workers.append(cluster.worker())
    wait_for(lambda: len(stored(out)) >= 2, process)
    scheduler.kill()
    for worker in workers:
        worker.kill()
        worker.wait()
    assert len(stored(out)) < 6
    cluster.scheduler()
    cluster.worker(WRONG_VERSION)
    wait_for(lambda: "is not used" in words.read_text(), process)
    cluster.worker()
    output, _ = process.communicate(timeout=120)
    said = words.read_text()
    assert process.returncode == 0, said
    assert f"lost the scheduler {cluster.address}; waiting 60 s for it; finished units are stored" in said
    assert "jax: 0.0.1, not " in said
    assert "5/6 units" in output
    run = open_run(out)
    assert digest(run.dataset) == digest(run_sweep(spec).dataset)
    assert run.directory.info().device.startswith("workers: cpu, ")


@pytest.mark.slow
def test_workers_that_differ_or_do_not_see_the_run_are_refused_before_any_work(tmp_path, cluster):
    spec, out = write_spec(tmp_path / "sweep.toml", small_spec()), tmp_path / "run"
    cluster.scheduler()
    cluster.registered(cluster.worker())
    wrong = cluster.worker(WRONG_VERSION)
    cluster.registered(wrong)
    done = run_process("run", spec, "--out", out, "--dask", cluster.address)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"error: workers of {cluster.address} differ from this process")
    assert lines[1].startswith("  worker tcp://127.0.0.1:")
    assert "jax: 0.0.1, not 0." in lines[1]
    assert len(lines) == 2
    assert not out.exists()
    wrong.kill()
    wrong.wait()
    missing = cluster.worker(NO_TMSJAX)
    cluster.registered(missing)
    done = run_process("run", spec, "--out", out, "--dask", cluster.address)
    assert done.returncode == 2
    assert "cannot run tmsjax: " in done.stderr
    assert "ModuleNotFoundError" in done.stderr
    missing.kill()
    missing.wait()
    blind = cluster.worker(BLIND)
    cluster.registered(blind)
    done = run_process("run", spec, "--out", out, "--dask", cluster.address)
    assert done.returncode == 0, "the worker that sees the run trains it"
    cluster.processes[1].kill()
    cluster.processes[1].wait()
    done = run_process("run", spec, "--out", tmp_path / "other", "--dask", cluster.address)
    assert done.returncode == 1
    assert "not a run directory" in done.stderr
    assert f"no worker of {cluster.address} can train this run; warnings say why" in done.stderr


@pytest.mark.slow
def test_a_unit_that_fails_three_times_is_named_and_the_others_are_stored(tmp_path, cluster):
    spec, out = sweep(tmp_path), tmp_path / "run"
    cluster.scheduler()
    cluster.registered(cluster.worker(FAILING))
    done = run_process("run", spec, "--out", out, "--dask", cluster.address)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()[-3:]
    assert lines[0] == f"error: {out}: 1 of 6 units failed, each in 3 attempts:"
    assert lines[1] == "  unit 3: ValueError: no luck"
    assert lines[2] == f"  5 units are stored; to try the others again: tmsjax resume {out}"
    assert [p.name for p in stored(out)] == [f"0000{k}.nc" for k in (0, 1, 2, 4, 5)]
    run = run_sweep(spec, out)
    assert run.trained == 1
    assert digest(run.dataset) == digest(run_sweep(spec).dataset)


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_an_error_before_any_work(tmp_path):
    began = time.monotonic()
    spec = write_spec(tmp_path / "sweep.toml", small_spec())
    done = run_process("run", spec, "--out", tmp_path / "run", "--dask", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no Dask scheduler answers at tcp://127.0.0.1:1 (")
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30
    assert not (tmp_path / "run").exists()


def test_without_dask_one_line_says_what_to_install(tmp_path, monkeypatch):
    spec = write_spec(tmp_path / "sweep.toml", small_spec())
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "tmsjax.runs.cluster", raising=False)
    monkeypatch.delattr("tmsjax.runs.cluster", raising=False)
    with pytest.raises(RuntimeError, match=r"--dask needs Dask: pip install 'tmsjax\[dask\]'$"):
        run_sweep(spec, tmp_path / "run", client="tcp://127.0.0.1:1")
    assert not (tmp_path / "run").exists()
