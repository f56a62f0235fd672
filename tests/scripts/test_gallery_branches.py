"""What docs/gallery.md says of perturbed features, PCA collapse and attacks; small versions of each."""

import json

import numpy as np
import pytest
from conftest import ROOT, plain_spec

from tmsjax import theory
from tmsjax.analysis import attacks
from tmsjax.runs import run_sweep

RESULTS = json.loads((ROOT / "docs" / "gallery.json").read_text())


def test_the_pentagon_snaps_where_trained_models_change():
    found = RESULTS["perturb"]
    p, best = np.array(found["trained"]["at"]), np.array(found["trained"]["best"])
    assert p[best == "2 digons"].max() < found["snap"] < p[best == "pentagon"].min()
    assert found["pentagon_end"] < found["snap"]
    assert not found["digons_end"]
    assert found["norm_at_end"] > 0.5
    assert found["pentagon"]["gradient"] < 1e-5


def test_best_trained_models_are_near_the_lower_branch():
    found = RESULTS["perturb"]
    branches = [(np.array(found[name]["at"]), np.array(found[name]["loss"])) for name in ("pentagon", "digons")]
    for p, loss in zip(found["trained"]["at"], found["trained"]["loss"], strict=True):
        lower = min(np.exp(np.interp(np.log(p), np.log(at), np.log(values), left=np.inf)) for at, values in branches)
        assert lower * 0.999 < loss < lower * 1.005


def test_seeds_are_on_one_of_the_two_branches_where_the_first_feature_is_rare():
    found = {name: np.array(values) for name, values in RESULTS["perturb"]["trained"].items() if name != "best"}
    rare = found["at"] < 0.012
    np.testing.assert_allclose((found["pentagon"] + found["digons"])[rare], 1, atol=0.05)
    np.testing.assert_allclose(found["first"][rare], found["pentagon"][rare], atol=0.02)
    assert (found["pentagon"][found["at"] < RESULTS["perturb"]["pentagon_end"]] == 0).all()
    assert (found["digons"][(found["at"] > 0.04)] == 0).all()


def test_the_snap_is_the_crossing_of_two_minima():
    def cell(first: float):
        return np.ones(5), np.array([first, 0.05, 0.05, 0.05, 0.05])

    angle = 2 * np.pi * np.arange(5) / 5
    pentagon = 1.1 * np.stack([np.cos(angle), np.sin(angle)]), np.full(5, -0.2)
    digons = np.array([[0, 1, -1, 0, 0], [0, 0, 0, 1, -1.0]]), np.zeros(5)
    snap = theory.crossing(pentagon, digons, cell, 0.01, 0.02)
    assert snap == pytest.approx(RESULTS["perturb"]["snap"], rel=1e-3)
    for model in (pentagon, digons):
        importance, p = cell(snap)
        branch = theory.follow(*model, importance[None], p[None])
        assert branch.loss[0] == pytest.approx(RESULTS["perturb"]["losses_at_snap"], rel=1e-3)


def test_pairs_collapse_one_after_the_other():
    found = RESULTS["collapse"]
    steps = [(one["before"], one["after"]) for one in found["transitions"]]
    assert steps[:2] == [("0 collapsed", "1 collapsed"), ("1 collapsed", "2 collapsed")]
    assert steps[-1][1] == "principal components"
    p = [one["p"] for one in found["transitions"]]
    assert p == sorted(p)
    trained = np.array(found["trained"]["branch"])
    assert (np.diff(trained) >= 0).all()
    assert {0, 1, 2, 4} <= set(trained.tolist())
    assert found["map"]["agreement"] > 0.8


def test_a_transition_is_where_the_losses_of_two_branches_are_equal():
    """Of the stored losses, interpolated, without solving again."""
    found = RESULTS["collapse"]
    p, losses = np.log(found["p"]), np.array(found["losses"], float)
    first = found["transitions"][0]
    zero, one = (np.interp(np.log(first["p"]), p, losses[k]) for k in (0, 1))
    assert zero == pytest.approx(one, rel=2e-3)
    assert zero == pytest.approx(first["loss"], rel=5e-3)


@pytest.mark.slow
def test_branches_of_a_dense_and_a_sparse_cell():
    sparse = theory.minima([1] * 6, [0.04] * 6, 2, starts=8, activity="groups", size=2)
    dense = theory.minima([1] * 6, [0.25] * 6, 2, starts=8, activity="groups", size=2)

    def within_pairs(W):
        unit = W / np.linalg.norm(W, axis=0)
        return (unit.T @ unit)[[0, 2, 4], [1, 3, 5]]

    assert (within_pairs(sparse.W[0]) < 0.6).all()
    assert (within_pairs(dense.W[0]) > 0.98).sum() == 2


def test_vulnerability_follows_features_per_dimension():
    found = RESULTS["adversarial"]["geometry"]
    assert found["correlation"] > 0.9
    assert found["rise"] > 3
    assert np.array(found["analytic"])[0] == pytest.approx(1, abs=0.2)
    assert (np.array(found["ratio"]) >= 1).all()


def test_the_budget_that_removes_superposition_exists():
    found = RESULTS["adversarial"]["training"]
    assert all(row[0] >= 4 for row in found["shared"])
    assert found["least"] == sorted(found["least"]), "sparser features need a larger budget"
    assert 0 < found["least"][0] < found["least"][-1]


@pytest.mark.slow
def test_a_model_trained_against_attacks_is_less_vulnerable():
    raw = plain_spec(5, 2, probability=0.05, instances=6)
    raw["axes"] = {"budget": {"values": [0.0, 1.0]}, "replica": {"count": 6}}
    raw["train"] = {"steps": 1500, "batch": 128, "learning_rate": 1e-2, "schedule": "cosine", "attack": "budget"}
    dataset = run_sweep(raw).dataset.transpose("budget", "replica", ...)
    rng = np.random.default_rng(0)
    x = (rng.random((2000, 5)) < 0.05) * rng.random((2000, 5))
    harm, radius = np.zeros((2, 6)), np.sqrt(5 * 0.05 / 3)
    for k, replica in np.ndindex(2, 6):
        W, b = (dataset[name][k, replica].to_numpy().astype(float) for name in ("W", "b"))
        harm[k, replica] = attacks.losses(W, b, x, np.ones(5), attacks.analytic(W, b, x, np.ones(5), radius)).mean()
    assert np.median(harm[1]) < 0.5 * np.median(harm[0])
