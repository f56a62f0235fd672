"""Measures, the best model of a cell, the common frame of a plane, and kinds of components, on handmade models."""

import numpy as np
import pytest
import xarray as xr
from conftest import plain_spec
from scipy.stats import ortho_group

from tmsjax.analysis import features
from tmsjax.errors import RunError
from tmsjax.runs import Run
from tmsjax.spec import load_spec, to_toml

PENTAGON = np.stack([np.cos(2 * np.pi * np.arange(5) / 5), np.sin(2 * np.pi * np.arange(5) / 5)])
PAIRS = np.array([[1.0, -1.0, 0, 0, 0], [0, 0, 1.0, -1.0, 0]])
TWO = np.array([[1.0, 0, 0, 0, 0], [0, 0.5, 0, 0, 0]])


def results(W: list[np.ndarray], loss: list[float], status: list[int]) -> xr.Dataset:
    """A run's dataset of replicas with these weights."""
    spec = load_spec(plain_spec(5, 2, instances=len(W)))
    return xr.Dataset(
        {
            "W": (("replica", "hidden", "feature"), np.array(W, np.float32)),
            "loss": (("replica",), np.array(loss)),
            "status": (("replica",), np.array(status, np.int8)),
            "instance_importance": (("replica", "feature"), np.ones((len(W), 5))),
            "instance_feature_probability": (("replica", "feature"), np.full((len(W), 5), 0.3)),
            "history_loss": (("replica", "step"), np.zeros((len(W), 1))),
        },
        {"replica": np.arange(len(W)), "step": [30]},
        {"spec": to_toml(spec), "directions": 1},
    )


def test_measures_of_known_models():
    measured = features.measures(results([PENTAGON, PAIRS, TWO], [3.0, 2.0, 1.0], [0, 0, 0]))
    np.testing.assert_array_equal(measured["represented"], [5, 4, 2])
    np.testing.assert_array_equal(measured["class"], [[2] * 5, [2, 2, 2, 2, 0], [1, 1, 0, 0, 0]])
    np.testing.assert_allclose(measured["frobenius"], [np.sqrt(5), 2, np.sqrt(1.25)], rtol=1e-6)
    np.testing.assert_allclose(measured["dimensions_per_feature"], [2 / 5, 2 / 4, 2 / 1.25], rtol=1e-6)
    np.testing.assert_allclose(measured["dimensionality"][0], 0.4, rtol=1e-6)
    np.testing.assert_allclose(measured["superposition"][1], [1, 1, 1, 1, 0], atol=1e-6)
    assert not [name for name in measured if str(name).startswith("history")]


def test_diverged_models_have_no_measures_and_are_never_the_best():
    measured = features.measures(results([PENTAGON, PAIRS, TWO], [0.0, 2.0, 3.0], [1, 0, 0]))
    assert np.isnan(measured["norm"][0]).all()
    assert np.isnan(measured["represented"][0])
    assert (measured["class"][0] == -1).all()
    best = features.best(measured)
    assert best["represented"] == 4
    assert "replica" not in best.dims


def test_the_best_of_a_run_are_those_of_its_dataset():
    dataset = results([PENTAGON, PAIRS, TWO], [3.0, 1.0, 2.0], [0, 0, 0])
    run = Run(load_spec(plain_spec(5, 2, instances=3)), None, dataset)
    assert features.best(run).identical(features.best(dataset))
    np.testing.assert_allclose(features.best(run)["W"], PAIRS)


def test_losses_of_different_problems_are_not_compared():
    dataset = results([PENTAGON, PAIRS, TWO], [3.0, 2.0, 1.0], [1, 0, 0])
    assert features.best(features.measures(dataset))["represented"] == 2
    dataset["instance_feature_probability"][2, 0] = 0.2
    assert features.best(features.measures(dataset))["represented"] == 4, "the first that did not diverge"


def test_models_without_directions_are_refused():
    dataset = results([PAIRS], [1.0], [0])
    dataset.attrs["directions"] = 0
    with pytest.raises(RunError, match="no directions"):
        features.measures(dataset)


@pytest.mark.parametrize("W", [PENTAGON, PAIRS, TWO], ids=["pentagon", "pairs", "two"])
def test_the_frame_of_the_plane_undoes_rotation_and_mirror(W):
    once = features.in_one_frame(W)
    np.testing.assert_allclose(once.T @ once, W.T @ W, atol=1e-12)
    for seed in range(5):
        turned = ortho_group.rvs(2, random_state=seed) @ W
        np.testing.assert_allclose(features.in_one_frame(turned), once, atol=1e-12)
    assert once[0, 0] == pytest.approx(1)
    assert once[1, 0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(features.in_one_frame(np.stack([W, -W])), np.stack([once, once]), atol=1e-12)


def test_features_are_told_by_the_kind_of_their_component():
    named = [[features.COMPONENTS[k] for k in features.component_kinds(W)[1]] for W in (PAIRS, PENTAGON, TWO)]
    rest = "not represented"
    assert named == [["digon"] * 4 + [rest], ["pentagon"] * 5, ["dedicated"] * 2 + [rest] * 3]
    assert [part.tolist() for part in features.component_kinds(PAIRS)[0]] == [[0, 1], [2, 3]]
