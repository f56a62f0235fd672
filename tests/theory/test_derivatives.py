"""Derivatives of the exact loss against finite differences of `models.expected`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import slowly

from tmsjax.kinds import drawn_by
from tmsjax.models import expected
from tmsjax.theory.derivatives import derivatives

COUNT = 24  # models


def evaluated(theta, importance, probability, bias=True, activity="independent"):
    """The loss (k,), gradient (d, k) and Hessian (d, d, k) at theta (d, k)."""
    drawn = drawn_by(activity, len(importance))
    with jax.enable_x64(True):
        given = [[jnp.asarray(row) for row in v] for v in (theta, importance, probability)]
        value, slope, lower = jax.jit(partial(derivatives, drawn=drawn, bias=bias))(*given)
    size = len(theta)
    hessian = np.array([[lower[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)])
    return np.array(value), np.array(slope), hessian


def models(n, m, bias, count=COUNT):
    rng = np.random.default_rng(n + m)
    inputs = rng.uniform(0.05, 1, size=(2, n, count))
    return rng.normal(size=(n * (m + bias), count)) * 0.7, *inputs


@pytest.mark.parametrize(
    ("n", "m", "bias", "activity"),
    [
        (2, 1, True, "independent"),
        (2, 2, False, "tied"),
        (2, 1, True, "exclusive"),
        *slowly((3, 2, True, "independent")),
    ],
)
def test_derivatives_are_those_of_the_exact_loss(n, m, bias, activity):
    theta, importance, probability = models(n, m, bias)

    def loss(shift):
        moved = theta + np.broadcast_to(shift, (len(theta),))[:, None]
        W = moved[: n * m].reshape(m, n, -1).transpose(2, 0, 1)
        b = moved[n * m :].T if bias else np.zeros((COUNT, n))
        return expected.relu_loss(W, b, importance.T, probability.T, activity=activity)

    value, slope, hessian = evaluated(theta, importance, probability, bias, activity)
    small, large = 1e-6 * np.eye(len(theta)), 2e-4 * np.eye(len(theta))
    np.testing.assert_allclose(value, loss(0), rtol=1e-12)
    np.testing.assert_allclose(slope, [(loss(s) - loss(-s)) / 2e-6 for s in small], atol=1e-8)
    twice = [[loss(s + t) - loss(s - t) - loss(t - s) + loss(-s - t) for s in large] for t in large]
    np.testing.assert_allclose(hessian, np.array(twice) / 1.6e-7, atol=2e-3)  # third derivatives jump at kinks


def test_a_dense_minor_feature_alone_is_a_saddle():
    """At p = 1 and r = 0.2, keeping only the minor feature leaves no gradient but negative curvature."""
    saddle, inputs = np.array([[0.0, 1.0, 0.5, 0.0]]).T, (np.array([[1.0], [0.2]]), np.ones((2, 1)))
    _, slope, hessian = evaluated(saddle, *inputs)
    assert np.abs(slope).max() < 1e-12
    assert np.linalg.eigvalsh(hessian[:, :, 0])[0] < -0.05
