"""The gradient of the loss of one instance, summed over samples.

Arrays: the gradient of the sum, which consists of matrix products over the samples. Scalars: the sum of the gradients
of single samples, with all parameters in one reduction, which XLA compiles to one kernel that keeps a model's
parameters and sums in registers; separate sums would each repeat the forward pass. The lanes of a CPU's vectors hold
samples, those of a GPU instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.engine.scalars import Held, HeldParams, Scalars, held_as_scalars, joined, on_scalars
from tmsjax.kinds.arrays import Array, Scalar
from tmsjax.models import Instance, Problem


def of_batch(
    params: HeldParams, instance: Instance, words: Held, offset: Held, problem: Problem, unroll: int
) -> HeldParams:
    """The sum over samples of the gradient of `Problem.training_loss` by the trained parameters.

    words: (samples, columns) uint32, or Scalars of (samples,) columns. unroll: samples unrolled in the loop's body, on
    devices whose lanes hold instances.
    """
    if not held_as_scalars(params):
        return jax.grad(_by_trained(_total, params, problem))(problem.trained(params), instance, words, offset, problem)
    if unroll > 1:
        return _in_lanes(params, instance, words, offset, problem, unroll)
    every = jax.vmap(lambda word: of_samples(params, instance, [word], offset, problem))(words)
    leaves, tree = jax.tree.flatten(every)
    return jax.tree.unflatten(tree, sums_of(leaves))


def of_samples(
    params: HeldParams, instance: Instance, words: Sequence[Held], offset: Held, problem: Problem
) -> HeldParams:
    """The gradient summed over a few samples, of an instance held as scalars. words: of each sample, Scalars."""

    def loss(params: HeldParams) -> Scalar:
        losses = (on_scalars(problem.training_loss, params, instance, word, offset) for word in words)
        return sum(losses)  # type: ignore[return-value]  # there are words

    return jax.grad(_by_trained(loss, params, problem))(problem.trained(params))


def exact(params: HeldParams, instance: Instance, problem: Problem) -> HeldParams:
    """The gradient of the exact loss."""
    loss = partial(exact_loss, instance=instance, problem=problem)
    return jax.grad(_by_trained(loss, params, problem))(problem.trained(params))


def exact_loss(params: HeldParams, instance: Instance, problem: Problem) -> Scalar:
    """The exact loss."""
    if problem.exact_on_arrays or not held_as_scalars(params):
        return on_scalars(problem.exact_loss, *joined((params, instance)))
    return problem.exact_of_overlaps(*on_scalars(problem.overlaps, params, instance))


def _by_trained(loss: Callable[..., Scalar], params: HeldParams, problem: Problem) -> Callable[..., Scalar]:
    """`loss(params, ...)` as a function of the trained parameters."""
    return lambda trained, *given: loss({**params, **trained}, *given)


def _total(params: HeldParams, instance: Instance, words: Held, offset: Held, problem: Problem) -> Scalar:
    return jnp.sum(jax.vmap(lambda word: on_scalars(problem.training_loss, params, instance, word, offset))(words))


def sums_of(leaves: Sequence[Array], axis: int = 0) -> list[Array]:
    """The sums of arrays over one axis, in one reduction."""
    zeros = [np.zeros((), leaf.dtype) for leaf in leaves]
    return jax.lax.reduce(
        leaves, zeros, lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (axis % leaves[0].ndim,)
    )


def _in_lanes(
    params: HeldParams, instance: Instance, words: Held, offset: Held, problem: Problem, unroll: int
) -> HeldParams:
    """The sum of the gradients of single samples, `unroll` samples at a time.

    Under vmap over instances, the axis of groups of samples comes first and that of instances last. Sums gradients in
    pairs, as complex numbers: for every array in a reduction XLA's cost model counts the arithmetic of a sample once
    more, and where this looks too expensive, XLA writes the samples to memory.
    """

    def of_group(params: HeldParams, instance: Instance, words: Held, offset: Held) -> HeldParams:
        samples = [jax.tree.map(itemgetter(k), words) for k in range(unroll)]
        return of_samples(params, instance, samples, offset, problem)

    @jax.custom_batching.custom_vmap
    def summed(params: HeldParams, instance: Instance, groups: Held, offset: Held) -> HeldParams:
        every = jax.vmap(lambda group: of_group(params, instance, group, offset))(groups)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), every)

    @summed.def_vmap
    def of_instances(
        size: int, batched: list, params: HeldParams, instance: Instance, groups: Held, offset: Held
    ) -> tuple[HeldParams, Mapping[str, Scalars | bool]]:
        axes = jax.tree.map(lambda b: 0 if b else None, batched)
        every = jax.vmap(of_group, in_axes=(axes[0], axes[1], None, axes[3]))
        leaves, tree = jax.tree.flatten(jax.vmap(lambda group: every(params, instance, group, offset))(groups))
        pairs = [jax.lax.complex(a, b) for a, b in zip_longest(leaves[::2], leaves[1::2], fillvalue=leaves[-1])]
        parts = [part for pair in sums_of(pairs) for part in (jnp.real(pair), jnp.imag(pair))]
        return jax.tree.unflatten(tree, parts[: len(leaves)]), jax.tree.unflatten(tree, [True] * len(leaves))

    groups = jax.tree.map(lambda column: column.reshape(-1, unroll), words)
    return summed(params, instance, groups, offset)
