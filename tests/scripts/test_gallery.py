"""Statements and tables in docs/gallery.md are correct, and small training runs reproduce them."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, plain_spec, reproduce

from tmsjax import theory
from tmsjax.analysis import features
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec
from tmsjax.theory import pairs

RESULTS = json.loads((ROOT / "docs" / "gallery.json").read_text())
SWEEPS = Path("sweeps")


@pytest.mark.slow
def test_linear_models_are_the_projector_on_the_most_important_features_at_every_probability():
    raw = {
        "name": "linear",
        "model": {"features": 8, "hidden": 3, "activation": "linear"},
        "axes": {"p": {"values": [1.0, 0.1, 0.01]}, "replica": {"count": 3}},
        "instance": {"feature_probability": "p", "importance": {"first": 1.0, "ratio": 0.7}},
        "train": {"steps": 6000, "learning_rate": 1e-2, "schedule": "cosine", "loss": "exact"},
    }
    dataset = run_sweep(raw).dataset
    W = dataset["W"].to_numpy().astype(float)
    np.testing.assert_allclose(
        np.swapaxes(W, -1, -2) @ W, np.broadcast_to(np.diag(np.arange(8) < 3), (3, 3, 8, 8)), atol=2e-3
    )
    expected = theory.variance(dataset["p"].to_numpy()) * (0.7 ** np.arange(3, 8)).sum()
    np.testing.assert_allclose(dataset["loss"], np.broadcast_to(expected[:, None], (3, 3)), rtol=1e-4)


@pytest.mark.slow
def test_dimensions_per_feature_have_plateaus_at_one_and_at_one_half():
    raw = plain_spec(
        40, 8, probability="p", train={"steps": 4000, "batch": 256, "learning_rate": 3e-3, "schedule": "cosine"}
    )
    raw["axes"] = {"p": {"values": [1.0, 0.35]}, "replica": {"count": 2}}
    best = features.best(features.measures(run_sweep(raw).dataset))
    dense, sparse = best["dimensions_per_feature"].to_numpy()
    assert dense == pytest.approx(1, abs=0.02)
    assert sparse == pytest.approx(0.5, abs=0.04)
    kinds = features.component_kinds(best["W"].isel(p=1).to_numpy().astype(float))[1]
    names = [features.COMPONENTS[k] for k in kinds[kinds > 0]]
    assert set(names) == {"digon"}
    assert len(names) >= 14


def test_the_intro_s_sequence_is_the_papers():
    rows = RESULTS["intro"]["rows"]
    found = {round(row["probability"], 2): row["best"] for row in rows}
    assert found[1.0] == "2 dedicated"
    assert found[0.19] == "2 digons"
    assert found[0.1] == found[0.05] == "pentagon"
    order = list(dict.fromkeys(row["best"] for row in rows))
    assert order[0] == "2 dedicated"
    assert order[-2:] == ["2 digons", "pentagon"]


def test_the_geometry_has_its_plateaus_and_polytopes():
    found = RESULTS["geometry"]
    at, inverse = np.array(found["best"]), np.array(found["inverse"])
    assert at[0] == pytest.approx(1, abs=0.01)
    assert (np.abs(at[(inverse > 2.5) & (inverse < 3.6)] - 0.5) < 0.02).all()
    assert (np.diff(at) < 0).all()
    np.testing.assert_allclose(at, 20 / np.array(found["frobenius"]) ** 2, rtol=1e-6)
    first = {
        name: next((x for x, c in zip(inverse, counts, strict=True) if c), np.inf)
        for name, counts in found["kinds"].items()
    }
    assert first["triangle"] < first["digon"] < first["pentagon"] <= first["square antiprism"] < 6
    for counts in zip(*found["kinds"].values(), strict=True):
        assert sum(counts) == 200


@pytest.mark.parametrize("size", ["n20_5", "n80_20"])
def test_the_basic_results_are_those_of_theory_where_it_speaks(size):
    found = RESULTS["basic"][size]
    m = int(size.split("_")[1])
    assert found["dedicated"][0] == m
    assert found["shared"][0] == 0
    assert found["linear"]["gram_error"] < 0.01
    assert abs(found["linear"]["loss_excess"]) < 1e-3
    assert found["shared"][3] > 0
    n, ratio = int(size[1:].split("_")[0]), {20: 0.7, 80: 0.9}[int(size[1:].split("_")[0])]
    linear = theory.variance(1.0) * (ratio ** np.arange(m, n)).sum()
    assert found["loss"][0] == pytest.approx(linear, rel=0.02)  # dense ReLU models do no better


def test_frobenius_norms_are_largest_where_the_important_are_rare():
    found = RESULTS["nonuniform"]["n80_20"]
    mean = dict(zip(found["cases"], np.array(found["frobenius_mean"]), strict=True))
    most = np.array(found["frobenius_max"])
    assert (most >= np.array(found["frobenius_mean"])).all()
    for case in ("important frequent", "random", "uniform"):
        assert (mean["important rare"] > mean[case]).all()
    assert (mean["important frequent"] <= np.min([mean[c] for c in mean], axis=0)).all()


def test_all_five_are_represented_only_where_probabilities_are_equal():
    found = RESULTS["nonuniform"]["n5_2"]
    every = dict(zip(found["cases"], np.array(found["all"]), strict=True))
    assert every["uniform"][-1] > 0.5
    assert all((every[case] <= 0.2).all() for case in every if case != "uniform")
    best = dict(zip(found["cases"], found["best"], strict=True))
    assert best["uniform"][-1] == 5
    assert max(n for case, counts in best.items() if case not in ("uniform", "random") for n in counts) < 5


def test_pairs_are_worth_more_than_a_dense_feature_in_the_band_that_the_text_names():
    p = np.array([0.154, 0.156, 0.644, 0.646])
    pair = np.ones(2), np.ones((4, 2)) * p[:, None]
    saved = [2 * theory.variance(q[0]) - pairs.pair_costs(pair[0], q)[0, 1] for q in pair[1]]
    np.testing.assert_allclose(saved, 2 * p / 3 - 5 * p**2 / 6)
    assert (np.array(saved) > theory.variance(1.0)).tolist() == [False, True, True, False]
    assert theory.variance(1 / 3) == pytest.approx(theory.variance(1.0))


def test_the_densest_is_dropped_when_independent_and_the_sparsest_when_active_together():
    found = RESULTS["rule"]["dropped"]
    independent, together = (np.array(found[name]["share"]) for name in ("nonuniform_5_2", "nonuniform_5_2_tied"))
    assert (independent[:2, 0] < 0.8).all()
    assert (together[:, 0] > 0.95).all()
    assert (together.argmin(1) == 4).all()
    worth = RESULTS["rule"]["worth"]
    assert (np.diff(worth["share"][0]) > 0).all()
    assert [worth[key][0] for key in ("best", "theory")] == [[0, 2, 2, 2, 2]] * 2


def test_the_rule_s_tables_add_up_and_theory_holds_where_the_text_says():
    rule = RESULTS["rule"]
    assert rule["map"]["exact"] > 0.999
    assert 0.9 < rule["map"]["candidate"] < rule["map"]["exact"]
    for found in rule["tests"].values():
        counts = np.array(found["confusion"])
        assert np.trace(counts) / counts.sum() == pytest.approx(found["agreement"])
        assert found["agreement"] > 0.8
        assert found["order"]["I v(p)"] == max(found["order"].values())
    for found in rule["by_probability"].values():
        assert found["agreement"][0] == min(found["agreement"])
        assert found["counts"][0][0] + 0.5 < found["counts"][0][1], "more are represented than pairs allow"


def test_equal_worth_is_equal_and_its_sweep_says_so():
    spec = load_spec(SWEEPS / "equal_worth.toml")
    cost = spec.evaluate("importance") * theory.variance(spec.evaluate("feature_probability"))
    np.testing.assert_allclose(cost, theory.variance(1.0), rtol=1e-6)


@pytest.mark.slow
def test_the_rule_predicts_what_a_small_sweep_learns():
    """Four features in two dimensions, of different importance and probability."""
    raw = plain_spec(4, 2, probability={"geometric": [0.9, 0.1]}, instances=24)
    raw["instance"]["importance"] = [1.0, 0.9, 0.9, 0.3]
    raw["train"] = {"steps": 4000, "batch": 128, "learning_rate": 5e-3, "schedule": "cosine"}
    best = features.best(features.measures(run_sweep(raw).dataset))
    importance, probability = (
        best[f"instance_{name}"].to_numpy().astype(float) for name in ("importance", "feature_probability")
    )
    expected = pairs.best_assignment(importance, probability, 2)
    np.testing.assert_array_equal(best["class"], expected.classes)
    assert set(expected.classes.tolist()) == {pairs.ABSENT, pairs.DEDICATED, pairs.SHARED}


@pytest.mark.slow
def test_the_quick_reproduction_makes_every_section(tmp_path):
    done = reproduce("gallery", str(tmp_path), "--quick")
    assert done.returncode == 0, done.stderr[-2000:]
    made = json.loads((tmp_path / "gallery.json").read_text())
    assert made.keys() == RESULTS.keys() - {"large"}
    for section in made:
        assert made[section].keys() == RESULTS[section].keys(), section
    text = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert "n/a" not in text.split("### 3b")[0] + text.split("## 4.")[1]
    assert made["rule"]["map"]["exact"] > 0.95
    assert made["rule"]["tests"]["rule_5_2"]["agreement"] > 0.75
    assert made["intro"]["rows"][0]["best"] == "2 dedicated"
    assert {path.stem for path in (tmp_path / "figures" / "gallery").glob("*.png")} >= {"dropped", "ratios"}
