"""Moments of linear forms of values against quadrature and samples."""

import itertools

import numpy as np
import pytest
from studies.corner.linear_forms import FORMS, HALF

RNG = np.random.default_rng(0)
COEFFICIENTS = [(abs(a), c, b) for a, c, b in RNG.normal(size=(24, 3))]
EDGES = [(0.0, -1.0, 0.5), (0.0, 1.0, -0.5), (1.0, 0.0, -0.5), (0.0, 0.0, 0.3), (1.0, -1.0, 0.0), (1e-7, -1e-3, 0.2)]
DEGENERATE = [(0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, -0.1), (1.0, 1.0, 2.0), (1.0, 1.0, -20.0)]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def integrated(forms, a, c, b, top, density):
    """The moments of two values, by quadrature over y of the moments of x, with a cut at every kink."""
    cuts = [0.0, top]
    if c != 0:
        for kink in (-b / c, -(a + b) / c):
            cuts += [y for y in kink + np.array([-1, -0.1, -1e-2, -1e-4, 0, 1e-4, 1e-2, 0.1, 1]) if 0 < y < top]
    out = np.zeros(6)
    cuts.sort()
    for low, high in itertools.pairwise(cuts):
        y = (low + high) / 2 + (high - low) / 2 * NODES
        weight = (high - low) / 2 * WEIGHTS * density(y)
        m1, mx, mxx = forms.one(np.full_like(y, a), c * y + b)
        out += [(weight * m).sum() for m in (m1, mx, m1 * y, mxx, mx * y, m1 * y * y)]
    return out


@pytest.mark.parametrize(("a", "c", "b"), COEFFICIENTS + EDGES + DEGENERATE)
def test_two_values_against_quadrature(a, c, b):
    for name, top, density in (
        ("uniform", 1.0, np.ones_like),
        ("half-normal", 12.0, lambda y: HALF * np.exp(-y * y / 2)),
    ):
        np.testing.assert_allclose(FORMS[name].two(a, c, b), integrated(FORMS[name], a, c, b, top, density), atol=1e-11)


@pytest.mark.parametrize(
    ("g", "b"), [(1.0, -0.4), (-1.0, 0.4), (-2.0, 0.1), (0.7, 0.2), (0.0, 1.0), (0.0, -1.0), (-1.0, -1.0)]
)
@pytest.mark.parametrize("name", ["uniform", "constant", "half-normal"])
def test_one_value_against_samples(name, g, b):
    rng = np.random.default_rng(1)
    x = {"uniform": rng.random, "constant": np.ones, "half-normal": lambda n: np.abs(rng.normal(size=n))}[name](400_000)
    positive = g * x + b > 0
    sampled = [(x**k * positive).mean() for k in range(3)]
    np.testing.assert_allclose(FORMS[name].one(g, b), sampled, atol=6e-3)


def test_moments_broadcast():
    for forms in FORMS.values():
        assert forms.two(np.ones((4, 1)), np.ones(3), 0.5).shape == (6, 4, 3)
        assert forms.one(np.ones((4, 1)), np.ones(3)).shape == (3, 4, 3)
