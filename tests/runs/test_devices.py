"""The same bytes on any number of devices, processes, shards and tiles; limited memory; no collectives."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import command, digest, plain_spec, run_command, small_spec, write_spec

from tmsjax.engine import Ensemble, Plan
from tmsjax.errors import RunError, SpecError
from tmsjax.runs import capacity, merge_shards, open_run, run_sweep
from tmsjax.spec import load_spec

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter", "send(", "recv(")
ON_DEVICES = """
import json, sys
import jax
from tmsjax.engine import Ensemble
from tmsjax.engine import Plan
from tmsjax.spec import load_spec
from tmsjax.runs.checkpoint import flatten
raw = json.loads(sys.argv[1])
out = {}
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
for devices, stops in ((1, [30]), (3, [30]), (8, [30]), (2, [1, 2, 11, 30])):
    sweep = Ensemble(load_spec(raw), devices=jax.devices()[:devices], cut=Plan(True, 1, 12, 8))
    states = sweep.init()
    used = {str(leaf.devices()) for state in states for leaf in jax.tree.leaves(state.params)}
    assert len(used) == devices, used
    for stop in stops:
        states = sweep.advance(states, stop)
    arrays = flatten(sweep.gather(states), "state") | {"loss": sweep.noise_free_loss(states)}
    out[devices] = {name: array.tobytes().hex() for name, array in arrays.items()}
print(json.dumps(out))
"""


def with_devices(count: int) -> dict[str, str]:
    return {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


def sweep_of_blocks(**changes) -> dict:
    """Twelve blocks of 32 instances."""
    raw = small_spec(engine={"block": 32}, **changes)
    raw["axes"]["replica"]["count"] = 64
    return raw


def test_bits_depend_on_neither_devices_nor_segments(tmp_path):
    script = [sys.executable, "-c", ON_DEVICES, json.dumps(small_spec()), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=with_devices(8))
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert len(out["1"]) > 5
    assert out["1"] == out["2"] == out["3"] == out["8"]


def test_a_run_interrupted_on_eight_devices_resumes_on_one(tmp_path):
    changes = {"train": {"steps": 10_000}, "checkpoint": {"every_seconds": 0.5, "segment_seconds": 0.02}}
    spec, out = write_spec(tmp_path / "s.toml", sweep_of_blocks(**changes)), tmp_path / "run"
    process = subprocess.Popen(
        command("run", spec, "--out", out), env=with_devices(8), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while process.poll() is None and not list((out / "checkpoints").glob("[1-9]*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert 0 < open_run(out).steps()[-1] < 10_000
    assert run_command("resume", out, "--set", "checkpoint.every_seconds=100").returncode == 0
    assert digest(open_run(out).dataset) == digest(run_sweep(spec).dataset)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def two_processes(*arguments, stop: int | None = None) -> list[tuple[int, str]]:
    """(exit code, output) of two processes at one run; `stop`: which one gets SIGTERM once a checkpoint is there."""
    address, out = f"127.0.0.1:{free_port()}", arguments[-1]
    both = [
        subprocess.Popen(
            command(*arguments, "--distributed", address, "--process", f"{k}/2"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k in (1, 2)
    ]
    try:
        if stop is not None:
            while both[0].poll() is None and not list((out / "checkpoints").glob("[1-9]*")):
                time.sleep(0.01)
            both[stop].send_signal(signal.SIGTERM)
        return [(p.returncode, text) for p in both for text in [p.communicate(timeout=120)[0]]]
    finally:
        for process in both:
            process.kill()
            process.wait()


@pytest.mark.smoke
def test_two_processes_give_the_bytes_of_one(tmp_path):
    spec = write_spec(tmp_path / "s.toml", sweep_of_blocks(record={"measures": ["loss", "W"], "steps": [3, 30]}))
    done = two_processes("run", spec, "--out", tmp_path / "two")
    assert [code for code, _ in done] == [0, 0], done
    assert digest(open_run(tmp_path / "two").dataset) == digest(run_sweep(spec).dataset)


def test_a_signal_to_one_of_two_processes_stops_both_and_one_or_both_resume(tmp_path):
    changes = {"train": {"steps": 10_000}, "checkpoint": {"every_seconds": 0.5, "segment_seconds": 0.02}}
    spec, out = write_spec(tmp_path / "s.toml", sweep_of_blocks(**changes)), tmp_path / "run"
    done = two_processes("run", spec, "--out", out, stop=1)
    assert [code for code, _ in done] == [143, 143], done
    stopped = open_run(out).steps()[-1]
    assert 0 < stopped < 10_000
    again = tmp_path / "again"
    shutil.copytree(out, again)
    reference = digest(run_sweep(spec).dataset)
    assert digest(run_sweep(spec, out).dataset) == reference
    calmly = ("--set", "checkpoint.every_seconds=100", "--set", "checkpoint.segment_seconds=1")
    done = two_processes("resume", *calmly, again)
    assert [code for code, _ in done] == [0, 0], done
    assert digest(open_run(again).dataset) == reference


def test_a_refusal_of_the_first_process_reaches_the_second(tmp_path):
    spec = write_spec(tmp_path / "s.toml", sweep_of_blocks())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    done = two_processes("run", spec, "--out", tmp_path / "mine")
    assert [code for code, _ in done] == [2, 2], done
    assert "not empty, and not a run" in done[0][1]
    assert "the first process stopped" in done[1][1]


# Shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three shards of a sweep of twelve blocks, and the digest of the whole sweep."""
    folder = tmp_path_factory.mktemp("shards")
    raw = sweep_of_blocks(record={"measures": ["loss", "norm"], "steps": [3, 30]})
    paths = [folder / f"part{k}" for k in (1, 2, 3)]
    for k, path in enumerate(paths):
        run_sweep(raw, path, shard=f"{k + 1}/3")
    return paths, raw, run_sweep(raw, folder / "whole")


@pytest.mark.smoke
def test_merged_shards_are_the_whole_run(tmp_path, shards):
    paths, raw, whole = shards
    assert open_run(paths[0]).dataset["W"].dims == ("instance", "hidden", "feature")
    with pytest.raises(RunError, match="this is a shard"):
        __import__("tmsjax").phase_map(open_run(paths[0]))
    merged = merge_shards([paths[2], paths[0], paths[1]], tmp_path / "merged")
    assert digest(merged.dataset) == digest(whole.dataset)
    assert digest(open_run(tmp_path / "merged").dataset) == digest(whole.dataset)
    ours, theirs = merged.restore(), whole.restore()
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    (tmp_path / "merged" / "results.nc").unlink()
    assert digest(run_sweep(raw, tmp_path / "merged").dataset) == digest(whole.dataset), "rebuilt from its checkpoint"


def test_missing_overlapping_and_foreign_shards_are_refused_by_name(tmp_path, shards):
    paths, raw, whole = shards
    out = tmp_path / "merged"
    with pytest.raises(RunError, match=r"missing shards: 2/3$"):
        merge_shards([paths[0], paths[2]], out)
    with pytest.raises(RunError, match=r"shard 2/3 is given twice: .*part2 and .*part2"):
        merge_shards([*paths, paths[1]], out)
    with pytest.raises(RunError, match="whole is not a shard"):
        merge_shards([*paths, whole.directory.path], out)
    run_sweep(raw | {"seed": 99}, tmp_path / "foreign", shard="2/3")
    with pytest.raises(RunError, match=r"foreign is not a shard of the same sweep as .*part1(?s:.)*seed: 7 -> 99"):
        merge_shards([paths[0], tmp_path / "foreign", paths[2]], out)
    run_sweep(raw, tmp_path / "halves", shard="2/2")
    with pytest.raises(RunError, match=r"halves is not a shard(?s:.)*shards: 3 -> 2"):
        merge_shards([*paths, tmp_path / "halves"], out)
    (out).mkdir()
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="not empty, and not a run"):
        merge_shards(paths, out)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("shard", ["\uff11/\uff13", "0/3", "4/3", "1/0", "x", "1/3/5", "", "-1/3"])
def test_bad_shards_are_refused(shard):
    with pytest.raises(SpecError, match="needs I/K with 1 <= I <= K"):
        run_sweep(small_spec(), shard=shard)


def test_more_parts_than_blocks_are_refused():
    with pytest.raises(RunError, match=r"13 shards or processes, but only 12 blocks of 32 instances"):
        run_sweep(sweep_of_blocks(), shard="13/13")


# Memory


@pytest.mark.parametrize("scalars", [True, False])
def test_tiles_change_no_bit(scalars):
    loaded, cut = load_spec(sweep_of_blocks()), Plan(scalars, 32, 12, 8)
    results = []
    for tile in (0, 1, 5):
        sweep = Ensemble(loaded, cut=cut, tile=tile)
        assert sweep.tiled == (tile > 0)
        states = sweep.init()
        for stop in (1, 4, 30):
            states = sweep.advance(states, stop)
        assert tile == 0 or all(isinstance(leaf, np.ndarray) for s in states for leaf in jax.tree.leaves(s))
        results.append({**sweep.gather(states).params, "loss": sweep.noise_free_loss(states)})
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_what_does_not_fit_runs_in_tiles_of_fewer_blocks(monkeypatch):
    sweep = Ensemble(load_spec(sweep_of_blocks()))
    all_, few, one = (capacity.device_bytes(sweep, tile) for tile in (12, sweep.threads, 1))
    assert one <= few < all_
    for free, tile in ((2 * all_, 12), (all_, sweep.threads), (few / capacity.SHARE, sweep.threads)):
        monkeypatch.setattr(capacity, "available_memory", lambda free=free: free)
        assert capacity.fitting_tile(sweep) == tile
    monkeypatch.setattr(capacity, "available_memory", lambda: one // 2)
    with pytest.raises(RunError, match=r"one block of 32 instances needs 0\.\d MB.*engine.block"):
        capacity.fitting_tile(sweep)


def test_a_sweep_beyond_main_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(capacity, "available_memory", lambda: 10**6)
    with pytest.raises(RunError, match=r"needs .* MB of main memory, 1\.0 MB are free: .*--shard"):
        run_sweep(small_spec(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_failed_allocation_takes_fewer_blocks_at_once_and_changes_no_bit(tmp_path, monkeypatch):
    reference = digest(run_sweep(sweep_of_blocks()).dataset)
    whole, tried = Ensemble.advance, []

    def advance(ensemble, states, stop):
        tried.append(ensemble.tile)
        if ensemble.tile > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")
        return whole(ensemble, states, stop)

    monkeypatch.setattr(Ensemble, "advance", advance)
    with pytest.warns(UserWarning, match=r"memory does not hold \d+ blocks at once; [1-6] from now on"):
        run = run_sweep(sweep_of_blocks(), tmp_path / "run")
    assert tried[0] == 12
    assert tried[-1] == 1
    assert digest(run.dataset) == reference
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tile"] == 1


@pytest.mark.slow
def test_twenty_million_models_run_in_bounded_memory(tmp_path):
    """Four steps of 20,000,000 one-neuron models; main memory as `tmsjax info` says, with and without tiles."""
    raw = small_spec(train={"steps": 4, "batch": 64}, record={"measures": []}, checkpoint={"keep": 1})
    raw["axes"] = {
        "feature_probability": {"log": [1.0, 0.01], "count": 1000},
        "extra_importance": {"log": [0.1, 10.0], "count": 1000},
        "replica": {"count": 20},
    }
    spec, peaks = write_spec(tmp_path / "s.toml", raw), []
    told = capacity.main_bytes(Ensemble(load_spec(raw)), 20_000_000)
    for tile in (0, 2):
        out = tmp_path / f"tile-{tile}"
        done = run_command("run", spec, "--out", out, "--set", f"engine.tile={tile}")
        assert done.returncode == 0, done.stderr
        peaks.append(open_run(out).directory.info()["peak_memory_bytes"])
    print(f"peak memory {[f'{peak / 1e9:.2f} GB' for peak in peaks]}, told {told / 1e9:.2f} GB")
    assert max(peaks) < 1.5 * told
    first, second = (open_run(tmp_path / f"tile-{tile}").dataset for tile in (0, 2))
    assert digest(first) == digest(second)


@pytest.mark.parametrize("raw", [small_spec(), plain_spec(30, 6)], ids=["scalars", "arrays"])
def test_the_compiled_step_has_no_collective(raw):
    text = Ensemble(load_spec(raw)).compile().as_text()
    assert "while(" in text, "the steps' loop is compiled"
    assert not [name for name in COLLECTIVES if name in text]
