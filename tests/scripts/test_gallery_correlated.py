"""Statements of docs/gallery.md on correlated and anticorrelated features follow from its numbers."""

import json

import numpy as np
import pytest
from conftest import ROOT

FOUND = json.loads((ROOT / "docs" / "gallery.json").read_text())["correlated"]
SPARSE = slice(2, None)  # p = 0.05 and below


def test_members_of_sets_that_are_active_together_are_orthogonal_when_sparse_and_collapsed_when_dense():
    found = FOUND["correlated_4_2"]
    assert found["probability"] == [0.3, 0.1, 0.05, 0.02, 0.01]
    assert found["best"] == [["collapsed"] * 2, *[["orthogonal"] * 2] * 4]
    assert (np.array(found["seeds"]["orthogonal"][1:]) > 0.8).all()
    assert found["loss"][0] < min(v[0] for k, v in found["lowest"].items() if v[0] is not None and k != "collapsed")


def test_without_room_they_lie_side_by_side():
    found = FOUND["correlated_6_2"]
    assert found["best"][SPARSE] == [["side by side"] * 3] * 3
    assert (np.array(found["best_cosine"][SPARSE]) < 0.5).all(), "wider than the sides of a regular hexagon"
    assert found["pairs"]["side by side"][-1] > 0.7
    assert all("collapsed" in kinds for kinds in found["best"][:2])


def test_members_that_are_never_together_are_antipodal_and_the_local_minimum_has_the_loss_in_the_text():
    found = FOUND["anticorrelated_4_2"]
    assert found["best"] == [["antipodal"] * 2] * 5
    assert max(found["loss"]) < 1e-12
    sparse = np.array(found["probability"])
    np.testing.assert_allclose(found["lowest"]["orthogonal"][1:], sparse[1:] ** 2 / 6, rtol=5e-3)
    both = np.array(found["seeds"]["antipodal"]) + found["seeds"]["orthogonal"]
    assert (both > 0.95).all()
    other = FOUND["anticorrelated_6_2"]
    assert [set(kinds) == {"antipodal"} for kinds in other["best"]] == [False] * 4 + [True]
    assert other["best"][0].count("absent") == 1
    assert 0 < FOUND["antipodal_excess"] < 0.02


def test_sets_of_ten_are_local_bases():
    found = FOUND["local_bases_20_10"]
    assert found["seeds"]["orthogonal"][SPARSE] == [1, 1, 1]
    assert (np.array(found["best_across"]) > 2 * np.array(found["best_within"])).all(), "superposition between sets"


@pytest.mark.parametrize("name", [k for k, v in FOUND.items() if isinstance(v, dict) and "pairs" in v])
def test_shares_of_pairs_add_up_to_one(name):
    np.testing.assert_allclose(sum(np.array(v) for v in FOUND[name]["pairs"].values()), 1)
    assert FOUND[name]["diverged"] == 0
