"""Selection, phases, comparison and figures on handmade results."""

import io
import json

import numpy as np
import pytest
import xarray as xr
from conftest import map_axes, small_spec
from matplotlib.image import imread

import tmsjax
from tmsjax import analysis, plots, theory
from tmsjax.analysis import comparison, phases
from tmsjax.analysis.agreement import compare
from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import VALUES, measures
from tmsjax.plots import style
from tmsjax.runs import Run
from tmsjax.runs.dataset import results_dataset
from tmsjax.spec import SELECTIONS, Box, load_spec

DIMS = {"W": ("hidden", "feature"), "b": ("feature",)}


def results(W, loss, status=None, raw=None) -> xr.Dataset:
    """A dataset over (2 probabilities, 3 importances, k replicas) from W (2, 3, k, m, n) and loss (2, 3, k)."""
    W, loss = np.asarray(W, np.float32), np.asarray(loss, np.float32)
    raw = raw or small_spec()
    raw["axes"]["replica"] = {"count": W.shape[2]}
    spec = load_spec(raw)
    rows, n = spec.instances, W.shape[-1]
    inputs = {
        "importance": np.broadcast_to(spec.evaluate("importance"), (*spec.shape, n)).reshape(rows, n),
        "feature_probability": np.broadcast_to(spec.evaluate("feature_probability"), (*spec.shape, n)).reshape(rows, n),
    }
    status = np.zeros(rows, np.int8) if status is None else np.asarray(status, np.int8).reshape(-1)
    params = {"W": W.reshape(rows, *W.shape[3:]), "b": np.zeros((rows, n), np.float32)}
    return results_dataset(spec, Box.whole(spec.shape), DIMS, params, inputs, loss.reshape(-1), status, {}, [])


def everywhere(models, loss) -> tuple:
    """The same replicas in all six cells."""
    W = np.array(models, float)[None, None, :, None, :]
    return np.broadcast_to(W, (2, 3, *W.shape[2:])), np.broadcast_to(np.array(loss, float), (2, 3, len(loss)))


NAMES = phases.TWO_FEATURE_PHASES


def test_best_takes_the_replica_of_lowest_loss():
    mapped = phases.phase_map(results(*everywhere([[1, 0], [1, -1], [0, 1]], [0.3, 0.1, 0.2])))
    assert np.all(mapped["phase"] == NAMES.index("superposition"))
    np.testing.assert_allclose(mapped["norm"], 1)
    np.testing.assert_allclose(mapped["superposition"], 1)
    np.testing.assert_allclose(mapped["loss"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(mapped["success"], 1 / 3)


@pytest.mark.parametrize(
    ("model", "name"),
    [([0.2, 0.1], "none"), ([1, 0.29], "first only"), ([0.29, -1], "second only"), ([0.3, 0.31], "superposition")],
)
def test_phases_of_one_neuron(model, name):
    mapped = phases.phase_map(results(*everywhere([model], [0.1])))
    assert np.all(mapped["phase"] == NAMES.index(name))


def test_classes_with_more_than_one_hidden_dimension():
    W = np.array([[1.0, 0.3, 0.2], [0.0, 1.0, 0.1]])
    superposition = measures.superposition(W)
    classes = phases.classify(measures.norms(W), superposition, 2)
    assert superposition[0] == pytest.approx(0.3**2 + 0.2**2)
    assert superposition[0] > phases.SUPERPOSED
    assert classes.tolist() == [2, 2, 0]
    alone = np.array([[1.0, 0.0, 0.3], [0.0, 1.0, 0.0]])
    assert phases.classify(measures.norms(alone), measures.superposition(alone), 2).tolist() == [1, 1, 2]


def test_paper_drops_the_worst_and_averages_the_rest():
    # worst: [0, 1]; the others average to norms (1, 0.5), superposition of the extra feature gated: (0 + 1) / 2
    mapped = phases.phase_map(results(*everywhere([[1, 0], [1, -1], [0, 1]], [0.1, 0.2, 0.3])), "paper")
    np.testing.assert_allclose(mapped["norm"][0, 0], [1, 0.5])
    np.testing.assert_allclose(mapped["superposition"][0, 0], [0.5, 0.5])
    assert np.all(mapped["phase"] == NAMES.index("superposition"))
    single = phases.phase_map(results(*everywhere([[1, 0]], [0.1])), "paper")
    assert np.all(single["phase"] == NAMES.index("first only"))


def test_paper_drops_diverged_before_the_worst():
    status = np.zeros((2, 3, 3))
    status[..., 2] = 2
    W, loss = everywhere([[1, 0], [0, 1], [1, 1]], [0.1, 0.2, 1e9])
    mapped = phases.phase_map(results(W, loss, status), "paper")
    np.testing.assert_allclose(mapped["norm"][0, 0], [1, 0])
    assert np.all(mapped["failed"] == 1)


def test_vote_is_a_plurality_and_a_tie_is_none():
    won = phases.phase_map(results(*everywhere([[1, 0], [1, 0], [1, -1]], [0.3, 0.2, 0.1])), "vote")
    assert np.all(won["phase"] == NAMES.index("first only"))
    np.testing.assert_allclose(won["norm"][0, 0], [1, 0])
    tie = phases.phase_map(results(*everywhere([[1, 0], [1, -1]], [0.2, 0.1])), "vote")
    assert np.all(tie["phase"] == NAMES.index("none"))


@pytest.mark.parametrize("select", SELECTIONS)
def test_a_cell_without_a_usable_replica_is_masked(select):
    status = np.zeros((2, 3, 2))
    status[1, 2] = 1
    W, loss = everywhere([[1, 0], [1, 0]], [0.1, 0.1])
    W = W.copy()
    W[1, 2] = np.nan
    mapped = phases.phase_map(results(W, loss, status), select)
    assert mapped["phase"][1, 2] == phases.MASKED
    assert np.isnan(mapped["norm"][1, 2]).all()
    assert (mapped["phase"] == NAMES.index("first only")).sum() == 5
    result = compare(mapped, {"exact": np.ones((2, 3), np.int8)})
    assert result["masked_cells"] == 1
    assert result["exact"]["agreement"] == 1.0
    assert result["diverged_models"] == 2


def test_unknown_selections_and_models_without_directions_are_refused():
    dataset = results(*everywhere([[1, 0]], [0.1]))
    with pytest.raises(ValueError, match="best, paper, vote"):
        phases.phase_map(dataset, "mean")
    with pytest.raises(RunError, match="no directions"):
        phases.phase_map(dataset.assign_attrs(directions=0))


def theory_results(count: int) -> xr.Dataset:
    """A run whose models are exactly the candidates."""
    r, p = np.meshgrid(np.geomspace(0.1, 10, count), np.geomspace(1, 0.01, count))
    W = theory.candidate_weights(np.stack([np.ones_like(r), r], -1), np.stack([p, p], -1))
    return results(W[:, :, None], np.full((count, count, 1), 0.1), raw=small_spec(axes=map_axes(count, count, 1, 0.01)))


def test_comparison_counts_agreement_confusion_and_distance():
    dataset = theory_results(21)
    mapped = phases.phase_map(dataset)
    expected = phases.candidate_phases(dataset)
    same = compare(mapped, {"candidate": expected})["candidate"]
    assert same["agreement"] == 1.0
    assert same["boundary_distance"]["theory_to_trained"]["maximum"] < 1e-12
    shifted = np.roll(expected, 2, axis=0)
    shifted[:2] = expected[:2]
    other = compare(mapped, {"candidate": shifted})["candidate"]
    assert other["agreement"] == pytest.approx(np.mean(shifted == expected))
    table = np.array(other["confusion"])
    assert table.sum() == 441
    assert np.trace(table) == (shifted == expected).sum()
    assert table[NAMES.index("first only"), NAMES.index("superposition")] > 0
    distance = other["boundary_distance"]
    assert distance["units"] == "decades"
    assert 0.05 < distance["theory_to_trained"]["maximum"] <= 0.2 + 1e-9  # two cells of a tenth of a decade


def test_candidate_map_turns_at_the_boundary_curve():
    dataset = theory_results(201)
    phase = phases.candidate_phases(dataset)
    p, r = dataset["feature_probability"].to_numpy(), dataset["extra_importance"].to_numpy()
    for column in range(0, 201, 10):
        highest = p[phase[:, column] == NAMES.index("superposition")].max()
        bound = theory.candidate_boundary(r[column])
        assert highest <= bound < highest * (p[0] / p[1]) * (1 + 1e-9)


def test_linear_phases_split_at_importance_one():
    raw = small_spec(axes=map_axes(6, 6, 1, 0.01), model={"activation": "linear"})
    dataset = results(np.ones((6, 6, 1, 1, 2)), np.ones((6, 6, 1)), raw=raw)
    phase = phases.linear_phases(dataset)
    assert np.all(phase[:, :3] == NAMES.index("first only"))
    assert np.all(phase[:, 3:] == NAMES.index("second only"))


@pytest.mark.slow
def test_in_memory_comparison_of_a_trained_sweep():
    run = tmsjax.run_sweep(small_spec(axes=map_axes(6, 6, 10, 0.05), train={"steps": 1500, "batch": 64}))
    result = tmsjax.compare(run)
    assert result["exact"]["agreement"] >= 34 / 36
    assert result["exact"]["largest_gradient"] < 1e-6
    assert result["exact"]["checked"] > 0
    assert result["exact"]["improved"] == 0
    assert result["exact"]["loss_ratio_quantiles"]["0.5"] < 1.02
    assert json.loads(json.dumps(result)) == result


def at(figure, axes, x: float, y: float) -> np.ndarray:
    """The colour drawn at data coordinates (x, y) of `axes`."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    image = imread(io.BytesIO(file.getvalue()))[..., :3]
    column, row = axes.transData.transform((x, y)) * 100 / figure.dpi
    return image[len(image) - 1 - round(row), round(column)]


def test_the_map_shows_each_phase_where_it_belongs():
    dataset = theory_results(21)
    figure = plots.phase_map(phases.phase_map(dataset), {"candidate": phases.candidate_phases(dataset)})
    axes = figure.axes[0]
    np.testing.assert_allclose(at(figure, axes, 0.2, 0.8), style.GREY, atol=0.02)
    np.testing.assert_allclose(at(figure, axes, 5.0, 0.8), style.BLUE, atol=0.02)
    np.testing.assert_allclose(at(figure, axes, 0.3, 0.05), style.RED, atol=0.02)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < axes.get_ylim()[1]
    assert axes.get_xlabel() == "importance of the extra feature"
    assert axes.get_ylabel() == "feature probability"
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["candidate theory"]


def test_colours_span_norm_and_superposition():
    ends = plots.style.colours(np.array([0.0, 1.0, 1.0, 5.0, np.nan]), np.array([0.5, 0.0, 1.0, 7.0, np.nan]))
    np.testing.assert_allclose(ends, [style.GREY, style.BLUE, style.RED, style.RED, style.HIDDEN])


def test_axes_in_the_other_order_are_transposed():
    raw = small_spec()
    raw["axes"] = {k: raw["axes"][k] for k in ("extra_importance", "feature_probability", "replica")}
    raw["study"] = {"y": "feature_probability", "x": "extra_importance"}
    W = np.zeros((3, 2, 1, 1, 2))
    W[2, 0] = [[0, 1]]  # importance 10, probability 1: the only blue cell
    figure = plots.phase_map(phases.phase_map(results(W, np.ones((3, 2, 1)), raw=raw)))
    axes = figure.axes[0]
    np.testing.assert_allclose(at(figure, axes, 10, 1), style.BLUE, atol=0.02)
    np.testing.assert_allclose(at(figure, axes, 10, 0.1), style.GREY, atol=0.02)
    np.testing.assert_allclose(at(figure, axes, 0.1, 1), style.GREY, atol=0.02)


def test_failures_and_agreement_show_shares():
    mapped = phases.phase_map(results(*everywhere([[1, 0], [1, -1]], [0.2, 0.1])))
    mesh = plots.maps.failures(mapped).axes[0].collections[0]
    np.testing.assert_allclose(mesh.get_array(), 0.5)
    expected = np.full((2, 3), 3, np.int8)
    expected[0, 0] = 1
    figure = plots.agreement(mapped, {"exact": expected})
    assert "83.33% of cells agree" in figure.axes[0].get_title()
    assert np.asarray(figure.axes[0].collections[0].get_array()).reshape(2, 3).tolist() == [[2, 0, 0], [0, 0, 0]]


@pytest.mark.slow
def test_figures_are_the_same_bytes_every_time(tmp_path):
    dataset = theory_results(11)
    mapped, expected = phases.phase_map(dataset), {"candidate": phases.candidate_phases(dataset)}
    weights = {"candidate": theory.candidate_weights(*phases.cell_inputs(dataset))}
    for name in plots.run_figures(mapped, expected, weights):
        paths = []
        for folder in ("a", "b"):
            paths += plots.save(plots.run_figures(mapped, expected, weights)[name], tmp_path / folder / name)
        assert paths[0].read_bytes() == paths[2].read_bytes()
        assert paths[1].read_bytes() == paths[3].read_bytes()


def test_models_of_a_cell_are_ordered_by_loss():
    dataset = results(*everywhere([[1, 0], [1, -1]], [0.2, 0.1]))
    figure = plots.models(dataset, {"feature_probability": 0.9, "extra_importance": 1.2})
    assert [a.get_title() for a in figure.axes] == ["0.1", "0.2"]
    assert [bar.get_height() for bar in figure.axes[0].patches[:2]] == [1.0, -1.0]


def test_theories_that_apply():
    dataset = theory_results(5)
    assert list(comparison.theory_phases(dataset, None)) == ["candidate"]
    exact = comparison.exact_map(dataset)
    assert list(comparison.theory_phases(dataset, exact)) == ["candidate", "exact"]
    W, loss = everywhere([[1, 0]], [0.1])
    for other in ({"model": {"activation": "gelu"}}, {"data": {"activity": "tied"}}):
        assert list(comparison.theory_phases(results(W, loss, raw=small_spec(**other)), None)) == []
    tied = results(W, loss, raw=small_spec(data={"activity": "tied"}))
    assert list(comparison.theory_phases(tied, comparison.exact_map(tied))) == ["exact"]
    unbiased = results(W, loss, raw=small_spec(model={"family": "tied-no-bias"}))
    assert list(comparison.theory_phases(unbiased, comparison.exact_map(unbiased))) == ["exact"]
    constant = results(W, loss, raw=small_spec(data={"values": "constant"}))
    assert list(comparison.theory_phases(constant, None)) == ["candidate"]
    facts = compare(phases.phase_map(constant), comparison.theory_phases(constant, None))
    text = comparison.report(Run(phases.spec_of(constant), None, constant), facts)
    assert "## Candidate theory" in text
    assert "No exact theory is known for this model.\n" in text
    linear = small_spec(model={"activation": "linear"})
    assert list(comparison.theory_phases(results(W, loss, raw=linear), None)) == ["exact"]
    assert comparison.exact_map(constant) is None


def test_a_map_without_usable_cells_is_reported_as_such():
    dataset = results(*everywhere([[1, 0]], [0.1]), np.ones((2, 3, 1)))
    result = compare(phases.phase_map(dataset), {"exact": np.ones((2, 3), np.int8)})
    assert result["exact"]["agreement"] is None
    assert "No usable cells." in comparison._theory_lines(result, result["exact"])


def test_borders_are_drawn_once():
    x = y = np.arange(6.0)
    phase = np.repeat([[1, 1, 3, 3, 2, 2]], 6, axis=0)
    lines = analysis.boundaries(x, y, phase)
    assert sorted(round(float(line[0, 0]), 6) for line in lines) == [1.5, 3.5]


def test_linear_maps_need_one_probability():
    raw = small_spec(model={"activation": "linear", "features": 3})
    raw["instance"]["importance"] = [1.0, "extra_importance", 0.5]
    raw["instance"]["feature_probability"] = ["feature_probability", 0.5, 0.5]
    assert comparison.theory_phases(results(np.ones((2, 3, 1, 1, 3)), np.full((2, 3, 1), 0.1), raw=raw), None) == {}


def test_theory_is_silent_where_replicas_differ_in_their_inputs():
    raw = small_spec()
    raw["instance"]["importance"] = [1.0, {"select": "replica", "of": [0.1, 10.0]}]
    raw["instance"]["init_scale"] = {"select": "extra_importance", "of": [0.1, 0.2, 0.3]}
    dataset = results(*everywhere([[1, 0], [0, 1]], [0.1, 0.2]), raw=raw)
    assert comparison.exact_map(dataset) is None
    assert comparison.theory_phases(dataset, None) == {}


def test_axes_out_of_order_are_no_map():
    raw = small_spec(axes={"extra_importance": {"values": [1.0, 0.1, 10.0]}})
    mapped = phases.phase_map(results(*everywhere([[1, 0]], [0.1]), raw=raw))
    assert not phases.is_map(mapped)
    assert phases.is_map(phases.phase_map(results(*everywhere([[1, 0]], [0.1]))))
    assert compare(mapped, {"exact": mapped["phase"].to_numpy()})["exact"]["boundary_distance"] is None


def test_no_axis_can_take_the_name_of_a_result():
    dataset = theory_results(3)
    exact = comparison.exact_map(dataset)
    for name in {*dataset.variables, *exact.variables, *phases.phase_map(dataset).variables} - set(dataset.dims):
        if not name.startswith(("instance_", "history_")):
            raw = small_spec(axes={name: {"count": 2}})
            with pytest.raises(SpecError, match=r"is reserved|needs a-z"):
                load_spec(raw)


@pytest.mark.parametrize("values", ["constant", "half-normal"])
def test_linear_phases_weigh_importance_with_the_variance_of_the_values(values):
    """Feature 1 has half the importance and p = 0.5; beyond equal variances the other is kept."""
    raw = small_spec(model={"activation": "linear"}, data={"values": values}, train={"steps": 2, "loss": "exact"})
    raw["axes"] = {"p": {"values": [0.02, 0.2, 0.5, 0.9, 1.0]}}
    raw["instance"] = {"importance": [1.0, 0.5], "feature_probability": ["p", 0.5], "init_scale": 0.8}
    dataset = tmsjax.run_sweep(raw).dataset
    p = np.array([0.02, 0.2, 0.5, 0.9, 1.0])
    law = VALUES[values]
    variance = [q * law.square - q**2 * law.mean**2 for q in (p, 0.5)]
    expected = np.where(variance[0] >= 0.5 * variance[1], 1, 2)
    assert len(set(expected)) == 2
    assert comparison.theory_phases(dataset, None)["exact"].tolist() == expected.tolist()
