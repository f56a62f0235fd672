"""The features of a sample of one instance: which are active, and their values.

An active feature follows the distribution of values; an inactive feature is exactly 0. If features are independent,
one uniform u gives both: v = (1 - u/p)+ is 0 with probability 1 - p and otherwise uniform on (0, 1], and the value is
the quantile function of v. For other activities, separate uniforms decide which features are active, and v is a
uniform for each active feature and 0 for the others. Works on arrays and on `Elements` (kinds/elements.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from tmsjax.kinds import ACTIVITIES, VALUES, elementwise
from tmsjax.models.instances import Instance
from tmsjax.models.scalars import Scalars
from tmsjax.spec import Data, Spec


def columns(data: Data, features: int) -> int:
    """The number of uniforms per sample: one per feature, plus those that only decide activity."""
    return features + activity_columns(data, features)


def activity_columns(data: Data, features: int) -> int:
    """The number of uniforms that only decide activity: 0 if each feature's own uniform decides it. They come last."""
    if ACTIVITIES[data.activity].own and not data.masks_per_batch:
        return 0
    return data.drawn(features).columns()


def columns_of(spec: Spec) -> int:
    """The number of uniforms per sample of a spec. Raises SpecError if the run that it names is not read yet."""
    return columns(*spec.samples)


def masked(words: Any, data: Data, features: int) -> Any:
    """Words of a batch (samples, columns) with `masks_per_batch` masks: consecutive samples share activity words."""
    if not data.masks_per_batch:
        return words

    def repeat(column: Any) -> Any:
        return jnp.repeat(column[: data.masks_per_batch], len(column) // data.masks_per_batch, axis=0)

    if isinstance(words, Scalars):
        return Scalars((*words.parts[:features], *map(repeat, words.parts[features:])), words.shape)
    return jnp.concatenate([words[:, :features], repeat(words[:, features:])], axis=1)


def sobol(samples: int, columns: int) -> np.ndarray:
    """The first points of the Sobol' sequence as bits, (samples, columns) uint32.

    2^k samples form a net: every interval [i, i + 1) 2^-k of a column holds one point, and so do most boxes of this
    volume in a few columns. XORed with one random word per column (a digital shift), each point is uniform and the
    points remain a net (L'Ecuyer and Lemieux 2002, "Recent advances in randomized quasi-Monte Carlo methods").
    """
    from scipy.stats import qmc

    points = qmc.Sobol(columns, scramble=False, bits=32).random(samples)
    return (points * 2.0**32).astype(np.uint32)


def rotate(word: Any, offset: Any, streams: str) -> Any:
    """An instance's word: the shared word, shifted by the instance's `offset`. Uniform if the offset is."""
    return word ^ offset if streams == "sobol" else word + offset


def _positive(v: Any) -> Any:
    # `where` instead of `maximum`: value and gradient share one mask, and XLA:CPU's NaN-propagating maximum is slow.
    return jnp.where(v > 0, v, np.float32(0))


def active_uniform(bits: Any, probability: Any) -> Any:
    """v in [0, 1]: 0 with probability 1 - p, otherwise uniform. `bits`: uint32; `probability` p in (0, 1].

    Bits near 0 are active, since float32 has the finest resolution there: v has steps of 2^-32 / p.
    """
    return _positive(1 - bits.astype(jnp.float32) * (np.float32(2.0**-32) / probability))


def sample(bits: Any, instance: Instance, data: Data) -> Any:
    """The features x (n,) of one sample, from `columns` uint32 words. Both are arrays or both are `Elements`."""
    p = instance.feature_probability
    n = p.shape[0]
    values = VALUES[data.values]
    if not activity_columns(data, n):
        v = elementwise(active_uniform, bits, p)
    else:
        active = data.drawn(n, instance.own("data")).active(elementwise(_uniform, bits[n:]), p)
        own = elementwise(lambda b: active_uniform(b, np.float32(1)), bits[:n])
        v = elementwise(lambda a, u: jnp.where(a, u, np.float32(0)), active, own)
    x = elementwise(values.quantile, v)
    return x if values.zero_at_zero else elementwise(lambda v, x: jnp.where(v > 0, x, np.float32(0)), v, x)


def inputs(bits: Any, instance: Instance, spec: Spec) -> Any:
    """What a model is trained on: the features of a sample, or the hidden layer of a stored model on its features."""
    if spec.source is None:
        return sample(bits, instance, spec.data)
    own = {k: v for k, v in instance.source.items() if k.startswith("data.")}
    stored = replace(instance, feature_probability=instance.source["feature_probability"], options=own)
    h = instance.source["W"] @ sample(bits, stored, spec.source.data)
    return elementwise(_positive, h) if spec.source.neurons else h


def _uniform(bits: Any) -> Any:
    """Uniform on [0, 1). Words that float32 rounds up to 2^32 give the largest float32 below 1."""
    u = bits.astype(jnp.float32) * np.float32(2.0**-32)
    return jnp.where(u < 1, u, np.float32(1 - 2.0**-24))


def mean(probability: Any, data: Data, own: Mapping[str, Any] | None = None) -> Any:
    """E x, shape of `probability` (..., n). `own`: (...,) values of the activity's options that are quantities."""
    return VALUES[data.values].mean * data.drawn(probability.shape[-1], own).marginal(probability)


def covariance(probability: Any, data: Data, own: Mapping[str, Any] | None = None) -> Any:
    """Cov x, shape (..., n, n), for `probability` (..., n); `own` as in `mean`.

    P_ij is the probability that features i and j are both active, v the value of an active feature. The diagonal is
    P_ii E[v^2] - P_ii^2 E[v]^2, which is p/3 - p^2/4 for uniform values of independent features. The other entries are
    E[v]^2 (P_ij - P_ii P_jj), since values are independent.
    """
    values, drawn = VALUES[data.values], data.drawn(probability.shape[-1], own)
    xp = probability.__array_namespace__()
    marginal = drawn.marginal(probability)
    p, q = marginal[..., :, None], marginal[..., None, :]
    between = xp.zeros_like(p * q)
    eye = xp.broadcast_to(xp.eye(probability.shape[-1], dtype=probability.dtype), between.shape)
    if not drawn.activity.own:
        between = values.mean**2 * (drawn.joint(probability) - p * q) * (1 - eye)
    variance = values.square * p - values.mean**2 * p**2
    return eye * variance + between
