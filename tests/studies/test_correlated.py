"""Cosines and relations within sets, on planted weights and in small trainings."""

import numpy as np
import pytest
import xarray as xr
from conftest import plain_spec
from studies.correlated import sets

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.runs import run_sweep


def plane(*degrees: float) -> np.ndarray:
    """Unit columns (2, n) at these angles."""
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)])


def results(W: np.ndarray, status: np.ndarray) -> xr.Dataset:
    """A run's results with these weights (replica, m, n) and losses 0, 1, ..."""
    values = {"W": (("replica", "hidden", "feature"), W), "status": ("replica", status)}
    return xr.Dataset(values | {"loss": ("replica", np.arange(len(W)) * 1.0)}, attrs={"directions": 1})


def test_pairs_are_those_within_and_across_sets():
    within, across = sets.pairs(6, 3)
    assert within.T.tolist() == [[0, 1], [0, 2], [1, 2], [3, 4], [3, 5], [4, 5]]
    assert across.T.tolist() == [[i, j] for i in range(3) for j in range(3, 6)]


def test_relations_are_those_of_planted_pairs():
    angles = [(0, 90), (0, 2), (0, 180), (0, 60), (0, 120), (0, -86)]
    W = np.concatenate([plane(*pair) for pair in angles], axis=1)
    expected = ["orthogonal", "collapsed", "antipodal", "side by side", "obtuse", "orthogonal"]
    assert [sets.RELATIONS[k] for k in sets.relations(W, 2)] == expected
    W[:, 0] *= 0.2
    assert [sets.RELATIONS[k] for k in sets.relations(np.stack([W, 2 * W]), 2)[0]] == ["absent", *expected[1:]]
    assert (sets.relations(W, 2, near=0.51) != sets.relations(W, 2)).tolist() == [False] * 3 + [True] * 2 + [False]


def test_cosines_within_and_across_leave_out_what_is_not_there():
    W = np.stack([plane(0, 90, 180, 240), plane(0, 60, 120, 180)])
    W[0, :, 3] *= 0.1
    measured = sets.of_sets(results(W, np.array([0, 1])), 2)
    np.testing.assert_allclose(measured["cosine_within"], [[0, np.nan], [np.nan, np.nan]], atol=1e-12)
    np.testing.assert_allclose(measured["cosine_across"][0], [-1, np.nan, 0, np.nan], atol=1e-12)
    assert measured["relation"].to_numpy().tolist() == [[sets.RELATIONS.index("orthogonal"), 0], [-1, -1]]


def test_sizes_that_do_not_divide_and_models_without_directions_are_refused():
    planted = results(plane(0, 90, 180, 240)[None], np.zeros(1, int))
    with pytest.raises(RunError, match="sets of 3 features do not divide 4"):
        sets.of_sets(planted, 3)
    with pytest.raises(RunError, match="no directions"):
        sets.of_sets(planted.assign_attrs(directions=0), 2)


@pytest.fixture(scope="module")
def trained():
    """The best of 20 small models with two sets of two, by activity."""
    out = {}
    for activity in ("groups", "exclusive"):
        raw = plain_spec(4, 2, probability=0.1, instances=20, data={"activity": activity, "size": 2})
        raw["train"] = {"steps": 2000, "batch": 128, "learning_rate": 1e-2, "schedule": "cosine"}
        out[activity] = run_sweep(raw)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("activity", "relation"), [("groups", "orthogonal"), ("exclusive", "antipodal")])
def test_the_best_small_model_has_its_sets_as_the_paper_says(trained, activity, relation):
    best = analysis.best(sets.of_sets(trained[activity].dataset, 2))
    assert [sets.RELATIONS[k] for k in best["relation"].to_numpy()] == [relation] * 2
