"""Features of one instance: which are active, with what values.

Feature i is active with probability p_i and then follows the distribution of values; otherwise it is exactly 0.
One uniform u gives both: v = (1 - u/p)+ is 0 with probability 1 - p and else uniform on (0, 1], and the
value is a quantile function of v. Everything here is elementwise over numpy-like arrays or object arrays of scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.grid import Instance
from tmsjax.scalars import Scalars, elementwise, objects
from tmsjax.spec import Data
from tmsjax.theory import MOMENTS, Moments


@dataclass(frozen=True)
class Values:
    """The distribution of an active feature's value: quantile(v) for v in (0, 1], and moments; quantile(0) is 0."""

    quantile: Callable[[Any], Any]
    moments: Moments


def _half_normal(v: Any) -> Any:
    below_one = jnp.where(v < 1 - 2.0**-23, v, np.float32(1 - 2.0**-23))
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(below_one)


VALUES = {
    "uniform": Values(lambda v: v, MOMENTS["uniform"]),
    "constant": Values(lambda v: jnp.where(v > 0, np.float32(1), np.float32(0)), MOMENTS["constant"]),
    "half-normal": Values(_half_normal, MOMENTS["half-normal"]),
}


def columns(data: Data, features: int) -> int:
    """How many uniforms one sample needs: one a feature, and those that only decide activity."""
    return features + activity_columns(data, features)


def activity_columns(data: Data, features: int) -> int:
    """How many of them, the last ones, only decide activity: none if a feature's own uniform does that too."""
    if data.activity == "tied":
        return 1
    return features if data.masks_per_batch else 0


def masked(words: Any, data: Data, features: int) -> Any:
    """A batch's words (samples, columns) with as many masks as the data says: activity repeats in each part."""
    if not data.masks_per_batch:
        return words

    def repeat(column: Any) -> Any:
        return jnp.repeat(column[: data.masks_per_batch], len(column) // data.masks_per_batch, axis=0)

    if isinstance(words, Scalars):
        return Scalars((*words.parts[:features], *map(repeat, words.parts[features:])), words.shape)
    return jnp.concatenate([words[:, :features], repeat(words[:, features:])], axis=1)


def sobol(samples: int, columns: int) -> np.ndarray:
    """The first points of the Sobol' sequence as bits, (samples, columns) uint32.

    For 2^k samples a net: every interval [i, i + 1) 2^-k of a column holds one point, and so do most boxes of that
    volume in a few columns. XORed with one random word a column (a digital shift) each point is uniform and all stay
    a net (L'Ecuyer and Lemieux 2002, "Recent advances in randomized quasi-Monte Carlo methods").
    """
    from scipy.stats import qmc

    points = qmc.Sobol(columns, scramble=False, bits=32).random(samples)
    return (points * 2.0**32).astype(np.uint32)


def rotate(word: Any, offset: Any, streams: str) -> Any:
    """An instance's word: the one that all share, moved by its own `offset`. Uniform if the offset is."""
    return word ^ offset if streams == "sobol" else word + offset


def _positive(v: Any) -> Any:
    # Not jnp.maximum: the branch and its gradient share one mask, and XLA:CPU's max that passes on NaN is slow.
    return jnp.where(v > 0, v, np.float32(0))


def active_uniform(bits: Any, probability: Any) -> Any:
    """v in [0, 1]: 0 with probability 1 - p, else uniform. `bits` uint32 scalar or array, `probability` in (0, 1].

    Bits near 0 are the active ones, as floats keep their resolution there: v has steps of 2^-32 / p.
    """
    return _positive(1 - bits.astype(jnp.float32) * (np.float32(2.0**-32) / probability))


def sample(bits: Any, instance: Instance, data: Data) -> Any:
    """One sample's features x, shape (n,), from `columns` uint32 words; both arrays or both object arrays."""
    n = instance.feature_probability.shape[0]
    quantile = VALUES[data.values].quantile
    if not activity_columns(data, n):
        v = _pairwise(active_uniform, bits, instance.feature_probability)
    else:
        activity = bits[n:]
        if data.activity == "tied":
            activity = objects([bits[n]] * n, (n,)) if bits.dtype == object else jnp.broadcast_to(bits[n], (n,))
        active = _pairwise(active_uniform, activity, instance.feature_probability)
        own = elementwise(lambda b: active_uniform(b, np.float32(1)), bits[:n])
        v = _pairwise(lambda a, u: jnp.where(a > 0, u, np.float32(0)), active, own)
    return elementwise(quantile, v)


def _pairwise(function: Callable, a: Any, b: Any) -> Any:
    """`function` of corresponding elements of two arrays, or of two object arrays of scalars."""
    if isinstance(a, np.ndarray) and a.dtype == object:
        return np.frompyfunc(function, 2, 1)(a, b)
    return function(a, b)


def mean(probability: np.ndarray, data: Data) -> np.ndarray:
    """E x, shape of `probability` (..., n)."""
    return VALUES[data.values].moments.mean * probability


def covariance(probability: Any, data: Data) -> Any:
    """Cov x, shape (..., n, n), for `probability` (..., n).

    Independent: diagonal, p E[v^2] - p^2 E[v]^2, which is p/3 - p^2/4 for uniform values. Tied: features i and j
    are active together with probability min(p_i, p_j), and their values are independent.
    """
    values = VALUES[data.values].moments
    xp = probability.__array_namespace__()
    p, q = probability[..., :, None], probability[..., None, :]
    eye = xp.eye(probability.shape[-1], dtype=probability.dtype)
    between = xp.zeros_like(p * q)
    if data.activity == "tied":
        between = values.mean**2 * (xp.minimum(p, q) - p * q) * (1 - eye)
    variance = values.square * p - values.mean**2 * p**2
    return eye * variance + between
