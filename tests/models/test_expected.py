"""The exact expected loss against quadrature and closed forms (test_activities.py: samples, finite differences)."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from tmsjax.models import expected

OPTIONS = ("activity", "size", "active")
loss = jax.jit(expected.relu_loss, static_argnames=OPTIONS)
slopes_of = jax.jit(jax.grad(expected.relu_loss, argnums=(0, 1)), static_argnames=OPTIONS)
RNG = np.random.default_rng(5)  # cases are drawn as tests run; every tolerance holds for any draw


def random_cases(count: int, hidden: int = 1, features: int = 2) -> list[tuple]:
    return [
        (
            RNG.normal(size=(hidden, features)) * 0.9,
            RNG.normal(size=features) * 0.3,
            RNG.uniform(0.1, 3, features),
            RNG.uniform(0.01, 1, features),
        )
        for _ in range(count)
    ]


def pieces(function, kinks) -> float:
    """The integral over [0, 1], split at the kinks inside."""
    edges = np.unique(np.clip([0.0, *[k for k in kinks if np.isfinite(k)], 1.0], 0, 1))
    return sum(integrate.fixed_quad(function, a, b, n=8)[0] for a, b in itertools.pairwise(edges))


@np.errstate(divide="ignore", invalid="ignore")
def by_quadrature(W, b, importance, probability, activity="independent") -> float:
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
        both = min(p, q) if activity == "tied" else p * q
        parts = (1 - p - q + both) * max(bias, 0) ** 2 + (p - both) * own(bias) + (q - both) * only_j + both * together
        total += importance[i] * parts
    return total


@pytest.mark.parametrize("hidden", [1, 2])
@pytest.mark.parametrize("activity", ["independent", "tied"])
def test_exact_loss_is_the_integral(hidden, activity):
    for case in random_cases(30, hidden):
        value = by_quadrature(*case, activity=activity)
        assert expected.relu_loss(*case, activity=activity) == pytest.approx(value, rel=1e-10)
        single = [jnp.asarray(v, jnp.float32) for v in case]
        rounded = by_quadrature(*[np.asarray(v, np.float64) for v in single], activity=activity)
        assert float(loss(*single, activity=activity)) == pytest.approx(rounded, rel=2e-6)


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
    value = by_quadrature(W, b, importance, probability)
    case = [jnp.asarray(v, jnp.float32) for v in (W, b, importance, probability)]
    assert expected.relu_loss(W, b, importance, probability) == pytest.approx(value, rel=1e-10, abs=1e-15)
    assert float(loss(*case)) == pytest.approx(value, rel=2e-6, abs=1e-9)
    slopes = slopes_of(*case)
    with jax.enable_x64(True):
        double = slopes_of(*(jnp.asarray(v) for v in (W, b, importance, probability)))
    for slope, reference in zip(slopes, double, strict=True):
        assert np.isfinite(reference).all()
        np.testing.assert_allclose(slope, reference, rtol=1e-5, atol=1e-6)


def cube_integral(g: np.ndarray, b: float) -> float:
    """The integral over the cube of ReLU(g . x + b)^2: 2 / ((k + 2)! prod g) sum_T (-1)^(k - |T|) ReLU(g_T + b)^(k + 2)
    with g_T the sum over T; for g well away from 0."""
    k = len(g)
    subsets = itertools.product([0, 1], repeat=k)
    terms = [(-1) ** (k - sum(t)) * max(float(np.dot(t, g)) + b, 0) ** (k + 2) for t in subsets]
    return 2 * sum(terms) / (math.factorial(k + 2) * math.prod(g))


@pytest.mark.parametrize("others", [1, 2, 3, 4])
def test_nested_quadrature_is_the_closed_form_over_a_cube(others):
    """With own weight a = 0 the output is ReLU(g . y + b), and its error 1/3 - E output + E output^2."""
    for _ in range(5):
        g, b = RNG.choice([-1, 1], others) * RNG.uniform(0.3, 1.2, others), RNG.normal() * 0.5
        square, error = expected._means(np.float64(0), list(g), np.float64(b))
        assert square == pytest.approx(cube_integral(g, b), rel=1e-9, abs=1e-12)
        slope = (cube_integral(g, b + 1e-4) - cube_integral(g, b - 1e-4)) / 4e-4  # d/db of the square is 2 E output
        assert error == pytest.approx(1 / 3 - slope + square, rel=1e-6)


def test_a_feature_that_is_never_seen_changes_nothing():
    """n = 3 with W_3 = 0 and b_3 <= 0 is n = 2 and the lost feature's I p / 3; so for n = 4 and 5."""
    for W, b, importance, probability in random_cases(3, 1):
        alone = expected.relu_loss(W, b, importance, probability)
        for n in (3, 4, 5):
            pad = [(0, 0), (0, n - 2)]
            more = np.pad(W, pad), np.pad(b, pad[1]), np.pad(importance, pad[1], constant_values=0.7)
            loss = expected.relu_loss(*more, np.pad(probability, pad[1], constant_values=0.4))
            assert loss == pytest.approx(alone + (n - 2) * 0.7 * 0.4 / 3, rel=1e-12)


def test_shapes_that_do_not_fit_and_more_features_than_five_are_refused():
    for shapes in (((1, 2), 4, 2, 2), ((1, 2), 2, 3, 2), ((1, 2), 2, 2, 1), ((2,), 2, 2, 2), ((1, 6), 6, 6, 6)):
        with pytest.raises(ValueError, match="at most 5" if 6 in shapes else "must be"):
            expected.relu_loss(*(np.ones(shape) for shape in shapes))


def test_lists_are_taken_as_arrays():
    assert expected.relu_loss([[1, -1]], [0, 0], [1, 1], [0.3, 0.3]) == pytest.approx(0.03)
