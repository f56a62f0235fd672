"""Memorization: small versions of its measures against closed forms."""

import numpy as np
import pytest
from conftest import POLYTOPES, ROOT
from studies.memorization import measures as ours
from studies.memorization import study as memorization

from tmsjax.engine import training_set
from tmsjax.kinds import measures
from tmsjax.spec import load_spec


@pytest.mark.parametrize("name", POLYTOPES)
def test_dimensionalities_are_those_of_the_package(name):
    corners, value = POLYTOPES[name]
    np.testing.assert_allclose(ours.dimensionality(corners), value)
    assert ours.typical(ours.dimensionality(corners)) == pytest.approx(value)
    W = np.random.default_rng(0).normal(size=(3, 40))
    np.testing.assert_allclose(ours.dimensionality(W.T), measures.dimensionality(W), rtol=1e-6)
    with_zeros = np.concatenate([corners, np.zeros((7, corners.shape[1]))])
    assert ours.typical(ours.dimensionality(with_zeros)) == pytest.approx(value)


def test_a_polygon_of_samples_is_measured_as_such():
    """Five orthogonal samples on a pentagon: W = sum_k h_k x_k^T reproduces them, and a sixth not."""
    angles = 2 * np.pi * np.arange(5) / 5
    parts = np.array([1.5, 2, 2])
    x = ours.unit(np.kron(np.eye(6), parts))
    W = np.array([np.cos(angles), np.sin(angles)]) @ x[:5]
    bias = -np.cos(angles[1]) * x[:5].sum(0)  # cancels the interference of neighbours
    W /= np.sqrt(1 - np.cos(angles[1]))
    bias /= 1 - np.cos(angles[1])
    found = ours.of_model(W, bias, x[:5])
    assert found["train"] == pytest.approx(0, abs=1e-12)
    assert found["reproduced"] == 1
    assert found["sample"] == pytest.approx(2 / 5)
    assert found["feature"] == pytest.approx(2 / 5 * (parts**4).sum() / (parts**2).sum() ** 2)
    assert found["many"] == 15
    more = ours.of_model(W, bias, x)
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
    x = ours.unit(training_set(spec, samples=5, replica=1).astype(float))
    assert x.shape == (100, 500)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1)
    assert (x > 0).sum(1).mean() == pytest.approx(10, abs=2)


def test_a_peak_is_inside_its_row():
    assert memorization.inner_peaks(np.array([[1, 3, 2], [3, 2, 1], [0, 1, 2]])) == [(0, 1)]
