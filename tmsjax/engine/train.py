"""Training of one instance: state, init and step. Only programs.py and segment.py vmap them over instances."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.extend.core import ClosedJaxpr

from tmsjax.engine import gradient as gradients
from tmsjax.engine import streams
from tmsjax.engine.hoisting import alone
from tmsjax.engine.plan import EVALUATION_CHUNK, Plan
from tmsjax.engine.scalars import HeldParams, on_scalars
from tmsjax.engine.streams import Offset, Shared, Words
from tmsjax.kinds.arrays import Count, Params, Scalar
from tmsjax.models import Instance, Problem

EVALUATION_SAMPLES = 2**16


@struct.dataclass
class TrainState:
    """State of one instance. All instances share the leaves without an instance axis (step, optimizer counts)."""

    step: Count  # steps done
    params: Params
    opt_state: optax.OptState  # of the trained parameters


def init(instance: Instance, shared: Shared, problem: Problem) -> TrainState:
    """The state before step 0. Random numbers depend only on the seed and the instance's identity."""
    sizes = [int(np.prod(shape)) for shape in problem.shapes.values()]
    normals = jnp.split(streams.normals(instance, shared, sum(sizes)), np.cumsum(sizes)[:-1])
    named = {name: part.reshape(shape) for part, (name, shape) in zip(normals, problem.shapes.items(), strict=True)}
    params = problem.init(named, instance)
    opt_state = problem.optimized(instance, shared.steps).init(problem.trained(params))
    return TrainState(jnp.int32(0), params, opt_state)


@lru_cache(maxsize=64)
def counters(problem: Problem) -> tuple[bool, ...]:
    """Which leaves of the optimizer's state count the steps. All instances share these."""
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in problem.shapes.items()}
    given = params, problem.instance, jax.ShapeDtypeStruct((), np.int32)

    def first(params: Params, row: Instance, steps: Count) -> optax.OptState:
        return problem.optimized(row, steps).init(problem.trained(params))

    state = jax.eval_shape(first, *given)
    whole = [jnp.issubdtype(x.dtype, jnp.integer) for x in jax.tree.leaves(state)]
    if problem.optimizer.plain or not any(whole):
        return tuple(whole)

    def after(state: optax.OptState, grads: Params, params: Params, row: Instance, steps: Count) -> optax.OptState:
        return problem.update(grads, state, params, row, steps)[1]

    start = jax.make_jaxpr(first)(*given)
    step = jax.make_jaxpr(after)(state, problem.trained(params), *given)
    return tuple(is_whole and _counts(start, step, k) for k, is_whole in enumerate(whole))


def _counts(start: ClosedJaxpr, step: ClosedJaxpr, k: int) -> bool:
    """Whether output k of `start` is 0, and that of `step` its input k plus 1, whatever the other inputs."""
    zero, increased = alone(start, k, []), alone(step, k, [k])
    if zero is None or increased is None or step.in_avals[k].shape:
        return False
    with jax.ensure_compile_time_eval():
        return bool(zero() == 0) and all(bool(increased(np.int32(n)) == n + 1) for n in (0, 1, 2, 1000, 2**20))


def gradient(
    params: HeldParams, instance: Instance, bits: Words, shift: Offset, problem: Problem, cut: Plan
) -> HeldParams:
    """The gradient of the mean loss at `params`, on samples from a step's shared `bits` and the instance's `shift`.

    Has the trained parameters only. Reads the bits in chunks of `cut.microbatch` samples.
    """
    if problem.trains_exactly:
        return gradients.exact(params, instance, problem)

    def of_chunk(k: int | Count) -> HeldParams:
        words = jax.tree.map(lambda w: jax.lax.dynamic_slice_in_dim(w, k * cut.microbatch, cut.microbatch), bits)
        return gradients.of_batch(params, instance, words, shift, problem, cut.unroll)

    return mean_over_chunks(of_chunk, problem.trained(params), problem, cut)


def mean_over_chunks(
    of_chunk: Callable[[int | Count], HeldParams], like: HeldParams, problem: Problem, cut: Plan
) -> HeldParams:
    """The mean over a batch; `of_chunk`: number of a chunk -> the sum over its `cut.microbatch` samples, as `like`."""

    def add(k: Count, so_far: HeldParams) -> HeldParams:
        return jax.tree.map(jnp.add, so_far, of_chunk(k))

    chunks, zeros = problem.batch // cut.microbatch, jax.tree.map(jnp.zeros_like, like)
    summed = of_chunk(0) if chunks == 1 else jax.lax.fori_loop(0, chunks, add, zeros)
    return jax.tree.map(lambda g: g * np.float32(1 / problem.batch), summed)


def step(
    state: TrainState, instance: Instance, bits: Words, shift: Offset, shared: Shared, problem: Problem, cut: Plan
) -> TrainState:
    """One optimizer step on samples from `streams.words` (`bits`) and `streams.offset` (`shift`) of `state.step`."""
    return update(gradient(state.params, instance, bits, shift, problem, cut), state, instance, shared, problem)


def update(grads: HeldParams, state: TrainState, instance: Instance, shared: Shared, problem: Problem) -> TrainState:
    """The state after a step along the gradient `grads` of the mean loss."""
    given = (grads, state.opt_state, state.params, instance, shared.steps)
    return TrainState(state.step + 1, *on_scalars(problem.update, *given))


def noise_free_loss(
    params: HeldParams, instance: Instance, shared: Shared, problem: Problem, chunk: int = EVALUATION_CHUNK
) -> Scalar:
    """The exact loss if one is known, else the mean over an evaluation batch of 65,536 samples, without penalty.

    The batch depends on the seed and the cell's identity, so all replicas of a cell share it. Holds `chunk` samples at
    once, a divisor of EVALUATION_CHUNK.
    """
    if problem.exact is not None:
        return gradients.exact_loss(params, instance, problem)
    return _evaluated(partial(on_scalars, problem.loss, params, instance), instance, shared, problem, chunk)


def zero_model_loss(
    params: HeldParams, instance: Instance, shared: Shared, problem: Problem, chunk: int = EVALUATION_CHUNK
) -> Scalar:
    """The loss of a model whose output is 0: the mean over the evaluation batch. Targets may use frozen parameters."""
    return _evaluated(partial(on_scalars, problem.zero_loss, params, instance), instance, shared, problem, chunk)


def _evaluated(loss: Callable[..., Scalar], instance: Instance, shared: Shared, problem: Problem, chunk: int) -> Scalar:
    """The mean over the evaluation batch of a loss of one sample; `loss`: (word, shift) -> number."""
    shift = streams.evaluation_offset(instance, shared, problem)

    def add(k: Count, so_far: Scalar) -> Scalar:
        words = streams.evaluation_words(k, EVALUATION_CHUNK, instance, shared, problem)

        def add_part(j: Count, so_far: Scalar) -> Scalar:
            part = jax.tree.map(lambda w: jax.lax.dynamic_slice_in_dim(w, j * chunk, chunk), words)
            return so_far + jnp.sum(jax.vmap(lambda word: loss(word, shift))(part))

        return jax.lax.fori_loop(0, EVALUATION_CHUNK // chunk, add_part, so_far)

    return jax.lax.fori_loop(0, EVALUATION_SAMPLES // EVALUATION_CHUNK, add, jnp.float32(0)) / EVALUATION_SAMPLES
