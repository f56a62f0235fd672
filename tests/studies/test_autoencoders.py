"""Sparse autoencoders: its measures on dictionaries whose match is known."""

import numpy as np
import pytest
from studies.autoencoders import study as autoencoders


def test_a_dictionary_of_the_features_matches_them_whatever_its_order_and_scale():
    W = np.random.default_rng(0).normal(size=(4, 7))
    D = (W * np.arange(1, 8))[:, ::-1]
    assert autoencoders.match(D, W) == pytest.approx({"mmcs": 1, "recovered": 1, "copies": 0})
    twice = autoencoders.match(np.concatenate([D, D], 1), W)
    assert twice == pytest.approx({"mmcs": 1, "recovered": 1, "copies": 1 / 2})
    assert autoencoders.match(-np.eye(3), np.eye(3))["mmcs"] == 0, "a direction has a sign"
    assert autoencoders.match(D[:, :0], W)["mmcs"] == 0


def test_mmcs_is_the_mean_over_features_of_the_largest_cosine():
    angle = np.radians([0, 90, 180])
    W = np.array([np.cos(angle), np.sin(angle)])
    D = np.array([[np.cos(np.radians(30))], [np.sin(np.radians(30))]])
    expected = np.cos(np.radians([30, 60, 150])).mean()
    assert autoencoders.match(D, W)["mmcs"] == pytest.approx(expected)


def test_random_directions_in_the_plane_match_as_computed():
    """The largest of k cosines of independent uniform angles: k = 1 has mean 0, k = 2 has mean 4 / pi^2."""
    W = np.random.default_rng(0).normal(size=(2, 400))
    assert autoencoders.random_mmcs(W, 1) == pytest.approx(0, abs=0.2)
    assert autoencoders.random_mmcs(W, 2) == pytest.approx(4 / np.pi**2, abs=0.1)


def test_interference_of_orthogonal_and_antipodal_features():
    W = np.array([np.eye(3)[:, [0, 0, 1, 1]] * [1, -1, 1, -1]])
    found = autoencoders.of_toy(W, np.ones((1, 4), bool))
    assert found["represented"] == [4]
    assert found["interference"][0] == pytest.approx(0)


def test_codes_keep_the_largest():
    h, E = np.array([[1.0, 2.0, -1.0]]), np.eye(3)
    np.testing.assert_allclose(autoencoders.codes(h, E, np.zeros(3), None), [[1, 2, 0]])
    np.testing.assert_allclose(autoencoders.codes(h, E, np.zeros(3), 1), [[0, 2, 0]])


def test_the_best_of_each_size_is_that_of_highest_mmcs():
    mmcs = np.array([[[0.1, 0.9], [0.5, 0.2]]])
    found = {name: mmcs for name in autoencoders.MEASURED} | {"swept": np.array([1.0, 2.0])}
    assert autoencoders.best(found)["swept"].tolist() == [[2.0, 1.0]]
    assert autoencoders.best(found)["mmcs"].tolist() == [[0.5, 0.9]]
