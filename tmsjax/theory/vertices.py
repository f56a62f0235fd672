"""The exact expected loss of ReLU models with up to MOST_FEATURES features, by sums over the vertices of a cube.

The mean over a uniform y of a piecewise polynomial f(t + c y) is (F(t + c) - F(t)) / c, where F' = f. Applied to every
active feature, the mean of ReLU(t + sum_j c_j y_j)^2 becomes a sum over the vertices of the cube of ReLU(.)^(k + 2),
divided by the product of the c_j (Lasserre's formula). Where a c_j is near 0 that difference would lose all digits, and
two Gauss points take its place. Needs float64, in which the loss is exact to about 1e-9; models/expected.py has a
quadrature for training in float32, whose cost grows much faster with n. Derived here; tests/theory/test_landscape.py
checks it against that quadrature and Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.kinds import Drawn

MOST_FEATURES = 8  # 3^(n - 1) terms for each output
NEAR_ZERO = 3e-3  # overlaps below it use Gauss points
GAUSS = (0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12))


def relu_loss(W: Any, b: Any, importance: Any, probability: Any, drawn: Drawn) -> Any:
    """The exact loss of one model x' = ReLU(W^T W x + b), W (m, n), all others (n,), active values uniform on [0, 1].

    For use under jax in float64.
    """
    n = len(b)
    gram = W.T @ W
    others = np.array([[j for j in range(n) if j != i] for i in range(n)], int)
    rows = np.arange(n)[:, None]
    off, on = (jnp.stack([_shares(list(probability), drawn, i, active) for i in range(n)]) for active in (False, True))
    return (importance * jax.vmap(_output)(jnp.diagonal(gram), gram[rows, others], b, off, on)).sum()


def _shares(probability: list, drawn: Drawn, i: int, active: bool) -> Any:
    """The probabilities of the active sets, by which of the other features are active: shape (2,) * (n - 1).

    `active`: whether feature i is active too.
    """
    n = len(probability)
    others = [j for j in range(n) if j != i]
    shares = []
    for bits in product((0, 1), repeat=n - 1):
        chosen = [j for j, yes in zip(others, bits, strict=True) if yes]
        some = tuple(sorted([*chosen, i] if active else chosen))
        shares.append(drawn.exactly(probability, some) if drawn.possible(some) else 0.0)
    return jnp.stack([jnp.asarray(share, jnp.float64) for share in shares]).reshape((2,) * (n - 1))


def _output(own: Any, overlaps: Any, bias: Any, off: Any, on: Any) -> Any:
    """The mean of (x_i - x'_i)^2: own = |W_i|^2, overlaps (n - 1,) with the others, off and on as in `_shares`.

    Each of the other features is absent or at one of two points: an array of shape (3,) * (n - 1) holds all cases.
    """
    count = len(overlaps)
    near = jnp.abs(overlaps) < NEAR_ZERO
    safe = jnp.where(near, 1.0, overlaps)
    low, high = jnp.where(near, GAUSS[0] * overlaps, 0.0), jnp.where(near, GAUSS[1] * overlaps, overlaps)
    zero = jnp.zeros_like(overlaps)
    points = jnp.stack([zero, low, high])
    weights = jnp.stack([zero + 1, jnp.where(near, 0.5, -1 / safe), jnp.where(near, 0.5, 1 / safe)])
    integrals = jnp.stack([zero, *[jnp.where(near, 0.0, 1.0)] * 2])

    def place(column: Any, j: int) -> Any:
        return column[:, j].reshape((1,) * j + (3,) + (1,) * (count - 1 - j))

    z = bias + sum(place(points, j) for j in range(count))
    degree = sum(place(integrals, j) for j in range(count))
    weight = math.prod(place(weights, j) for j in range(count))
    powers = partial(_power, extra=degree, most=count)
    error = _square(own, z, powers) - 2 * _moment(own, z, powers)
    off_, on_ = _present(off), _present(on)
    return on.sum() / 3 + (weight * (off_ * 2 * powers(z, 2) + on_ * error)).sum()


def _present(shares: Any) -> Any:
    """Repeats each axis (absent, present) as (absent, present, present)."""
    for axis in range(shares.ndim):
        shares = jnp.take(shares, np.array([0, 1, 1]), axis=axis)
    return shares


def _power(t: Any, least: int, *, extra: Any, most: int) -> Any:
    """ReLU(t)^k / k!, k = least + extra; extra: whole numbers from 0 to `most`, of the shape of t."""
    t = jnp.where(t > 0, t, 0.0)
    power = t**least / math.factorial(least)
    out = jnp.where(extra == 0, power, 0.0)
    for k in range(1, most + 1):
        power = power * t / (least + k)
        out = jnp.where(extra == k, power, out)
    return out


def _square(a: Any, z: Any, powers: Callable) -> Any:
    """The mean over x of ReLU(a x + z)^2, integrated over the other features as `powers` says."""
    safe = jnp.where(a < NEAR_ZERO, 1.0, a)
    gauss = sum(powers(a * x + z, 2) for x in GAUSS)
    return jnp.where(a < NEAR_ZERO, gauss, 2 * (powers(a + z, 3) - powers(z, 3)) / safe)


def _moment(a: Any, z: Any, powers: Callable) -> Any:
    """The mean over x of x ReLU(a x + z), likewise."""
    safe = jnp.where(a < NEAR_ZERO, 1.0, a)
    gauss = sum(x * powers(a * x + z, 1) for x in GAUSS) / 2
    exact = powers(a + z, 2) / safe - (powers(a + z, 3) - powers(z, 3)) / safe**2
    return jnp.where(a < NEAR_ZERO, gauss, exact)
