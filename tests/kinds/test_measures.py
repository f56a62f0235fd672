"""Measures against closed forms on exact polytopes, in any rotation."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import POLYTOPES
from scipy.stats import ortho_group

from tmsjax.kinds import measures


@pytest.mark.parametrize("name", POLYTOPES)
def test_dimensionality_of_polytopes_in_any_rotation_and_size(name):
    points, expected = POLYTOPES[name]
    W = 0.7 * points.T
    if len(W) > 1:
        W = ortho_group.rvs(len(W), random_state=3) @ W
    np.testing.assert_allclose(measures.dimensionality(W), expected, rtol=1e-12)
    np.testing.assert_allclose(measures.norms(W), 0.7, rtol=1e-12)


def test_superposition_and_d_star():
    W = np.array([[1.0, -0.5, 0.0], [0.0, 0.0, 2.0]])
    np.testing.assert_allclose(measures.superposition(W), [0.25, 1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(measures.dimensions_per_feature(W), 2 / 5.25)
    many = np.stack([W, 2 * W])
    np.testing.assert_allclose(measures.superposition(many)[1], [1.0, 4.0, 0.0], atol=1e-15)


def test_vanishing_features_have_finite_measures():
    W = np.array([[1.0, 0.0]])
    np.testing.assert_array_equal(measures.superposition(W), [0.0, 0.0])
    np.testing.assert_array_equal(measures.dimensionality(W), [1.0, 0.0])
    nearly = np.array([[0.9, 1e-12]])
    np.testing.assert_allclose(measures.superposition(nearly)[1], 0.81, rtol=1e-9)


def test_numpy_and_jax_agree():
    W = np.random.default_rng(0).normal(size=(4, 2, 5))
    for measure in (measures.norms, measures.superposition, measures.dimensionality, measures.dimensions_per_feature):
        np.testing.assert_allclose(measure(jnp.asarray(W, jnp.float32)), measure(W), rtol=1e-5, atol=1e-6)
