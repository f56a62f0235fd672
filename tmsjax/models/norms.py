"""The root mean square norm of a sample, the unit of some options of losses: in closed form, or measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

from tmsjax.kinds import VALUES
from tmsjax.kinds.arrays import Array, Scalar
from tmsjax.models.instance import Instance
from tmsjax.models.sampling import Sampler, sampler_of
from tmsjax.spec import Spec

SAMPLES = 2**16


def root_mean_square(spec: Spec, table: Instance) -> Float[np.ndarray, "instance"]:
    """The root mean square norm of a sample of each instance.

    In closed form where the data state the probability that a feature is active, else from 2^16 samples of each
    distinct distribution.

    Raises:
        SpecError: The spec reads a run or a file, which only `run_sweep` does.
    """
    probability, own = table.feature_probability, table.own("data")
    drawn = spec.data.drawn(probability.shape[-1], own) if spec.data.plain else None
    if drawn is not None and drawn.known_alone:
        active = drawn.marginal(probability.astype(np.float64))
        return np.sqrt(VALUES[spec.data.values].square * active.sum(-1))
    sampler = sampler_of(spec)
    leaves = jax.tree.leaves((probability, own, table.source))
    rows = np.concatenate([leaf.reshape(len(probability), -1) for leaf in leaves], axis=1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    bits = np.random.default_rng(0).integers(2**32, size=(SAMPLES, sampler.columns), dtype=np.uint32)
    mean = _mean_square(sampler)
    found = [mean(bits, jax.tree.map(lambda leaf, k=k: leaf[k], table)) for k in first]
    return np.sqrt(np.asarray(found, np.float64))[which.reshape(-1)]


@lru_cache(maxsize=16)
def _mean_square(sampler: Sampler) -> Callable[[UInt32[Array, "sample column"], Instance], Scalar]:
    """(bits (sample, column), instance) -> the mean of |x|^2."""

    def mean(bits: UInt32[Array, "sample column"], row: Instance) -> Scalar:
        x = jax.vmap(lambda each: sampler.sample(each, row))(bits)
        return jnp.mean((x * x).sum(1))

    return jax.jit(mean)
