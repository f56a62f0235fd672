"""Features of one instance: which are active, with what values.

Feature i is active with probability p_i and then follows the distribution of values; otherwise it is exactly 0.
One uniform u gives both: v = (1 - u/p)+ is 0 with probability 1 - p and else uniform on (0, 1], and the
value is a quantile function of v. Where other uniforms decide activity, v is a uniform of its own, or 0.
Everything here is elementwise over arrays or `Elements` (kinds/elements.py).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from tmsjax.kinds import ACTIVITIES, VALUES, elementwise
from tmsjax.models.instances import Instance
from tmsjax.models.scalars import Scalars
from tmsjax.spec import Data


def columns(data: Data, features: int) -> int:
    """How many uniforms one sample needs: one a feature, and those that only decide activity."""
    return features + activity_columns(data, features)


def activity_columns(data: Data, features: int) -> int:
    """How many of them, the last ones, only decide activity: none if a feature's own uniform does that too."""
    if ACTIVITIES[data.activity].own and not data.masks_per_batch:
        return 0
    return data.drawn(features).columns()


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
    """One sample's features x, shape (n,), from `columns` uint32 words; both arrays, or both `Elements`."""
    p = instance.feature_probability
    n = p.shape[0]
    values = VALUES[data.values]
    if not activity_columns(data, n):
        v = elementwise(active_uniform, bits, p)
    else:
        active = data.drawn(n).active(elementwise(_uniform, bits[n:]), p)
        own = elementwise(lambda b: active_uniform(b, np.float32(1)), bits[:n])
        v = elementwise(lambda a, u: jnp.where(a, u, np.float32(0)), active, own)
    x = elementwise(values.quantile, v)
    return x if values.zero_at_zero else elementwise(lambda v, x: jnp.where(v > 0, x, np.float32(0)), v, x)


def _uniform(bits: Any) -> Any:
    """Uniform on [0, 1): words that float32 rounds up to 2^32 give the largest float32 below 1."""
    u = bits.astype(jnp.float32) * np.float32(2.0**-32)
    return jnp.where(u < 1, u, np.float32(1 - 2.0**-24))


def mean(probability: Any, data: Data) -> Any:
    """E x, shape of `probability` (..., n)."""
    return VALUES[data.values].mean * data.drawn(probability.shape[-1]).marginal(probability)


def covariance(probability: Any, data: Data) -> Any:
    """Cov x, shape (..., n, n), for `probability` (..., n).

    With P_ij the probability that features i and j are both active: on the diagonal P_ii E[v^2] - P_ii^2 E[v]^2, which
    is p/3 - p^2/4 for uniform values of independent features; elsewhere E[v]^2 (P_ij - P_ii P_jj), as values are
    independent.
    """
    values, drawn = VALUES[data.values], data.drawn(probability.shape[-1])
    xp = probability.__array_namespace__()
    marginal = drawn.marginal(probability)
    p, q = marginal[..., :, None], marginal[..., None, :]
    between = xp.zeros_like(p * q)
    eye = xp.broadcast_to(xp.eye(probability.shape[-1], dtype=probability.dtype), between.shape)
    if not drawn.activity.own:
        between = values.mean**2 * (drawn.joint(probability) - p * q) * (1 - eye)
    variance = values.square * p - values.mean**2 * p**2
    return eye * variance + between
