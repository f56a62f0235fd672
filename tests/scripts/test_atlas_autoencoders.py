"""What docs/atlas.md says of sparse autoencoders; its measures on dictionaries whose match is known."""

import json

import numpy as np
import pytest
from atlas import autoencoders
from conftest import ROOT

from tmsjax.spec import load_spec

RESULTS = json.loads((ROOT / "docs" / "atlas.json").read_text())["autoencoders"]
RELU, TOP = ({k: np.array(v) for k, v in RESULTS[kind].items()} for kind in ("relu", "top_k"))


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


def test_the_numbers_are_of_the_sweeps_in_the_repository():
    for name, found in (("autoencoders", RELU), ("autoencoders_top_k", TOP)):
        spec = load_spec(ROOT / "sweeps" / f"{name}.toml")
        swept = "l1" if name == "autoencoders" else "active"
        np.testing.assert_allclose(found["swept"], spec.axis[swept].values)
        np.testing.assert_allclose(found["latents"], spec.axis["latents"].values)
        np.testing.assert_allclose(found["p"], load_spec(ROOT / "sweeps" / "autoencoders_toy.toml").axes[0].values)
        assert RESULTS["runs"][name]["models"] == spec.instances
        assert found["diverged"] == 0


def test_the_known_features_are_found_at_every_probability_if_l1_is_large_enough():
    best = np.array(RESULTS["best"]["relu"]["mmcs"])
    assert (best[:, -1] > 0.98).all()
    assert (best[:, -2] > 0.98).all()
    assert (best[:, -1] > np.array(RESULTS["random"]["128"]) + 0.35).all()
    assert (RELU["mmcs"][:, 0, -1] < np.array(RESULTS["random"]["128"]) + 0.12).all(), (
        "the least coefficient is too small"
    )
    assert (np.diff(RESULTS["edge"]) <= 0).all(), "the rarer, the smaller a coefficient suffices"


def test_too_few_latents_cannot_match_every_feature():
    best = np.array(RESULTS["best"]["relu"]["mmcs"])
    assert (best[:, 0] < 0.6).all()
    assert (best[:, 1] < 0.85).all()


def test_few_latents_recover_one_feature_each_at_a_large_coefficient_and_mmcs_prefers_another():
    k = list(RELU["p"]).index(0.02)
    np.testing.assert_allclose(RELU["recovered"][k, -1, :2], [16 / 64, 32 / 64], atol=0.02)
    assert (RELU["mmcs"][k, 4, :2] > RELU["mmcs"][k, -1, :2] + 0.05).all()
    assert (RELU["recovered"][k, 4, :2] < 0.1).all()


def test_surplus_latents_die_where_features_are_rare():
    p = list(RELU["p"])
    for rare in (0.05, 0.02, 0.01):
        pick = {name: RESULTS["best"]["relu"][name][p.index(rare)][-1] for name in ("dead", "copies")}
        assert 0.3 < pick["dead"] < 0.5
        assert 0.4 < pick["dead"] + pick["copies"] < 0.6, "half of the latents are surplus"


def test_top_k_needs_a_k_near_the_number_of_active_features():
    p = list(TOP["p"])
    best = np.array(RESULTS["best"]["top_k"]["mmcs"])
    for rare in (0.1, 0.05, 0.02):
        assert best[p.index(rare), -1] > 0.99
    assert best[p.index(0.2)].max() < 0.96, "no k up to 8 is large enough"
    assert (TOP["mmcs"][1:, -1, 0] < TOP["mmcs"][1:, 1, 0] - 0.1).all(), "k = 8 is too large"


def test_learned_features_are_further_apart_than_random_ones():
    assert max(RESULTS["toy"]["interference"]) < RESULTS["random_interference"]["ours"] - 0.2
