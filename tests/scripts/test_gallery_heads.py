"""What docs/gallery.md says about attention heads holds in its numbers and in theory."""

import json

import numpy as np
import pytest
from conftest import ROOT
from gallery import heads

from tmsjax import theory

RESULTS = json.loads((ROOT / "docs" / "gallery.json").read_text())["heads"]


def test_closed_forms_agree_with_simulation_and_training_with_closed_forms():
    assert RESULTS["check"]["errors"] < 4
    two = RESULTS["two"]
    assert two["agreement"] > 0.98
    assert two["loss_least"] > 1 - 1e-6, "a trained head beats the optimum"
    assert two["cross_negative"] == 1
    assert two["shared"] < two["shared_neuron"]
    assert two["bias"]["agreement"] > 0.98


def test_superposition_begins_where_the_text_says_and_not_above():
    p = np.array([RESULTS["equal"]["highest"] - 0.005, RESULTS["equal"]["highest"] + 0.005])
    cross = theory.rank_one_optimum(np.ones((2, 2)), p).matrix[:, 0, 1]
    assert cross[0] < 0 < cross[1]
    assert RESULTS["equal"]["small"][0] == pytest.approx(1 / 3, abs=0.01)
    assert RESULTS["equal"]["large"][0] == pytest.approx(3, abs=0.05)


def test_counts_of_relations_are_those_of_the_text():
    rank = {int(d): found for d, found in RESULTS["rank"].items()}
    for d, found in rank.items():
        stored, p = np.array(found["stored"]), np.array(found["probability"])
        assert max(found["linear"]) <= d
        assert stored[-1] > d
        first = {1: 0.031, 2: 0.11, 3: 0.18, 4: 0.18}[d]
        assert p[stored > d].max() == pytest.approx(first, rel=0.05)
        np.testing.assert_allclose(np.array(found["loss_over_linear"])[:3], 1, atol=0.02)
    assert rank[1]["stored"][-1] == 2
    assert rank[3]["stored"][-1] > 6
    assert rank[1]["loss_over_linear"][4] > 1.03, "the local minimum that the text names"
    assert rank[2]["cross"][-1]["positive"] > 0
    sparse = [v for d in rank for v, p in zip(rank[d]["singular"], rank[d]["probability"], strict=True) if p < 0.13]
    assert min(sparse) > RESULTS["random"]["1"][0]


def test_outputs_are_superposed_where_relations_are_not():
    found = RESULTS["output"]["3"]
    assert found["outputs"][4] == 6
    assert found["relations"][4] <= 3
    assert found["negative"]["OV"][3:6] == [8, 8, 8]
    assert max(found["negative"]["QK"][3:6]) <= 2


@pytest.mark.parametrize("k", [5, 12])
def test_the_circle_has_rank_three_and_stores_every_relation_without_a_positive_cross_term(k):
    r = 0.9 ** (np.arange(k) / 2)
    M = heads.circle(r)
    assert np.linalg.matrix_rank(M) == 3
    np.testing.assert_allclose(np.diag(M), r)
    assert M[~np.eye(k, dtype=bool)].max() < 1e-12
    [(sparse, error)] = heads.simulated([M], r, 0.03, True, seed=0)
    assert sparse + 3 * error < 0.6 * theory.target_square(r, 0.03)
    assert RESULTS["circle"]["rank"] == 3
