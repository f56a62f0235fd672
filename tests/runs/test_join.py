"""Processes that join one run: real ones, killed and started at any time, give the bytes of one process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import copied, digest, plain_spec, run_command, small_spec, write_spec
from processes import start, stored, sweep, under_way, wait_for

import tmsjax
from tmsjax.engine import plan
from tmsjax.errors import RunError, SpecError
from tmsjax.runs import RunDirectory, capacity, join, open_run, run_sweep
from tmsjax.spec import load_spec


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    """The digest of the results of one process."""
    return digest(run_sweep(sweep(tmp_path_factory.mktemp("whole"))).dataset)


def joined(out: Path, spec: str) -> subprocess.Popen:
    return start("run", spec, "--out", out, "--join")


def ended(processes: list[subprocess.Popen]) -> None:
    """Waits until all processes end well."""
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


def test_a_joined_process_takes_over_from_a_dead_one_and_completes_the_run(tmp_path, whole):
    out, spec = tmp_path / "run", sweep(tmp_path)
    first = joined(out, spec)
    wait_for(lambda: under_way(out), first)
    second = joined(out, spec)
    wait_for(lambda: list(out.glob(".joined/*/needs.json")), second)
    first.kill()
    first.communicate()
    output, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert "6/6 units" in output or "5/6 units" in output
    assert digest(open_run(out).dataset) == whole
    facts = open_run(out).directory.info()
    assert (facts.state, facts.units, facts.models) == ("complete", 6, 1800)
    assert facts.seconds_of_training > 0
    assert not (out / ".joined").exists()
    done = run_command("run", spec, "--out", out, "--join")
    assert "this run is complete; nothing to do" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kills", [20, 200])
def test_kills_at_any_time_change_no_byte(tmp_path, kills):
    """Three processes, one killed at a random time and started again; a fourth joins while two train."""
    reference = digest(run_sweep(long_units(tmp_path)).dataset)
    spec, rng, killed, runs = long_units(tmp_path), np.random.default_rng(5), 0, 0
    while killed < kills:
        out = tmp_path / f"run-{runs}"
        processes = [joined(out, spec) for _ in range(3)]
        while any(process.poll() is None for process in processes) and killed < kills:
            time.sleep(rng.uniform(0.5, 8))
            victim = processes[rng.integers(len(processes))]
            if victim.poll() is None:
                victim.kill()
                victim.communicate()
                killed += 1
                processes.remove(victim)
                processes.append(joined(out, spec))
            if len(processes) == 3 and len(stored(out)) >= 2:
                processes.append(joined(out, spec))
        ended(processes)
        assert digest(open_run(out).dataset) == reference
        assert not list(out.rglob("damaged-*"))
        runs += 1
    print(f"{killed} kills in {runs} runs")


def long_units(folder: Path) -> str:
    """The path of a spec of 6 units that take 3 s or more."""
    return sweep(folder, steps=120_000, record={"measures": []})


CLAIMS = """
import sys, time
from pathlib import Path
from tmsjax.runs.directory import RunDirectory
directory, go, mine = RunDirectory(sys.argv[1]), Path(sys.argv[2]), []
print("ready", flush=True)
for k in range(int(sys.argv[3])):
    sys.stdin.readline()
    with directory.try_lock(directory.unit_folder(k)) as got:
        print(int(got), flush=True)
        sys.stdin.readline()
"""


def test_of_two_processes_that_claim_a_unit_at_the_same_moment_one_gets_it(tmp_path):
    tries = 1000
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", CLAIMS, str(tmp_path / "run"), str(tmp_path), str(tries)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]

    def all_say(word: str) -> None:
        for process in both:
            process.stdin.write(word)
            process.stdin.flush()

    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    winners = np.zeros(2, int)
    try:
        for _ in range(tries):
            all_say("claim\n")
            got = [int(process.stdout.readline()) for process in both]
            winners += got
            all_say("release\n")
            assert sum(got) == 1
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert min(winners) > 0, "both were asked at the same moment"


def test_a_joined_process_waits_for_a_unit_that_another_trains_and_takes_it_over(tmp_path):
    run_sweep(small_spec(engine={"unit": 3}), tmp_path / "run")
    reference = digest(open_run(tmp_path / "run").dataset)
    directory = RunDirectory(tmp_path / "run")
    directory.write(directory.info().with_(state="running"))
    (tmp_path / "run" / "results" / "00003.nc").unlink()
    released, waited = [], []

    def let_go() -> None:
        time.sleep(3)
        released.append(time.monotonic())
        held.__exit__(None, None, None)

    held = directory.try_lock(directory.unit_folder(3))
    assert held.__enter__()
    threading.Thread(target=let_go).start()
    spec = small_spec(engine={"unit": 3})
    run = run_sweep(spec, tmp_path / "run", join=True, listen=lambda p: waited.append((p.waiting, p.units_done)))
    assert time.monotonic() - released[0] < 10
    assert (True, 5) in waited
    assert run.trained == 1
    assert digest(run.dataset) == reference


def test_the_first_to_join_plans_32_units_where_blocks_allow():
    for raw, least in (
        (small_spec(axes={"replica": {"count": 200_000}}, train={"steps": 6000, "batch": 64}), 32),
        (plain_spec(2, 1, instances=2_000_000), 32),
        (plain_spec(2, 1, instances=600, engine={"block": 100}), 6),
        (plain_spec(2, 1, instances=100), 1),
    ):
        spec = load_spec(raw)
        alone, shared = plan(spec, "cpu"), plan(spec, "cpu", 32)
        assert shared.block == alone.block, "bits depend on it"
        units = shared.units(spec)
        assert len(units) >= least
        assert all(units[k].size > shared.block / 2 for k in range(len(units) - 1)), "blocks are not mostly padding"
    assert plan(load_spec(small_spec(engine={"unit": 4})), "cpu", 32).unit == (1, 2, 2), "the spec's own unit"


def test_memory_is_checked_for_all_that_have_joined(tmp_path, monkeypatch):
    spec, notes = small_spec(), tmp_path / "run" / ".joined"
    directory = RunDirectory(tmp_path / "run")
    notes.mkdir(parents=True)
    here = {"process": os.getpid(), "host": "here", "group": "", "bytes": 10**9}
    monkeypatch.setattr(join.socket, "gethostname", lambda: "here")
    monkeypatch.setattr(join, "memory_group", lambda: "")
    monkeypatch.setattr(join, "resident_memory", lambda process: 4 * 10**8)
    monkeypatch.setattr(capacity, "available_memory", lambda: 9 * 10**8)
    with directory.try_lock(notes / "other"):
        (notes / "other" / "needs.json").write_text(json.dumps(here))
        with pytest.raises(RunError, match=r"beside the 600\.0 MB that other processes of this run will take, 900\.0"):
            run_sweep(spec, tmp_path / "run", join=True)
        (notes / "other" / "needs.json").write_text(json.dumps(here | {"group": "job 2"}))
        assert run_sweep(spec, tmp_path / "run", join=True).trained == 1, "another job has memory of its own"
    (notes / "other" / "needs.json").write_text(json.dumps(here))
    more = small_spec(axes={"replica": {"count": 3}})
    assert run_sweep(more, tmp_path / "run", join=True).trained > 0, "who died needs no memory"


def test_a_run_that_others_train_cannot_become_another_sweep(tmp_path):
    def spec(replicas: int) -> dict:
        return small_spec(axes={"replica": {"count": replicas}}, engine={"unit": replicas, "block": 8})

    run_sweep(spec(2), tmp_path / "run")
    refused = []

    def others_come() -> bool:
        for replicas in (2, 5) if not refused else ():  # given up, or extended differently
            with pytest.raises(RunError, match="other processes train this run with another spec"):
                run_sweep(spec(replicas), tmp_path / "run", join=True, should_stop=lambda: True)
            refused.append(replicas)
        return False

    def other_process() -> bool:
        thread = threading.Thread(target=others_come)
        thread.start()
        thread.join()
        return False

    run = run_sweep(spec(4), tmp_path / "run", join=True, should_stop=other_process)
    assert refused == [2, 5]
    assert digest(run.dataset) == digest(run_sweep(spec(4)).dataset)


def test_who_joins_takes_no_other_unit_for_a_missing_one(tmp_path, unit_run):
    run = copied(unit_run, tmp_path / "run")
    (run / "results" / "00002.nc").write_bytes((run / "results" / "00003.nc").read_bytes())
    with pytest.warns(UserWarning, match="not the unit 2 of 6 .* set aside"):
        assert run_sweep(small_spec(engine={"unit": 3}), run, join=True).trained == 1
    assert digest(open_run(run).dataset) == digest(open_run(unit_run).dataset)


def test_a_run_that_others_have_joined_is_refused_without_join(tmp_path):
    run_sweep(small_spec(), tmp_path / "run")
    with RunDirectory(tmp_path / "run").lock(shared=True):
        with pytest.raises(RunError, match="another process is writing this run"):
            run_sweep(small_spec(), tmp_path / "run")
        assert run_sweep(small_spec(), tmp_path / "run", join=True).trained == 0
    with RunDirectory(tmp_path / "run").lock(), pytest.raises(RunError, match="another process is writing this run"):
        run_sweep(small_spec(), tmp_path / "run", join=True)


def test_a_joined_process_saves_at_a_signal(tmp_path):
    out, spec = tmp_path / "run", sweep(tmp_path, steps=4_000_000)
    process = joined(out, spec)
    wait_for(lambda: under_way(out), process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"to continue: tmsjax resume {out}" in errors
    assert under_way(out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 2}, "workers: 1 problem\n  went: start any number of processes with --join"),
        ({"units": "1/2"}, "units: 1 problem\n  went: start any number of processes with --join"),
        ({"join": True, "client": "tcp://host:8786"}, "--join, --dask: 1 problem\n  choose one of them"),
    ],
)
def test_options_that_went_or_do_not_fit_are_refused_before_any_work(tmp_path, options, message):
    with pytest.raises(SpecError, match=message):
        run_sweep(small_spec(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_the_command_says_what_replaces_workers(tmp_path):
    done = run_command("run", write_spec(tmp_path / "s.toml", small_spec()), "--out", tmp_path / "run", "--workers", 2)
    assert done.returncode == 2
    assert "start any number of processes with --join" in done.stderr
    with pytest.raises(SpecError, match="several processes need `out`"):
        run_sweep(small_spec(), join=True)
    with pytest.raises(TypeError, match="wrokers"):
        tmsjax.run_sweep(small_spec(), wrokers=2)
