"""What docs/atlas.md says of memorization; small versions of its measures against closed forms."""

import json

import numpy as np
import pytest
from atlas import memorization
from conftest import POLYTOPES, ROOT

from tmsjax.engine import training_set
from tmsjax.kinds import measures
from tmsjax.spec import load_spec

RESULTS = json.loads((ROOT / "docs" / "atlas.json").read_text())["memorization"]
LINE = {name: np.array(values, float) for name, values in RESULTS["line"].items()}
FINITE = LINE["samples"] > 0


def mean(name: str) -> np.ndarray:
    return LINE[name].mean(1)[FINITE]


@pytest.mark.parametrize("name", POLYTOPES)
def test_dimensionalities_are_those_of_the_package(name):
    corners, value = POLYTOPES[name]
    np.testing.assert_allclose(memorization.dimensionality(corners), value)
    assert memorization.typical(memorization.dimensionality(corners)) == pytest.approx(value)
    W = np.random.default_rng(0).normal(size=(3, 40))
    np.testing.assert_allclose(memorization.dimensionality(W.T), measures.dimensionality(W), rtol=1e-6)
    with_zeros = np.concatenate([corners, np.zeros((7, corners.shape[1]))])
    assert memorization.typical(memorization.dimensionality(with_zeros)) == pytest.approx(value)


def test_a_polygon_of_samples_is_measured_as_such():
    """Five orthogonal samples on a pentagon: W = sum_k h_k x_k^T reproduces them, and a sixth not."""
    angles = 2 * np.pi * np.arange(5) / 5
    parts = np.array([1.5, 2, 2])
    x = memorization.unit(np.kron(np.eye(6), parts))
    W = np.array([np.cos(angles), np.sin(angles)]) @ x[:5]
    bias = -np.cos(angles[1]) * x[:5].sum(0)  # cancels the interference of neighbours
    W /= np.sqrt(1 - np.cos(angles[1]))
    bias /= 1 - np.cos(angles[1])
    found = memorization.of_model(W, bias, x[:5])
    assert found["train"] == pytest.approx(0, abs=1e-12)
    assert found["reproduced"] == 1
    assert found["sample"] == pytest.approx(2 / 5)
    assert found["feature"] == pytest.approx(2 / 5 * (parts**4).sum() / (parts**2).sum() ** 2)
    assert found["many"] == 15
    more = memorization.of_model(W, bias, x)
    assert more["reproduced"] == pytest.approx(5 / 6)
    assert more["train"] == pytest.approx(1 / 6)


def test_regimes_of_made_up_curves():
    def seeds(*values):
        return [[v, v] for v in values]

    found = {
        "samples": [3, 10, 100, 1000, 0],
        "test": seeds(1.0, 1.1, 5, 0.9, 0.8),
        "train": seeds(0, 0.2, 0.8, 0.85, np.nan),
        "sample": seeds(0.6, 0.2, 0.01, 0.001, np.nan),
        "feature": seeds(0.01, 0.02, 0.05, 0.3, 0.4),
        "reproduced": seeds(1, 0.5, 0, 0, np.nan),
    }
    regimes = memorization.regimes(found)
    assert (regimes["exact_until"], regimes["samples_until"]) == (3, 10)
    assert (regimes["peak_at"], regimes["features_from"]) == (100, 1000)
    assert regimes["fresh"] == 0.8
    assert memorization.last_reproduced(found) == 3


def test_the_set_of_the_text_is_the_set_of_the_sweep():
    spec = load_spec(ROOT / "sweeps" / "memorization.toml", imports=True)
    x = memorization.unit(training_set(spec, samples=5, replica=1).astype(float))
    assert x.shape == (100, 500)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1)
    assert (x > 0).sum(1).mean() == pytest.approx(10, abs=2)


def test_small_sets_are_stored_as_polygons_and_large_ones_as_features():
    small = LINE["samples"][FINITE] <= 5
    np.testing.assert_allclose(mean("sample")[small], 2 / LINE["samples"][FINITE][small], rtol=0.1)
    assert (mean("train")[small] < 0.1).all()
    assert mean("sample")[0] > 10 * mean("feature")[0]
    assert mean("feature")[-1] > 5 * mean("sample")[-1]


def test_the_test_loss_rises_and_falls():
    test, regimes = mean("test"), RESULTS["regimes"]
    peak = int(test.argmax())
    assert LINE["samples"][FINITE][peak] == regimes["peak_at"]
    assert 0 < peak < len(test) - 1
    assert test[peak] > 1.5 * test[0]
    assert test[-1] < 1
    assert regimes["samples_until"] < regimes["features_from"]
    assert regimes["last"] == pytest.approx(regimes["fresh"], rel=0.02)


def test_the_map_peaks_along_both_axes():
    test, sizes, widths = np.array(RESULTS["test"]), RESULTS["sizes"], RESULTS["widths"]
    along_T = {widths[i]: sizes[j] for i, j in RESULTS["peaks"]["along T"]}
    along_m = {sizes[j]: widths[i] for i, j in RESULTS["peaks"]["along m"]}
    assert along_T[2] == along_T[4] == 200
    assert along_m[400] < along_m[1000]
    assert 32 not in along_T, "no peak at all"
    assert (np.diff(test[widths.index(32)]) < 0).all()
    assert (np.diff(RESULTS["reproduced"]) > 0).all()
    assert memorization.inner_peaks(np.array([[1, 3, 2], [3, 2, 1], [0, 1, 2]])) == [(0, 1)]


def test_at_a_larger_rate_the_training_loss_is_lower_and_the_test_loss_higher():
    rates = RESULTS["rates"]
    at = rates["sizes"].index(400)
    low, high = rates["by_rate"]["0.001"], rates["by_rate"]["0.02"]
    assert high["train"][at] < low["train"][at] - 0.005
    assert high["test"][at] > 3 > 1 > low["test"][at]
