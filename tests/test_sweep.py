"""Whole runs: results, records, resume after a real kill, refusals, damaged checkpoints."""

import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import jax
import numpy as np
import pytest
from conftest import plain_spec, small_spec

import tmsjax
from tmsjax import checkpoint
from tmsjax.checkpoint import Checkpoints
from tmsjax.files import CheckpointError, RunError, write_whole
from tmsjax.spec import SpecError, load_spec, to_toml
from tmsjax.store import RunDirectory
from tmsjax.sweep import Interrupted, run_sweep

# A read of damaged data leaves tasks in orbax whose event loop is closed already; Python reports them when it collects
# them, so they are collected within the test that caused them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collect_what_orbax_leaves():
    yield
    gc.collect()


def digest(dataset) -> str:
    """A hash over all variables and coordinates."""
    out = hashlib.sha256()
    for name in sorted(dataset.variables):
        values = dataset[name].to_numpy()
        out.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return out.hexdigest()


def test_results_are_labelled_by_the_axes(tmp_path):
    run = run_sweep(small_spec(), tmp_path / "run")
    d = run.dataset
    assert d["W"].dims == ("feature_probability", "extra_importance", "replica", "hidden", "feature")
    assert d["b"].dims == ("feature_probability", "extra_importance", "replica", "feature")
    assert d["loss"].shape == (2, 3, 2)
    assert d["status"].dtype == np.int8
    assert d["status"].attrs["flag_meanings"] == "ok non_finite diverged"
    np.testing.assert_allclose(d["instance_importance"][0, 2, 0], [1, 10], rtol=1e-6)
    np.testing.assert_allclose(d["instance_feature_probability"][1, 0, 1], 0.1, rtol=1e-6)
    assert d["history_loss"].dims[-1] == "step"
    np.testing.assert_array_equal(d["history_loss"][..., -1], d["loss"])
    assert d["step"].to_numpy()[-1] == 30
    again = tmsjax.open_run(tmp_path / "run")
    assert again.spec == load_spec(small_spec())
    assert digest(again.dataset) == digest(d)
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["state"] == "complete"
    assert info["plan"]["block"] == 64
    assert {"versions", "device", "seed", "seconds_of_training"} <= set(info)


def test_in_memory_and_on_disk_give_the_same_bytes(tmp_path):
    assert digest(run_sweep(small_spec()).dataset) == digest(run_sweep(small_spec(), tmp_path / "run").dataset)


def test_restored_parameters_are_those_of_the_results(tmp_path):
    run = run_sweep(small_spec(), tmp_path / "run")
    arrays = tmsjax.open_run(tmp_path / "run").restore()
    np.testing.assert_array_equal(arrays["state.params.W"].reshape(run.dataset["W"].shape), run.dataset["W"])
    assert arrays["state.opt_state.0.mu.W"].shape == (12, 1, 2)
    assert int(arrays["state.step"]) == 30
    with pytest.raises(CheckpointError, match="no checkpoint of step 3"):
        tmsjax.open_run(tmp_path / "run").restore(3)


def test_interrupted_runs_resume_to_the_same_bytes(tmp_path):
    raw = small_spec(record={"measures": ["loss", "W", "norm"], "steps": [0, 5, 20, 30]})
    reference = digest(run_sweep(raw).dataset)
    raw["checkpoint"] = {"segment_seconds": 0.0}
    for _ in range(20):
        try:
            calls = iter([False] * 6 + [True] * 99)
            run = run_sweep(raw, tmp_path / "run", should_stop=lambda: next(calls))  # noqa: B023
            break
        except Interrupted:
            assert not (tmp_path / "run" / "results.nc").exists()
    assert digest(run.dataset) == reference
    assert run.dataset["history_W"].dims[-3:] == ("step", "hidden", "feature")
    assert run.dataset["step"].to_numpy().tolist() == [0, 5, 20, 30]


def test_a_killed_process_resumes_to_the_same_bytes(tmp_path):
    """A real SIGKILL, several times, at a time when some steps are saved and some are not."""
    raw = small_spec(train={"steps": 4000}, checkpoint={"every_seconds": 0.0, "segment_seconds": 0.02})
    file = tmp_path / "sweep.toml"
    file.write_text(to_toml(load_spec(raw)))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "tmsjax.cli", "run", str(file), "--out", str(out)]
    killed = 0
    for delay in (0.3, 0.6, 0.9):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        before = saved_steps(out)
        while process.poll() is None and saved_steps(out) == before:
            time.sleep(0.01)
        time.sleep(delay)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert killed >= 2
    steps_of_log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    resumed = [line["step"] for line in steps_of_log if line["event"] == "start"]
    assert max(resumed) > 0
    reference = subprocess.run([*command[:-1], str(tmp_path / "whole")], capture_output=True, check=False)
    assert reference.returncode == 0
    assert digest(tmsjax.open_run(out).dataset) == digest(tmsjax.open_run(tmp_path / "whole").dataset)


def saved_steps(out) -> set[str]:
    folder = out / "checkpoints"
    return {p.name for p in folder.iterdir() if p.name.isdigit()} if folder.exists() else set()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_say_how_to_resume(tmp_path, sent, code):
    raw = small_spec(train={"steps": 2_000_000}, checkpoint={"every_seconds": 1e9, "segment_seconds": 0.1})
    (tmp_path / "sweep.toml").write_text(to_toml(load_spec(raw)))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "tmsjax.cli", "run", str(tmp_path / "sweep.toml"), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (out / "run.json").exists():
        time.sleep(0.05)
    time.sleep(3)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"tmsjax resume {out}" in errors
    assert len(saved_steps(out)) == 1


def test_a_complete_run_is_left_alone(tmp_path):
    run_sweep(small_spec(), tmp_path / "run")
    before = (tmp_path / "run" / "results.nc").stat().st_mtime_ns
    run_sweep(small_spec(), tmp_path / "run")
    assert (tmp_path / "run" / "results.nc").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["absent", "cut short", "of another run"])
def test_lost_results_are_rebuilt_from_the_checkpoint(tmp_path, damage):
    reference = digest(run_sweep(small_spec(), tmp_path / "run").dataset)
    file = tmp_path / "run" / "results.nc"
    content = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(content[: len(content) // 2])
    if damage == "of another run":
        run_sweep(small_spec(seed=8), tmp_path / "other")
        file.write_bytes((tmp_path / "other" / "results.nc").read_bytes())
    with pytest.raises(RunError):
        _ = tmsjax.open_run(tmp_path / "run").dataset
    assert digest(run_sweep(small_spec(), tmp_path / "run").dataset) == reference


def test_a_changed_spec_is_refused_with_its_differences(tmp_path):
    run_sweep(small_spec(), tmp_path / "run")
    with pytest.raises(RunError, match=r"train\.steps: 30 -> 31"):
        run_sweep(small_spec(train={"steps": 31}), tmp_path / "run")
    run_sweep(small_spec(checkpoint={"keep": 4}), tmp_path / "run")


def test_directories_that_hold_something_else_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "spec.toml").write_text("precious = 1")
    with pytest.raises((RunError, SpecError)):
        run_sweep(small_spec(), tmp_path / "mine")
    assert (tmp_path / "mine" / "spec.toml").read_text() == "precious = 1"
    run_sweep(small_spec(), tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(RunError, match="not empty, and not a run"):
        run_sweep(small_spec(seed=8), tmp_path / "run")


def test_a_run_whose_checkpoints_are_gone_is_not_started_again(tmp_path):
    run_sweep(small_spec(), tmp_path / "run")
    (tmp_path / "run" / "results.nc").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match="checkpoints are gone"):
        run_sweep(small_spec(), tmp_path / "run")


def test_a_spec_without_axes_is_one_model():
    raw = small_spec()
    raw["axes"] = {}
    raw["instance"] = {"feature_probability": 0.5}
    run = run_sweep(raw)
    assert run.dataset["W"].dims == ("hidden", "feature")
    assert tmsjax.phase_map(run)["phase"].shape == ()


def test_two_writers_are_refused(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    with directory.lock(), pytest.raises(RunError, match=f"pid {os.getpid()}"):
        run_sweep(small_spec(), tmp_path / "run")
    run_sweep(small_spec(), tmp_path / "run")


def test_history_above_the_limit_is_refused_or_left_out(monkeypatch):
    monkeypatch.setattr("tmsjax.sweep.RECORD_LIMIT", 100)
    with pytest.raises(RunError, match="record: "):
        run_sweep(small_spec(record={"measures": ["W"], "steps": [1, 30]}))
    with pytest.warns(UserWarning, match="no history is recorded"):
        run = run_sweep(small_spec())
    assert not [v for v in run.dataset if str(v).startswith("history_")]


def test_default_records_are_log_spaced_and_end_at_the_last_step():
    steps = load_spec(small_spec(train={"steps": 6000})).record_steps
    assert len(steps) <= 16
    assert steps[0] == 1
    assert steps[-1] == 6000
    sampled = load_spec(plain_spec(5, 2, train={"steps": 6000, "batch": 64})).record_steps
    assert len(sampled) < len(steps)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_diverging_models_are_marked_counted_and_masked(optimizer):
    raw = small_spec(train={"optimizer": optimizer, "schedule": "constant", "steps": 200})
    raw["train"]["learning_rate"] = {"select": "replica", "of": [1e-2, 1e6]}
    run = run_sweep(raw)
    status = run.dataset["status"].to_numpy()
    assert np.all(status[..., 0] == 0)
    assert np.all(status[..., 1] == (1 if optimizer == "sgd" else 2))
    mapped = tmsjax.phase_map(run.dataset)
    assert np.all(mapped["failed"] == 1)
    assert np.all(mapped["phase"] >= 0)
    assert np.all(np.isfinite(mapped["loss"]))


ARRAYS = {"state.params.W": np.arange(4000, dtype=np.float32).reshape(500, 4, 2), "state.step": np.int32(7)}


def test_checkpoints_give_back_what_was_saved(tmp_path):
    saved = Checkpoints(tmp_path / "c", keep=2)
    for step in (1, 5, 9):
        saved.save(step, ARRAYS)
    assert saved.steps() == [5, 9]
    step, arrays = Checkpoints(tmp_path / "c").load()
    assert step == 9
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_every_flipped_bit_is_detected_or_harmless(tmp_path):
    """Bits flipped in every file of a checkpoint: an error, or the very arrays that were saved."""
    saved = Checkpoints(tmp_path / "c")
    rng = np.random.default_rng(0)
    saved.save(1, {**ARRAYS, "state.params.W": rng.normal(size=(500, 4, 2)).astype(np.float32)})
    _, whole = saved.load()
    saved.close()
    files = [p for p in (tmp_path / "c" / "1").rglob("*") if p.is_file() and p.stat().st_size]
    detected = 0
    for file in files:
        content = file.read_bytes()
        for position in rng.integers(0, 8 * len(content), 4):
            broken = bytearray(content)
            broken[position // 8] ^= 1 << (position % 8)
            file.write_bytes(broken)
            opened = Checkpoints(tmp_path / "c")
            try:
                _, arrays = opened.load()
                for name, array in whole.items():
                    np.testing.assert_array_equal(arrays[name], array)
            except CheckpointError:
                detected += 1
            finally:
                opened.close()
                file.write_bytes(content)
    assert detected >= len(files)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path):
    saved = Checkpoints(tmp_path / "c", keep=3)
    noise = np.random.default_rng(0).normal(size=(500, 4, 2)).astype(np.float32)
    for step in (1, 2):
        saved.save(step, {**ARRAYS, "state.params.W": noise})
    saved.close()
    largest = max((p for p in (tmp_path / "c" / "2").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.warns(UserWarning, match="set aside as"):
        found = Checkpoints(tmp_path / "c", keep=3).load_newest_good()
    assert found is not None
    assert found[0] == 1
    assert (tmp_path / "damaged-2-0").exists()


def test_trees_survive_flattening():
    tree = {"a": [np.ones(2), np.zeros(3)], "b": np.int32(4)}
    flat = checkpoint.flatten(tree, "x")
    assert set(flat) == {"x.a.0", "x.a.1", "x.b"}
    again = checkpoint.unflatten(flat, "x", tree)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    with pytest.raises(CheckpointError, match=r"lacks x\.b"):
        checkpoint.unflatten({k: v for k, v in flat.items() if k != "x.b"}, "x", tree)


def test_writing_is_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def fails(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(target, fails)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_newer_and_damaged_runs_are_refused(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        tmsjax.open_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="newer tmsjax"):
        tmsjax.open_run(tmp_path)
    for text in ("{", "[]", "{}", '{"format": "x"}', '{"format": 1}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunError, match="damaged"):
            tmsjax.open_run(tmp_path)


def test_the_sweep_files_are_valid_and_have_the_sizes_they_say():
    assert load_spec("sweeps/one_neuron_relu.toml").instances == 1_024_000
    assert load_spec("sweeps/one_neuron_linear.toml").instances == 100_000
    assert tomllib.loads(to_toml(load_spec("sweeps/one_neuron_relu.toml")))["train"]["batch"] == 64
