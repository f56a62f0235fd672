"""Runs of several units: the same phase map, comparison and figures as the same run in one unit."""

import json

import numpy as np
import pytest
import xarray as xr
from conftest import map_axes, run_command, small_spec
from cut_runs import COLUMNS, REPLICAS, ROWS, CutRun, best_only, map_spec, trained_like

import tmsjax
from tmsjax import analysis
from tmsjax.analysis import agreement, comparison, outlines, phases
from tmsjax.errors import RunError
from tmsjax.kinds import REPLICA
from tmsjax.runs import Run, RunDirectory, RunFacts
from tmsjax.spec import Boxes, load_spec, to_toml


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return trained_like(map_spec())


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory) -> dict:
    """The comparison of the run in one unit."""
    run = Run(analysis.spec_of(dataset), RunDirectory(tmp_path_factory.mktemp("whole")), dataset)
    run.directory.info = lambda: RunFacts(to_toml(run.spec), {})
    return tmsjax.compare(run)


def cut(dataset, part=(12, 12, REPLICAS), path=None) -> CutRun:
    run = CutRun(dataset, part, path)
    if path is not None:
        run.directory.info = lambda: RunFacts(to_toml(run.spec), {})
    return run


def same(one: dict, other: dict, error: float = 0.0) -> None:
    """Asserts that two comparisons are equal up to rounding, and quantiles up to `error`."""
    for theory in ("candidate", "exact"):
        pair = [dict(result[theory]) for result in (one, other)]
        for distance in zip(*(part.pop("boundary_distance") for part in pair), strict=True):
            assert distance[0] == distance[1]
        ways = [result[theory]["boundary_distance"] for result in (one, other)]
        for way in ("theory_to_trained", "trained_to_theory"):
            assert ways[0][way]["maximum"] == ways[1][way]["maximum"]
            assert ways[0][way]["mean"] == pytest.approx(ways[1][way]["mean"], rel=1e-12)
        quantiles = [part.pop("loss_ratio_quantiles", {}) for part in pair]
        pair[1].pop("loss_ratio_error", None)
        assert quantiles[0] == pytest.approx(quantiles[1], rel=error or 1e-15)
        if theory == "exact":  # each unit checks some of its cells
            assert min(part.pop("checked") for part in pair) > 0
            assert max(part.pop("largest_improvement") for part in pair) < 1e-9
        assert pair[0] == pair[1]
    rest = [{k: v for k, v in result.items() if k not in ("candidate", "exact")} for result in (one, other)]
    assert rest[0].pop("mean_success") == pytest.approx(rest[1].pop("mean_success"), rel=1e-12)
    assert rest[0] == rest[1]


def test_the_comparison_of_twelve_units_is_that_of_one(dataset, whole, tmp_path):
    run = cut(dataset, path=tmp_path)
    assert len(run.units) == 12
    result = tmsjax.compare(run)
    error = result["exact"]["loss_ratio_error"]
    assert 0 < error < 1e-5
    same(whole, result, error)
    assert whole["masked_cells"] == 25
    assert 0.9 < whole["exact"]["agreement"] < 1
    assert json.loads((tmp_path / "comparison.json").read_text()) == result
    assert "relative error is at most" in (tmp_path / "report.md").read_text()


def test_axes_in_the_other_order_are_compared_alike():
    raw = map_spec(study={"y": "feature_probability", "x": "extra_importance"})
    raw["axes"] = {k: raw["axes"][k] for k in ("extra_importance", "replica", "feature_probability")}
    dataset = trained_like(raw)
    one, several = (tmsjax.compare(run) for run in (Run(load_spec(raw), None, dataset), cut(dataset, (7, REPLICAS, 9))))
    same(one, several, several["exact"]["loss_ratio_error"])


@pytest.mark.parametrize("part", [(40, 30), (12, 12), (1, 30), (7, 1), (13, 30)])
@pytest.mark.parametrize("upright", [True, False])
def test_borders_of_boxes_have_the_vertices_of_the_whole_map(part, upright):
    rng = np.random.default_rng(1)
    y, x = np.geomspace(1, 0.01, ROWS), np.linspace(3, 5, COLUMNS)
    smooth = ((x - 4) ** 2 + (np.log(y)[:, None] + 2) ** 2 < 1).astype(np.int8)
    smooth += 2 * (x > 4.1) * (y[:, None] > 0.3)
    for noise in (0, 0.05, 0.6):
        phase = np.where(rng.uniform(size=smooth.shape) < noise, rng.integers(-1, 4, smooth.shape), smooth)
        expected = np.concatenate(analysis.boundaries(x, y, phase))
        grid = phase if upright else phase.T
        boxes = Boxes(grid.shape, part if upright else part[::-1])
        outline = outlines.Outline(boxes, upright)
        for unit, box in enumerate(boxes):
            outline.add(unit, grid[box.slices])
        found = outline.points(x, y)
        assert set(map(tuple, found)) == set(map(tuple, expected))
        np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def test_too_many_vertices_are_thinned(monkeypatch, dataset, whole):
    monkeypatch.setattr(outlines, "MOST_POINTS", 40)
    result = tmsjax.compare(cut(dataset))
    distance = result["exact"]["boundary_distance"]
    assert distance["thinned"] in (2, 4, 8)
    text = comparison.report(cut(dataset), result)
    assert f"one in {distance['thinned']} points" in text
    thinned, full = (d["trained_to_theory"]["maximum"] for d in (distance, whole["exact"]["boundary_distance"]))
    assert thinned < 2 * full


def test_quantiles_of_several_arrays_are_within_their_stated_error():
    rng = np.random.default_rng(0)
    values = np.concatenate([1 + rng.exponential(0.01, 5000), rng.lognormal(0, 3, 500), [1e-30, 1e30]])
    one, several = agreement.Quantiles(), agreement.Quantiles()
    one.add(values)
    for part in np.array_split(values, 7):
        several.add(part)
    exact = {str(q): float(np.quantile(values, q)) for q in agreement.SHARES}
    assert one.get() == exact
    assert one.error == 0
    assert several.get() == pytest.approx(exact, rel=several.error)
    assert several.get() != exact
    assert agreement.Quantiles().get() == {}


@pytest.mark.parametrize("select", ["best", "paper", "vote", "single"])
def test_the_stored_phase_map_of_many_units_is_that_of_one(select, dataset, tmp_path):
    run = cut(dataset, path=tmp_path)
    expected = phases.phase_map(dataset, select)
    mapped = tmsjax.phase_map(run, select)
    assert mapped["phase"].attrs["flag_meanings"] == expected["phase"].attrs["flag_meanings"]
    assert mapped["phase"].dtype == np.int8
    assert mapped["norm"].dtype == np.float32
    xr.testing.assert_allclose(mapped.load(), expected.astype(mapped.dtypes), rtol=1e-6)
    assert (tmp_path / f"phase_map-{select}" / "00011.nc").is_file()


def test_a_phase_map_is_resumed_and_damaged_or_foreign_units_are_made_again(dataset, tmp_path):
    run = cut(dataset, path=tmp_path)
    _, counts = analysis.write_phase_map(run)
    one = agreement.Counts(counts.names)
    one.add(phases.phase_map(dataset))
    assert counts.table() == one.table()
    assert run.read == list(range(12))
    folder = tmp_path / "phase_map-best"
    (folder / "00003.nc").unlink()
    (folder / "00007.nc").write_bytes((folder / "00007.nc").read_bytes()[:-100])
    again = cut(dataset, path=tmp_path)
    assert analysis.write_phase_map(again)[1].table() == one.table()
    assert again.read == [3, 7]
    other = trained_like(map_spec(seed=8))
    changed = cut(other, path=tmp_path)
    xr.testing.assert_equal(tmsjax.phase_map(changed)["phase"].load(), phases.phase_map(other)["phase"])
    assert changed.read == list(range(12))


def test_stored_optima_are_reused_and_damaged_ones_made_again(dataset, whole, tmp_path, monkeypatch):
    first = tmsjax.compare(cut(dataset, path=tmp_path))
    called = []
    compute = comparison.exact_map
    monkeypatch.setattr(comparison, "exact_map", lambda part: called.append(part.sizes) or compute(part))
    assert tmsjax.compare(cut(dataset, path=tmp_path)) == first
    assert called == []
    (tmp_path / "theory" / "00004.nc").write_bytes(b"nothing")
    assert analysis.stored_exact_map(cut(dataset, path=tmp_path)) is not None, "values are read later"
    assert tmsjax.compare(cut(dataset, path=tmp_path)) == first
    assert len(called) == 1
    (tmp_path / "theory" / "00005.nc").unlink()
    assert analysis.stored_exact_map(cut(dataset, path=tmp_path)) is None


def test_a_theory_that_some_unit_refuses_is_left_out():
    raw = map_spec(model={"activation": "linear", "features": 3})
    raw["instance"]["importance"] = [1.0, "extra_importance", 0.5]
    raw["instance"]["feature_probability"] = ["feature_probability", 1.0, 1.0]  # one unit has equal probabilities
    dataset = trained_like(map_spec())
    spec = load_spec(raw)
    inputs = {
        f"instance_{n}": ([*dataset["loss"].dims, "feature"], np.broadcast_to(spec.evaluate(n), (*spec.shape, 3)))
        for n in ("importance", "feature_probability")
    }
    three = dataset.drop_dims("feature").assign(inputs).assign_attrs(spec=to_toml(spec))
    three["W"] = ([*dataset["loss"].dims, "hidden", "feature"], np.ones((*spec.shape, 1, 3)))
    run = cut(three, (1, COLUMNS, REPLICAS))
    assert "exact" in comparison.theory_phases(run.part(0), None)
    assert "exact" not in tmsjax.compare(run)


def test_the_best_replicas_alone_give_the_same_map_and_comparison(dataset, whole):
    kept = best_only(dataset)
    assert REPLICA not in kept.dims
    xr.testing.assert_identical(phases.phase_map(kept), phases.phase_map(dataset))
    for run in (Run(analysis.spec_of(kept), None, kept), cut(kept, (12, 12))):
        result = tmsjax.compare(run)
        same(whole, result, result["exact"].get("loss_ratio_error", 0.0))
    for select in ("single", "paper", "vote"):
        with pytest.raises(RunError, match="only the best of each cell was kept"):
            tmsjax.phase_map(kept, select)
        with pytest.raises(RunError, match="only the best of each cell was kept"):
            tmsjax.compare(cut(kept, (12, 12)), select)
    for refused in (lambda: analysis.success(kept), lambda: analysis.agreement_by_count(kept, None, "best", [1])):
        with pytest.raises(RunError, match="needs every replica"):
            refused()


def test_replicas_with_inputs_of_their_own_are_recognised_by_the_spec(dataset):
    assert phases.same_inputs(best_only(dataset))
    raw = map_spec()
    raw["instance"]["importance"] = {"geometric": [1.0, "extra_importance"], "permute": "replica"}
    assert not phases.same_inputs(best_only(trained_like(raw)))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [pytest.param("all", marks=pytest.mark.slow), "best"])
def test_a_trained_run_of_several_units_has_the_map_and_comparison_of_one(keep, tmp_path):
    raw = small_spec(axes=map_axes(6, 5, 2), train={"steps": 200})
    one = tmsjax.run_sweep(raw, tmp_path / "one")
    several = tmsjax.run_sweep(raw | {"store": {"keep": keep}, "engine": {"unit": 24}}, tmp_path / keep)
    assert len(several.units) == len(several.cells) == 3
    same(tmsjax.compare(one), tmsjax.compare(several), 1e-5)
    expected = tmsjax.phase_map(one)
    xr.testing.assert_allclose(tmsjax.phase_map(several).load(), expected.astype(tmsjax.phase_map(several).dtypes))
    told = [run_command("map", run.directory.path).stdout.split("\n") for run in (one, several)]
    assert told[0][:-2] == told[1][:-2]
    assert told[1][-2] == str(several.directory.path / "phase_map-best")
    drawn = run_command("plot", several.directory.path, "--region", "extra_importance=0.5:20")
    assert drawn.returncode == 0, drawn.stderr
    refused = run_command("map", several.directory.path, "--select", "vote")
    assert refused.returncode == (2 if keep == "best" else 0)
    assert ("only the best of each cell was kept" in refused.stderr) == (keep == "best")
