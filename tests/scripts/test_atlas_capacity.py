"""What docs/atlas.md says of capacity; small versions of its checks."""

import json

import numpy as np
import pytest
from atlas import capacity
from conftest import ROOT

from tmsjax import theory
from tmsjax.kinds import measures

RESULTS = json.loads((ROOT / "docs" / "atlas.json").read_text())["capacity"]
TRAINED = {name: {key: np.array(value) for key, value in found.items()} for name, found in RESULTS["trained"].items()}


def test_capacities_add_up_to_at_most_the_number_of_dimensions():
    assert RESULTS["largest_sum"] <= RESULTS["hidden"] + 1e-9
    for found in TRAINED.values():
        assert (found["sum"] <= found["largest_sum"] + 1e-9).all()
        np.testing.assert_allclose(found["capacity"].sum(-1), found["sum"])


def test_sums_of_any_weights_are_bounded_by_the_rank_and_reach_it_for_eigenvectors():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(200, 3, 7)) * rng.exponential(size=(200, 1, 7))
    sums = measures.dimensionality(W).sum(-1)
    leverage = np.einsum("kmi,kmn,kni->ki", W, np.linalg.inv(W @ W.transpose(0, 2, 1)), W)
    assert (measures.dimensionality(W) <= leverage + 1e-9).all()
    assert (sums < 3).all()
    angles = 2 * np.pi * np.arange(5) / 5
    pentagon = np.array([np.cos(angles), np.sin(angles)])
    assert measures.dimensionality(pentagon).sum() == pytest.approx(2)


def test_the_more_important_features_get_the_larger_capacities():
    steps = [(np.diff(capacity.groups(found["capacity"])) > 0).sum() for found in TRAINED.values()]
    assert sum(steps) == RESULTS["out_of_order"] <= 4
    for found in TRAINED.values():
        assert all(np.corrcoef(C, np.log(RESULTS["importance"]))[0, 1] > 0.7 for C in found["capacity"])


def test_the_sparser_the_more_features_are_represented_partly():
    for found in TRAINED.values():
        assert found["partial"][-1] > 12
        assert found["partial"][0] <= 6
        assert (np.diff(found["partial"]) >= -2).all()
        assert (found["full"][-3:] == 0).all()
    quadratic = RESULTS["quadratic"]
    assert (np.diff(quadratic["partial"]) >= 0).all()


def test_pairs_take_half_a_dimension_each_whatever_their_importance():
    p, C = TRAINED["uniform"]["p"], TRAINED["uniform"]["capacity"]
    at = np.abs(np.log(p / 0.1)).argmin()
    shared = C[at][(C[at] > capacity.IGNORED) & (C[at] < capacity.FULL)]
    quadratic = np.array(RESULTS["quadratic"]["capacity"])[at]
    assert np.ptp(shared) < 0.15
    assert np.ptp(quadratic[quadratic > capacity.IGNORED]) > 0.3


def test_descents_confirm_the_closed_form_and_equal_marginal_benefit():
    found = RESULTS["quadratic"]
    assert found["gap"] < 1e-8
    assert found["difference"] < 1e-3
    assert found["spread"] < 1e-3
    assert found["gradient"] < 1e-4


def test_benefits_are_equal_in_pairs_and_differ_between_them():
    digons = [one for one in RESULTS["benefit"] if one["arrangement"].endswith("digons")]
    assert {(one["hidden"], one["p"]) for one in digons} >= {(2, 0.3), (3, 0.3), (3, 0.1)}
    for one in digons:
        part = np.array(one["benefit"])[np.array(one["capacity"]) > capacity.IGNORED]
        pairs = np.sort(part).reshape(-1, 2)
        np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], rtol=0.01)
        assert one["ratio"] > 1.1
        assert one["least_explained"] > 0.99
    (pentagon,) = [one for one in RESULTS["benefit"] if one["arrangement"] == "pentagon"]
    assert pentagon["ratio"] > 1.2
    assert pentagon["least_explained"] > capacity.EXPLAINED
    for one in RESULTS["benefit"]:
        assert one["gradient"] < 1e-6
        assert one["balance"] < 1e-3


def test_a_pair_of_pairs_has_unequal_benefits(monkeypatch):
    """Independent of the section: two digons, each in one dimension, with a smaller step."""
    I, p = np.array([1, 0.85, 0.7, 0.5]), np.full(4, 0.2)  # noqa: E741
    W = np.array([[1.0, 0, 0, -1], [0, 1, -1, 0]])
    start = theory.follow(W, np.zeros(4), I[None], p[None])
    monkeypatch.setattr(capacity, "STEP", 0.003)
    changes = np.array([capacity.response(start.W[0], start.b[0], I, p, k) for k in range(4)])
    C, loss = changes[:, 0], changes[:, 1] * I
    np.testing.assert_allclose(C[:, [0, 1]], -C[:, [3, 2]], atol=1e-6)
    benefit = -(C * loss).sum(0) / (C**2).sum(0)
    assert benefit[0] == pytest.approx(benefit[3], rel=0.02)
    assert benefit[1] == pytest.approx(benefit[2], rel=0.02)
    assert benefit[0] > 1.05 * benefit[1]


def test_two_features_share_in_the_quadratic_model_beyond_the_border():
    two = RESULTS["two"]
    assert two["border"] == pytest.approx(0.6)
    assert two["highest"][1] < two["border"] < two["highest"][0]
    p, r = np.array(two["p"]), np.array(two["importance"])
    kurtosis = 9 / (5 * p)
    border = np.where(kurtosis > 1, 2 / (kurtosis - 1), np.inf)[:, None]
    inside = np.sqrt(np.minimum(r, 1 / r)) > border * 1.0001
    C = np.array(two["quadratic"])
    np.testing.assert_array_equal((C > 1e-9) & (C < 1 - 1e-9), inside)
    assert capacity.extra(0.24, 5.0) == 0 < capacity.extra(0.26, 5.0), "the target is the root of the importance"
    assert capacity.extra(0.5, 10.0) == pytest.approx(1 - capacity.extra(2.0, 10.0))


def test_one_cell_of_the_exact_map_is_a_minimum_of_a_grid():
    two = RESULTS["two"]
    k, j = 20, 12
    found = theory.exact_optimum([[1, two["importance"][j]]], [[two["p"][k]] * 2], random_starts=8)
    assert measures.dimensionality(found.W)[0, 1] == pytest.approx(two["relu"][k][j], abs=1e-4)


def test_kurtosis_explains_the_number_of_sharing_features_no_better_than_probability():
    for found in RESULTS["apart"].values():
        assert found["kurtosis"] > found["probability"]
    assert capacity.apart(TRAINED["constant"], TRAINED["uniform"]) == pytest.approx(RESULTS["apart"]["constant"])
