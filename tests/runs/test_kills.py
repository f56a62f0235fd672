"""Kills, signals and second writers lose no data; docs/reliability.md lists the guarantees."""

import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import digest, run_command, run_process, small_spec, write_spec
from processes import start

from tmsjax.runs import open_run

LONG = {"every_seconds": 1e9, "segment_seconds": 0.2}


def die_at(process: subprocess.Popen, out: Path, moment: str, delay: float) -> bool:
    """Kills a training process at a moment of its life; False if it ended before."""
    patterns = {
        "saving": ("checkpoints/.saving-*", "units/*/checkpoints/.saving-*"),
        "aggregating": (".results.nc.*", "results/.0*.nc.*"),
    }
    began = time.monotonic()
    while process.poll() is None:
        if moment == "any" and time.monotonic() - began >= delay:
            break
        if moment != "any" and any(any(out.glob(pattern)) for pattern in patterns[moment]):
            break
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def survive(tmp_path: Path, moments: list[str], seed: int, unit: int = 0) -> None:
    """Trains while being killed at the given moments, in as many runs as they last for.

    Every run that comes to its end must have the bytes of a run of one unit that nobody interrupted. `unit`: the
    largest number of models in a unit; there are 6000 in all.
    """
    often = {"every_seconds": 0.15, "segment_seconds": 0.05}
    raw = small_spec(axes={"replica": {"count": 1000}}, train={"steps": 3000}, checkpoint=often)
    spec = write_spec(tmp_path / "sweep.toml", raw)
    began = time.monotonic()
    assert run_process("run", spec, "--out", tmp_path / "whole").returncode == 0
    longest = 0.8 * (time.monotonic() - began)
    reference = digest(open_run(tmp_path / "whole").dataset)
    rng, runs, left = np.random.default_rng(seed), 0, list(moments)
    while left or runs == 0:
        out = tmp_path / f"run-{runs}"
        while True:
            process = start("run", spec, "--out", out, "--set", f"engine.unit={unit}")
            if left and die_at(process, out, left[0], rng.uniform(0, longest)):
                left.pop(0)
                continue
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            break
        assert digest(open_run(out).dataset) == reference
        assert not list(out.rglob("damaged-*")), "a kill leaves nothing that looks damaged"
        assert sorted(p.name for p in out.glob(".*")) == [".begin", ".lock"]
        assert not list(out.glob("results/.*"))
        assert all(p.name.isdigit() for folder in out.rglob("checkpoints") for p in folder.iterdir())
        runs += 1
    print(f"{len(moments)} kills in {runs} runs")


def moments(kills: int, seed: int) -> list[str]:
    """A quarter while a checkpoint is written, a tenth while the results are, the others at any time."""
    saving, aggregating = kills // 4, kills // 10
    names = ["saving"] * saving + ["aggregating"] * aggregating + ["any"] * (kills - saving - aggregating)
    return [str(name) for name in np.random.default_rng(seed).permutation(names)]


def test_four_kills_change_no_byte(tmp_path):
    survive(tmp_path, ["saving", "any", "aggregating", "any"], seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [0, 1500], ids=["one unit", "six units"])
def test_ten_kills_change_no_byte(tmp_path, unit):
    survive(tmp_path, moments(10, seed=1), seed=2, unit=unit)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [0, 1500], ids=["one unit", "six units"])
def test_two_hundred_kills_change_no_byte(tmp_path, unit):
    survive(tmp_path, moments(200, seed=3), seed=4, unit=unit)


@contextmanager
def training(tmp_path: Path, out: Path, **changes):
    """A process that trains for long, from when it holds its directory; killed in the end if it still runs."""
    raw = small_spec(train={"steps": 200_000_000}, checkpoint=LONG, **changes)
    spec = write_spec(tmp_path / "sweep.toml", raw)
    before = starts(out)
    process = start("run", spec, "--out", out)
    try:
        while process.poll() is None and starts(out) == before:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


def starts(out: Path) -> int:
    log = out / "log.jsonl"
    return log.read_text().count('"event": "start"') if log.exists() else 0


def test_a_second_writer_is_refused_and_a_dead_ones_lock_is_not_in_the_way(tmp_path):
    out = tmp_path / "run"
    with training(tmp_path, out) as first:
        second = run_command("run", tmp_path / "sweep.toml", "--out", out)
        assert second.returncode == 2
        assert f"another process is writing this run (process {first.pid} on " in second.stderr
        assert first.poll() is None
    assert first.returncode == -signal.SIGKILL
    with training(tmp_path, out) as third:
        third.send_signal(signal.SIGTERM)
        _, errors = third.communicate(timeout=60)
    assert third.returncode == 143
    assert f"to continue: tmsjax resume {out}" in errors
    assert len(open_run(out).steps()) == 1


@pytest.mark.slow
def test_a_first_interrupt_saves_and_a_second_stops_at_once(tmp_path):
    out = tmp_path / "run"
    with training(tmp_path, out) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"to continue: tmsjax resume {out}" in errors
    saved = open_run(out).steps()
    endless = {"every_seconds": 1e9, "segment_seconds": 3600.0}  # segments that quadruple without end
    spec = write_spec(tmp_path / "sweep.toml", small_spec(train={"steps": 200_000_000}, checkpoint=endless))
    process = start("run", spec, "--out", out)
    assert process.stderr is not None
    while starts(out) < 2:
        time.sleep(0.02)
    time.sleep(6)  # in a segment of many seconds by now
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "stopping after this segment ...\n"
    time.sleep(2.1)  # sooner, it would be the same stop
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert time.monotonic() - began < 2
    assert open_run(out).steps() == saved
    with training(tmp_path, out) as process:
        assert process.poll() is None, "it goes on"
