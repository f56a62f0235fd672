"""Units: the same bytes however a sweep is divided; what is kept; bounded memory; shares of several processes."""

import gc
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import ROOT, command, copied, digest, flip, plain_spec, slowly, small_spec

from tmsjax.engine import Ensemble, plan
from tmsjax.errors import Interrupted, RunError, SpecError
from tmsjax.kinds import SUCCESS
from tmsjax.runs import capacity, open_run, run_sweep, summary
from tmsjax.runs.training import Training
from tmsjax.spec import Box, Boxes, load_spec, part_shape


def divided(**changes) -> dict:
    """The small sweep in six units of one cell, or of what `changes` says."""
    return small_spec(**{"engine": {"unit": 3}, **changes})


@pytest.fixture(scope="module")
def best_units(tmp_path_factory) -> Path:
    """The directory of a complete run in six units that kept the best of each cell."""
    path = tmp_path_factory.mktemp("best") / "run"
    run_sweep(divided(store={"keep": "best"}), path)
    return path


@pytest.mark.parametrize(("unit", "count"), [(3, 6), *slowly((4, 4), (6, 2), (12, 1))])
@pytest.mark.parametrize(
    ("keep", "path"), [("all", "scalars"), ("best", "auto"), *slowly(("results", "stages"), ("all", "arrays"))]
)
def test_bits_do_not_depend_on_units(tmp_path, unit, count, keep, path):
    raw = small_spec(store={"keep": keep}, record={"measures": ["loss", "W"], "steps": [0, 7, 30]})
    raw["engine"] = {"path": path, "block": 4}
    whole = run_sweep(raw).dataset
    raw["engine"]["unit"] = unit
    run = run_sweep(raw, tmp_path / "run")
    assert len(run.units) == count
    assert digest(run.dataset) == digest(whole)
    assert digest(run_sweep(raw).dataset) == digest(whole), "in memory"
    again = open_run(tmp_path / "run")
    assert again.dataset.attrs.keys() == whole.attrs.keys()
    for k, box in enumerate(again.units):
        cut = dict(zip(whole["loss"].dims, box.slices, strict=True))
        xr.testing.assert_equal(again.part(k), whole.isel(cut))


def test_units_hold_whole_cells_and_cover_the_grid():
    spec = load_spec(small_spec())
    for most in range(1, 14):
        boxes = Boxes(spec.shape, part_shape(spec.shape, most, {2}))
        seen = np.zeros(spec.shape, int)
        for box in boxes:
            assert box.ranges[2] == range(2), "all replicas"
            assert box.size <= max(most, 2)
            seen[box.slices] += 1
        assert (seen == 1).all()


def test_only_a_cell_beyond_a_unit_is_divided():
    raw = plain_spec(2, 1, instances=10, engine={"unit": 4})
    assert plan(load_spec(raw), "cpu").unit == (4,)
    raw["store"] = {"keep": "best"}
    assert plan(load_spec(raw), "cpu").unit == (10,)


def test_boxes_find_those_that_overlap():
    boxes = Boxes((10, 7), (3, 4))
    assert len(boxes) == 8
    assert boxes[7] == Box((range(9, 10), range(4, 7)))
    for box in (Box((range(2, 4), range(7))), Box((range(9, 10), range(6, 7)))):
        shared = [
            k for k, b in enumerate(boxes) if all(set(p) & set(q) for p, q in zip(b.ranges, box.ranges, strict=True))
        ]
        assert list(boxes.overlapping(box)) == shared


def test_the_best_of_each_cell_with_its_counts(tmp_path):
    raw = divided()
    raw["axes"]["replica"]["count"] = 5
    every = run_sweep(raw).dataset.load()
    every["status"][0, 0, 1] = 2
    every["status"][1, 2] = 1
    from tmsjax.runs.dataset import best_of_cells

    best = best_of_cells(every)
    ok = every["status"] == 0
    loss = every["loss"].where(ok)
    np.testing.assert_array_equal(best["loss"].where(ok.any("replica")), loss.min("replica"))
    np.testing.assert_array_equal(best["successes"], (loss <= SUCCESS * loss.min("replica")).sum("replica"))
    np.testing.assert_array_equal(best["diverged"], (~ok).sum("replica"))
    np.testing.assert_allclose(best["loss_mean"], loss.mean("replica"), rtol=1e-6)
    np.testing.assert_allclose(best["loss_spread"], loss.std("replica"), rtol=1e-4, atol=1e-9)
    for name in ("W", "b", "status"):
        np.testing.assert_array_equal(best[name], every[name].isel(replica=best["replica"]))
    assert int(best["diverged"][1, 2]) == 5
    assert int(best["successes"][1, 2]) == 0
    assert best.attrs["keep"] == "best"
    assert best.attrs["replicas"] == 5


@pytest.mark.parametrize(("keep", "unit"), [("results", 0), *slowly(("best", 3), ("results", 3), ("best", 0))])
def test_no_state_of_the_optimizer_is_kept(tmp_path, keep, unit):
    raw = small_spec(store={"keep": keep}, engine={"unit": unit}, checkpoint={"every_seconds": 0.0})
    run = run_sweep(raw, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("manifest.json"))
    assert run.steps() == []


def test_every_unit_keeps_its_last_checkpoint(unit_run):
    run = open_run(unit_run)
    for k, box in enumerate(run.units):
        arrays = run.restore(unit=k)
        W = arrays["state.params.W"].reshape(*box.shape, 1, 2)
        np.testing.assert_array_equal(W, run.part(k)["W"])
    with pytest.raises(RunError, match="no unit 6; has 6"):
        run.restore(unit=6)


def test_the_best_needs_replicas_of_equal_inputs():
    raw = plain_spec(3, 2, store={"keep": "best"})
    raw["instance"]["importance"] = {"first": 1.0, "ratio": 0.9, "permute": "replica"}
    with pytest.raises(SpecError, match=r"store.keep: 'best' needs replicas with equal importance"):
        load_spec(raw)


def test_what_is_kept_belongs_to_the_sweep_and_units_do_not(tmp_path, unit_run):
    copied(unit_run, tmp_path / "run")
    with pytest.raises(RunError, match=r"store\.keep: all -> results"):
        run_sweep(divided(store={"keep": "results"}), tmp_path / "run")
    assert len(run_sweep(small_spec(), tmp_path / "run").units) == 6, "a run keeps its units"


def stopping_after(calls: int):
    """A `should_stop` that says so from the `calls`-th time on."""
    left = iter([False] * calls)
    return lambda: next(left, True)


def test_an_interrupted_run_goes_on_with_the_missing_units(tmp_path, small_run):
    changes = {"checkpoint": {"segment_seconds": 0.0}}
    reference = digest(open_run(small_run).dataset)
    seen = set()
    for _ in range(100):
        try:
            run = run_sweep(divided(**changes), tmp_path / "run", should_stop=stopping_after(40))
            break
        except Interrupted:
            done = open_run(tmp_path / "run").units_done
            with pytest.raises(RunError, match=rf"no results yet \({done} of 6 units done\)"):
                open_run(tmp_path / "run").dataset  # noqa: B018
            assert summary(open_run(tmp_path / "run"))["units done"] == f"{done} of 6"
            seen.add(done)
    assert len(seen) > 2
    assert digest(run.dataset) == reference


def test_more_steps_continue_every_unit(tmp_path):
    constant, no = {"schedule": "constant"}, {"measures": []}
    run_sweep(divided(train=constant, record=no), tmp_path / "run")
    run = run_sweep(divided(train={**constant, "steps": 50}, record=no), tmp_path / "run")
    assert digest(run.dataset) == digest(run_sweep(small_spec(train={**constant, "steps": 50}, record=no)).dataset)
    assert run.trained == 6
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["state"], facts["steps_done"]) == ("complete", 50)
    with pytest.raises(Interrupted):
        run_sweep(divided(train=constant, store={"keep": "best"}), tmp_path / "best", should_stop=lambda: True)
    with pytest.raises(RunError, match=r"train.steps: 30 -> 50"):
        run_sweep(divided(train={**constant, "steps": 50}, store={"keep": "best"}), tmp_path / "best")


def test_a_damaged_unit_is_set_aside_and_trained_again(tmp_path, unit_run):
    copied(unit_run, tmp_path / "run")
    reference, place = digest(open_run(unit_run).dataset), tmp_path / "run" / "results" / "00002.nc"
    flip(place, 4 * place.stat().st_size + 2)
    with pytest.raises(RunError, match=r"00002.nc: damaged .*; `tmsjax resume .*run`"):
        open_run(tmp_path / "run").part(2)
    with pytest.raises(RunError, match=r"00002\.nc: damaged"):
        open_run(tmp_path / "run").dataset.load()
    with pytest.warns(UserWarning, match=r"00002.nc: damaged .*; set aside as .*damaged-00002.nc-0"):
        again = run_sweep(divided(), tmp_path / "run")
    assert again.trained == 1
    assert digest(again.dataset) == reference
    assert run_sweep(divided(), tmp_path / "run").trained == 0


def test_a_missing_unit_is_named_and_trained_again(tmp_path, best_units):
    copied(best_units, tmp_path / "run")
    reference = digest(open_run(best_units).dataset)
    (tmp_path / "run" / "results" / "00004.nc").unlink()
    with pytest.raises(RunError, match=r"no results yet \(5 of 6 units done\)"):
        open_run(tmp_path / "run").dataset  # noqa: B018
    assert digest(run_sweep(divided(store={"keep": "best"}), tmp_path / "run").dataset) == reference


@pytest.mark.parametrize("keep", ["all", "best"])
def test_a_lost_run_json_is_made_again_from_a_unit(tmp_path, unit_run, best_units, keep):
    copied(unit_run if keep == "all" else best_units, tmp_path / "run")
    reference = digest(open_run(tmp_path / "run").dataset)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json: damaged.*`tmsjax resume .*run` rebuilds it from a copy"):
        open_run(tmp_path / "run")
    with pytest.warns(UserWarning, match=r"run\.json: damaged.*made again from "):
        again = run_sweep(divided(store={"keep": keep}), tmp_path / "run")
    assert again.trained == 0
    assert digest(again.dataset) == reference
    assert len(again.units) == 6


def test_a_unit_beyond_memory_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(capacity, "available_memory", lambda: 10**6)
    with pytest.raises(RunError, match=r"a unit of 12 models needs .* MB .*, 1\.0 MB are free: set engine.unit lower"):
        run_sweep(small_spec(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_failed_allocation_names_the_remedy(tmp_path, monkeypatch):
    import jax

    def advance(ensemble, states, stop):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes.")

    monkeypatch.setattr(Ensemble, "advance", advance)
    with pytest.raises(RuntimeError, match=r"unit 0: failed .*does not hold a unit of 2 models, set engine.unit lower"):
        run_sweep(divided(), tmp_path / "run")


def test_a_trillion_models_are_described_in_no_time():
    raw = small_spec(engine={"unit": 1000})
    for axis in ("feature_probability", "extra_importance"):
        raw["axes"][axis]["count"] = 10**6
    spec = load_spec(raw)
    units = plan(spec, "cpu").units(spec)
    assert units[len(units) - 1].ranges[0][-1] == 10**6 - 1
    assert capacity.disk_bytes(Ensemble(spec, box=units[0])) > 30e12


@pytest.mark.parametrize("out", ["run", None])
def test_memory_of_a_unit_is_freed_without_the_garbage_collector(tmp_path, out):
    gc.collect()
    gc.disable()  # it counts objects, not the bytes of their arrays
    try:
        run_sweep(divided(store={"keep": "results"}), tmp_path / out if out else None)
        assert not [one for one in gc.get_objects() if isinstance(one, Training)]
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_hundred_million_models_train_and_compare_within_3_gigabytes(tmp_path):
    """The billion-model sweep with a tenth of the models: `bash scripts/billion.sh --quick` without the kill."""
    cells = ["--set", "axes.feature_probability.count=3200", "--set", "axes.extra_importance.count=3125"]
    for arguments in (["run", ROOT / "sweeps" / "one_neuron_billion.toml", *cells, "--out"], ["map"], ["compare"]):
        process = subprocess.Popen(command(*arguments, tmp_path / "run"))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        assert usage.ru_maxrss < 3e6, "kilobytes"
    assert len(open_run(tmp_path / "run").units) == 48
    found = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert found["cells"] == 10_000_000
    assert found["exact"]["agreement"] > 0.99
    assert found["exact"]["improved"] == 0
