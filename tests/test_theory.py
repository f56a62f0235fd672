"""Theory against quadrature, Monte Carlo, finite differences and SciPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize

from tmsjax import optimum, theory

RNG = np.random.default_rng(5)  # cases are drawn as tests run; every tolerance holds for any draw


def random_cases(count: int, hidden: int = 1) -> list[tuple]:
    return [
        (
            RNG.normal(size=(hidden, 2)) * 0.9,
            RNG.normal(size=2) * 0.3,
            RNG.uniform(0.1, 3, 2),
            RNG.uniform(0.01, 1, 2),
        )
        for _ in range(count)
    ]


def pieces(function, kinks) -> float:
    """The integral over [0, 1], split at the kinks inside."""
    edges = np.unique(np.clip([0.0, *[k for k in kinks if np.isfinite(k)], 1.0], 0, 1))
    return sum(integrate.fixed_quad(function, a, b, n=8)[0] for a, b in itertools.pairwise(edges))


@np.errstate(divide="ignore", invalid="ignore")
def by_quadrature(W, b, importance, probability, tied=False) -> float:
    """The loss by Gauss-Legendre on every smooth piece (exact for these polynomials), one integral inside another."""
    total = 0.0
    gram = W.T @ W
    for i, j in ((0, 1), (1, 0)):
        a, c, bias, p, q = gram[i, i], gram[i, j], b[i], probability[i], probability[j]

        def own(z, a=a):
            def error(x):
                return (x - np.maximum(a * x + z, 0)) ** 2

            return pieces(error, [np.divide(-z, a)])

        def over_y(y, c=c, bias=bias, own=own):
            return np.array([own(c * v + bias) for v in np.atleast_1d(y)])

        kinks = [np.divide(-bias, c), np.divide(-(a + bias), c)]
        only_j = pieces(lambda y, c=c, bias=bias: np.maximum(c * y + bias, 0) ** 2, kinks)
        together = pieces(over_y, kinks)
        both = min(p, q) if tied else p * q
        parts = (1 - p - q + both) * max(bias, 0) ** 2 + (p - both) * own(bias) + (q - both) * only_j + both * together
        total += importance[i] * parts
    return total


@pytest.mark.parametrize("hidden", [1, 2])
@pytest.mark.parametrize("tied", [False, True])
def test_exact_loss_is_the_integral(hidden, tied):
    for case in random_cases(30, hidden):
        expected = by_quadrature(*case, tied=tied)
        assert theory.relu2_loss(*case, tied) == pytest.approx(expected, rel=1e-10)
        single = [jnp.asarray(v, jnp.float32) for v in case]
        rounded = by_quadrature(*[np.asarray(v, np.float64) for v in single], tied=tied)
        assert float(theory.relu2_loss(*single, tied)) == pytest.approx(rounded, rel=2e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_exact_loss_is_the_mean_over_samples(tied):
    count = 1_000_000
    for W, b, importance, probability in random_cases(4, 2):
        uniform = RNG.uniform(size=(count, 1 if tied else 2))
        x = (uniform < probability) * RNG.uniform(size=(count, 2))
        losses = ((x - np.maximum(x @ W.T @ W + b, 0)) ** 2 * importance).sum(1)
        exact = theory.relu2_loss(W, b, importance, probability, tied)
        assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(count)


EDGES = {
    "a = 0": ([[0.0, 1.0]], [0.1, 0.0]),
    "a = c = 0, b < 0": ([[0.0, 1.0]], [-0.1, 0.0]),
    "a tiny": ([[1e-9, 1.0]], [1e-10, -1e-10]),
    "W = 0": ([[0.0, 0.0]], [0.2, -0.2]),
    "everything 0": ([[0.0, 0.0]], [0.0, 0.0]),
    "antipodal": ([[1.0, -1.0]], [0.0, 0.0]),
    "c = 0, m = 2": ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]),
    "c tiny, m = 2": ([[1.0, 1e-20], [0.0, 1.0]], [0.0, 1e-25]),
}


@pytest.mark.parametrize("name", EDGES)
def test_exact_loss_and_gradient_at_the_edges(name):
    W, b = (np.array(v) for v in EDGES[name])
    importance, probability = np.array([1.0, 2.0]), np.array([0.3, 0.6])
    expected = by_quadrature(W, b, importance, probability)
    case = [jnp.asarray(v, jnp.float32) for v in (W, b, importance, probability)]
    assert theory.relu2_loss(W, b, importance, probability) == pytest.approx(expected, rel=1e-10, abs=1e-15)
    assert float(theory.relu2_loss(*case)) == pytest.approx(expected, rel=2e-6, abs=1e-9)
    slopes = jax.grad(theory.relu2_loss, argnums=(0, 1))(*case)
    ours = theory.relu2_gradient(W, b, importance, probability)
    for slope, reference in zip(slopes, ours, strict=True):
        np.testing.assert_allclose(slope, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_finite_differences(tied):
    for W, b, importance, probability in random_cases(10, 2):
        dW, db = theory.relu2_gradient(W, b, importance, probability, tied)
        theta = np.concatenate([W.reshape(-1), b])

        def loss(t, importance=importance, probability=probability):
            return theory.relu2_loss(t[:4].reshape(2, 2), t[4:], importance, probability, tied)

        numeric = optimize.approx_fprime(theta, loss, 1e-7)
        np.testing.assert_allclose(np.concatenate([dW.reshape(-1), db]), numeric, atol=3e-6)
        single = [jnp.asarray(v, jnp.float32) for v in (W, b, importance, probability)]
        slopes = jax.grad(theory.relu2_loss, argnums=(0, 1))(*single, tied)
        np.testing.assert_allclose(slopes[0], dW, atol=1e-5)
        np.testing.assert_allclose(slopes[1], db, atol=1e-5)


def test_candidates_are_exact_losses_of_their_models():
    for r in (0.2, 1.0, 5.0):
        for p in (0.05, 0.5, 1.0):
            importance, probability = np.array([1.0, r]), np.array([p, p])
            losses = theory.candidate_losses(importance, probability)
            biases = ([0, p / 2], [p / 2, 0], [0, 0])
            for W, b, loss in zip(theory.CANDIDATES, biases, losses, strict=True):
                assert theory.relu2_loss(W, np.array(b, float), importance, probability) == pytest.approx(loss)
            np.testing.assert_allclose(losses, [r * theory.variance(p), theory.variance(p), (1 + r) * p**2 / 6])


def test_candidate_boundary_is_where_losses_cross():
    for r in (0.1, 0.5, 1.0, 4.0):
        p = theory.candidate_boundary(r)
        losses = theory.candidate_losses(np.array([1.0, r]), np.array([p, p]))
        assert losses[2] == pytest.approx(min(losses[:2]))
    assert theory.candidate_boundary(1.0) == pytest.approx(4 / 7)


def test_linear_loss_is_the_mean_over_samples():
    n, m, count = 5, 2, 400_000
    W, b = RNG.normal(size=(m, n)) * 0.5, RNG.normal(size=n) * 0.1
    importance, p = RNG.uniform(0.1, 2, n), RNG.uniform(0.1, 1, n)
    x = (RNG.uniform(size=(count, n)) < p) * RNG.uniform(size=(count, n))
    losses = ((x - x @ W.T @ W - b) ** 2 * importance).sum(1)
    exact = theory.linear_loss(W, b, importance, p / 2, np.diag(theory.variance(p)))
    assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(count)


def test_linear_optimum_is_the_projector_on_the_most_important():
    n, m, p = 6, 2, 0.4
    importance = 0.8 ** np.arange(n)
    W, mean = np.eye(n)[:m], np.full(n, p / 2)
    b = (np.eye(n) - W.T @ W) @ mean
    covariance = np.diag(np.full(n, theory.variance(p)))
    best = theory.linear_loss(W, b, importance, mean, covariance)
    assert best == pytest.approx(theory.variance(p) * importance[m:].sum())
    for _ in range(200):
        near = W + 0.05 * RNG.normal(size=W.shape)
        near_b = (np.eye(n) - near.T @ near) @ mean
        assert theory.linear_loss(near, near_b, importance, mean, covariance) > best


def test_exact_optimum_is_scipys_best_of_many_starts():
    cells = [(0.1, 0.05), (0.5, 0.3), (0.5, 0.6), (1.0, 0.7), (1.0, 1.0), (3.0, 0.45), (10.0, 0.2)]
    importance = np.array([[1.0, r] for r, _ in cells])
    probability = np.array([[p, p] for _, p in cells])
    ours = optimum.exact_optimum(importance, probability)
    assert ours.gradient.max() < 1e-6
    for k in range(len(cells)):

        def loss(t, k=k):
            return float(theory.relu2_loss(t[None, :2], t[2:], importance[k], probability[k]))

        starts = np.random.default_rng(0).normal(size=(20, 4)) * [1, 1, 0.2, 0.2]
        scipys = min(optimize.minimize(loss, s, method="BFGS", options={"gtol": 1e-9}).fun for s in starts)
        assert ours.loss[k] == pytest.approx(scipys, rel=1e-7)
        assert theory.relu2_loss(ours.W[k], ours.b[k], importance[k], probability[k]) == pytest.approx(ours.loss[k])


def test_exact_optimum_with_two_hidden_dimensions_is_lossless_when_dense():
    best = optimum.exact_optimum(np.array([[1.0, 0.5]]), np.array([[1.0, 1.0]]), hidden=2)
    assert best.loss[0] < 1e-10


def test_exact_optimum_beats_every_candidate():
    r, p = (g.reshape(-1) for g in np.meshgrid(np.geomspace(0.1, 10, 9), np.geomspace(1, 0.01, 9)))
    importance, probability = np.stack([np.ones_like(r), r], 1), np.stack([p, p], 1)
    best = optimum.exact_optimum(importance, probability)
    assert np.all(best.loss <= theory.candidate_losses(importance, probability).min(1) * (1 + 1e-12))


def test_optimum_refuses_other_shapes():
    with pytest.raises(ValueError, match="must be"):
        optimum.exact_optimum(np.ones((3, 2)), np.ones((2, 2)))
