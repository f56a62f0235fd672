"""The gradient's sum over samples on devices whose SIMD lanes hold instances (on CPU, they hold samples)."""

from __future__ import annotations

from itertools import zip_longest
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp

from tmsjax.models import Instance, loss
from tmsjax.spec import Spec


def gradient(params: Any, instance: Instance, words: Any, offset: Any, spec: Spec, unroll: int) -> Any:
    """`loss.gradient` of one instance held as scalars, `unroll` samples at a time.

    Under vmap over instances, the axis of groups of samples comes first and that of instances last. Sums gradients in
    pairs, as complex numbers: for every array in a reduction XLA's cost model counts the arithmetic of a sample once
    more, and where this looks too expensive, XLA writes the samples to memory.
    """

    def of_group(params: Any, instance: Instance, words: Any, offset: Any) -> Any:
        samples = [jax.tree.map(itemgetter(k), words) for k in range(unroll)]
        return loss.of_samples(params, instance, samples, offset, spec)

    @jax.custom_batching.custom_vmap
    def summed(params: Any, instance: Instance, groups: Any, offset: Any) -> Any:
        every = jax.vmap(lambda group: of_group(params, instance, group, offset))(groups)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), every)

    @summed.def_vmap
    def of_instances(size: int, batched: Any, params: Any, instance: Instance, groups: Any, offset: Any) -> Any:
        axes = jax.tree.map(lambda b: 0 if b else None, batched)
        every = jax.vmap(of_group, in_axes=(axes[0], axes[1], None, axes[3]))
        leaves, tree = jax.tree.flatten(jax.vmap(lambda group: every(params, instance, group, offset))(groups))
        pairs = [jax.lax.complex(a, b) for a, b in zip_longest(leaves[::2], leaves[1::2], fillvalue=leaves[-1])]
        parts = [part for pair in loss.sums(pairs) for part in (jnp.real(pair), jnp.imag(pair))]
        return jax.tree.unflatten(tree, parts[: len(leaves)]), jax.tree.unflatten(tree, [True] * len(leaves))

    groups = jax.tree.map(lambda column: column.reshape(-1, unroll), words)
    return summed(params, instance, groups, offset)
