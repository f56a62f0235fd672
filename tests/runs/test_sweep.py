"""Whole runs: results, records, interruption and resume, refusals."""

import json

import jax
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT, copied, digest, plain_spec, slowly, small_spec

import tmsjax
from tmsjax.errors import CheckpointError, Interrupted, RunError
from tmsjax.runs import checkpoint, run_sweep
from tmsjax.spec import load_spec

SWEEPS = ROOT / "sweeps"


@pytest.mark.smoke
def test_results_are_labelled_by_the_axes(tmp_path):
    d = run_sweep(small_spec(), tmp_path / "run").dataset
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
    assert (info["plan"]["block"], info["plan"]["effort"]) == (16, 0)
    assert {"versions", "device", "seed", "seconds_of_training"} <= set(info)


def test_the_final_loss_says_how_it_was_computed(small_run):
    sampled = small_spec(model={"activation": "gelu"})
    assert tmsjax.open_run(small_run).dataset["loss"].attrs["comment"] == "exact"
    assert run_sweep(sampled).dataset["loss"].attrs["comment"] == "the mean over 65,536 samples"


def test_functions_of_results_take_a_run_its_dataset_or_its_path(tmp_path, small_run):
    run = tmsjax.open_run(copied(small_run, tmp_path / "run"))
    for function in (tmsjax.phase_map, tmsjax.measures, tmsjax.best):
        expected = function(run)
        for other in (run.dataset, str(tmp_path / "run"), tmp_path / "run"):
            xr.testing.assert_identical(function(other).load(), expected.load())
        with pytest.raises(tmsjax.RunError, match="not a run directory"):
            function(tmp_path / "other")


def test_in_memory_and_on_disk_give_the_same_bytes(small_run):
    assert digest(run_sweep(small_spec()).dataset) == digest(tmsjax.open_run(small_run).dataset)


@pytest.mark.smoke
def test_restored_parameters_are_those_of_the_results(small_run):
    run = tmsjax.open_run(small_run)
    arrays = run.restore()
    np.testing.assert_array_equal(arrays["state.params.W"].reshape(run.dataset["W"].shape), run.dataset["W"])
    assert arrays["state.opt_state.0.mu.W"].shape == (12, 1, 2)
    assert int(arrays["state.step"]) == 30
    with pytest.raises(CheckpointError, match="no checkpoint of step 3"):
        run.restore(3)


@pytest.mark.smoke
@pytest.mark.parametrize("path", ["auto", "scalars", *slowly("stages", "arrays")])
def test_interrupted_runs_resume_to_the_same_bytes(tmp_path, path):
    raw = small_spec(record={"measures": ["loss", "W", "norm"], "steps": [0, 5, 20, 30]}, engine={"path": path})
    reference = digest(run_sweep(raw).dataset)
    raw["checkpoint"] = {"segment_seconds": 0.0}
    for _ in range(20):
        try:
            calls = iter([False] * 10 + [True] * 99)
            run = run_sweep(raw, tmp_path / "run", should_stop=lambda: next(calls))  # noqa: B023
            break
        except Interrupted:
            assert not (tmp_path / "run" / "results.nc").exists()
    assert digest(run.dataset) == reference
    assert run.dataset["history_W"].dims[-3:] == ("step", "hidden", "feature")
    assert run.dataset["step"].to_numpy().tolist() == [0, 5, 20, 30]


def test_a_complete_run_is_left_alone(tmp_path, small_run):
    copied(small_run, tmp_path / "run")
    before = (tmp_path / "run" / "results.nc").stat().st_mtime_ns
    run_sweep(small_spec(), tmp_path / "run")
    assert (tmp_path / "run" / "results.nc").stat().st_mtime_ns == before


def test_directories_that_hold_something_else_are_left_alone(tmp_path, small_run):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "spec.toml").write_text("precious = 1")
    with pytest.raises(RunError, match="not empty, and not a run"):
        run_sweep(small_spec(), tmp_path / "mine")
    assert (tmp_path / "mine" / "spec.toml").read_text() == "precious = 1"
    with pytest.raises(RunError, match="holds another sweep"):
        run_sweep(small_spec(seed=8), copied(small_run, tmp_path / "run"))


def test_a_spec_without_axes_is_one_model():
    raw = small_spec()
    raw["axes"] = {}
    raw["instance"] = {"feature_probability": 0.5}
    run = run_sweep(raw)
    assert run.dataset["W"].dims == ("hidden", "feature")
    assert tmsjax.phase_map(run)["phase"].shape == ()


def test_history_above_the_limit_is_refused_or_left_out(monkeypatch):
    monkeypatch.setattr("tmsjax.runs.capacity.RECORD_LIMIT", 100)
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


def test_trees_survive_flattening():
    tree = {"a": [np.ones(2), np.zeros(3)], "b": np.int32(4)}
    flat = checkpoint.flatten(tree, "x")
    assert set(flat) == {"x.a.0", "x.a.1", "x.b"}
    again = checkpoint.unflatten(flat, "x", tree)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    with pytest.raises(CheckpointError, match=r"lacks x\.b"):
        checkpoint.unflatten({k: v for k, v in flat.items() if k != "x.b"}, "x", tree)


def test_every_sweep_file_says_its_command_and_how_many_models_it_trains():
    faults = []
    for path in sorted(SWEEPS.glob("*.toml")):
        text = path.read_text()
        said = (f"tmsjax run sweeps/{path.name}", f"{load_spec(path).instances:,}")
        faults += [f"{path.name} does not say {words!r}" for words in said if words not in text]
    assert not faults


def test_models_without_bias_train_map_and_compare(tmp_path):
    train, axes = {"steps": 2000, "batch": 64}, {"replica": {"count": 12}}
    run = run_sweep(small_spec(model={"family": "tied-no-bias"}, train=train, axes=axes), tmp_path / "run")
    assert "b" not in run.dataset
    facts = tmsjax.compare(run)
    assert facts["exact"]["agreement"] == 1
    assert "candidate" not in facts
    dense = run.dataset.sel(feature_probability=1.0, extra_importance=1.0, method="nearest")
    W = dense["W"].to_numpy()[dense["loss"].to_numpy().argmin(), 0]
    assert W[0] * W[1] > 0.2  # without bias, dense features share a direction with the same sign
    tmsjax.plots.models(run.dataset, {"feature_probability": 1.0, "extra_importance": 1.0})
