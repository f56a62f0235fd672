"""Advances a block by a segment of steps.

On CPU the steps run one by one. Other devices run them in chunks of known length: what depends only on a step's number
(random bits, learning rate, bias correction) is computed for a chunk at once, and no step waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn
from jaxtyping import Bool

from tmsjax.engine import gradient, stages, streams, train
from tmsjax.engine.hoisting import hoist
from tmsjax.engine.kernel import LANES, Row, in_registers
from tmsjax.engine.plan import Plan
from tmsjax.engine.scalars import Held, HeldParams, Scalars, joined, split
from tmsjax.engine.streams import Shared, Words
from tmsjax.engine.train import TrainState
from tmsjax.kinds.arrays import Array, Count, Params
from tmsjax.models import Instance, Problem

T = TypeVar("T")
Arrays = list[Array]
Now = tuple[Count, Shared]  # a step's number, and what all steps share


def axes(tree: object) -> object:
    """vmap's axes for a tree of stacked arrays: 0, and None for scalars."""
    return jax.tree.map(lambda leaf: 0 if leaf.ndim else None, tree)


def divide(tree: T, cut: Plan) -> T:
    """Converts arrays (block, ...) to Scalars of (block,) vectors, if the plan holds models as scalars."""
    return jax.tree.map(lambda x: split(x) if x.ndim > 1 else x, tree) if cut.scalars else tree


def advance(
    state: TrainState, table: Instance, shared: Shared, stop: Count, *, problem: Problem, cut: Plan, interpret: bool
) -> TrainState:
    """The state of a block after step `stop`. All arrays have a leading instance axis; step counts have none."""
    run = _one_by_one if cut.chunk == 1 else _in_chunks
    if cut.kernel == "pallas":
        run = partial(_in_kernel, interpret=interpret)
    flat = cut.staged and problem.optimizer.plain  # Adam on (block, m n) is faster than on (block, m, n)
    held = jax.tree.map(lambda x: x.reshape(len(x), -1) if x.ndim > 2 else x, state) if flat else divide(state, cut)
    after = joined(run(held, divide(table, cut), shared, stop, problem, cut))
    return jax.tree.map(lambda new, old: new.reshape(old.shape), after, state)


def _one_by_one(
    state: TrainState, table: Instance, shared: Shared, stop: Count, problem: Problem, cut: Plan
) -> TrainState:
    """One loop over steps. Computes offsets one step ahead, in a kernel over models (see docs/performance.md)."""
    constant = streams.words(0, shared, problem, cut.scalars) if problem.finite else None

    def step(k: Count, carry: tuple[TrainState, Held]) -> tuple[TrainState, Held]:
        state, offsets = carry
        words = streams.words(k, shared, problem, cut.scalars) if constant is None else constant
        after = _step(state, table, words, offsets, shared, problem, cut)
        return after, _offsets(k + 1, table, shared, problem)

    start = state, _offsets(state.step, table, shared, problem)
    return jax.lax.fori_loop(state.step, stop, step, start)[0]


def _in_chunks(
    state: TrainState, table: Instance, shared: Shared, stop: Count, problem: Problem, cut: Plan
) -> TrainState:
    """Chunks of `cut.chunk` steps. The last chunk discards the steps from `stop` on.

    All segments run the same program, so the segment length cannot change the bits.
    """

    def numbered(now: Now, table: Instance, arrays: Arrays) -> Arrays:
        k, shared = now
        before, offsets = _filled(state, k, arrays), _offsets(k, table, shared, problem)
        words = streams.words(k, shared, problem, cut.scalars)
        return _arrays(_step(before, table, words, offsets, shared, problem, cut))

    arrays = _arrays(state)
    of_step, step = hoist(numbered, (state.step, shared), table, arrays, stays=_rearranges)
    drawn = jax.eval_shape(of_step, (state.step, shared))
    of_table, step = hoist(_swapped(step), table, drawn, arrays, stays=lambda e: e.primitive.name != "div")
    quotients = of_table(table)

    def one(arrays: Arrays, given: tuple[Arrays, Bool[Array, ""]]) -> tuple[Arrays, None]:
        drawn, active = given
        new = step(quotients, drawn, arrays)
        return jax.tree.map(lambda new, old: jnp.where(active, new, old), new, arrays), None

    def chunk(carry: tuple[Count, Arrays]) -> tuple[Count, Arrays]:
        first, arrays = carry
        steps = first + jnp.arange(cut.chunk, dtype=jnp.int32)
        every = jax.vmap(lambda k: of_step((k, shared)))(steps)
        arrays, _ = jax.lax.scan(one, arrays, (every, steps < stop))
        return first + cut.chunk, arrays

    _, arrays = jax.lax.while_loop(lambda carry: carry[0] < stop, chunk, (state.step, arrays))
    return _filled(state, jnp.maximum(state.step, stop), arrays)


def _in_kernel(
    state: TrainState, table: Instance, shared: Shared, stop: Count, problem: Problem, cut: Plan, interpret: bool
) -> TrainState:
    """Chunks of `cut.chunk` steps, each in one launch of a kernel that keeps the state in registers."""
    rows, tree = jax.tree.flatten(table)
    trained = problem.trained(state.params)
    few = jax.tree.map(lambda x: jax.ShapeDtypeStruct((LANES,), x.dtype), (table, _arrays(state), trained))

    def updated(now: Now, table: Instance, arrays: Arrays, grads: HeldParams) -> Arrays:
        k, shared = now
        before = _filled(state, k, arrays)
        one = partial(train.update, shared=shared, problem=problem)
        return _arrays(jax.vmap(one, in_axes=(0, axes(before), 0), out_axes=axes(before))(grads, before, table))

    def shifted(now: Now, table: Instance) -> Held:
        return _offsets(now[0], table, now[1], problem)

    of_offsets, offsets = hoist(shifted, (state.step, shared), few[0], stays=_rearranges)
    of_update, update = hoist(updated, (state.step, shared), *few, stays=_rearranges)
    count_of_offsets = len(jax.eval_shape(of_offsets, (state.step, shared)))

    def step(drawn: Arrays, row: Row, fixed: Arrays, arrays: Arrays) -> Arrays:
        table = jax.tree.unflatten(tree, fixed)
        shift = offsets(drawn[:count_of_offsets], table)
        params = _filled(state, 0, arrays).params

        def add(group: Count, sums: HeldParams) -> HeldParams:
            words = [Scalars(tuple(row(group * cut.unroll + j)), (problem.columns,)) for j in range(cut.unroll)]
            every = jax.vmap(lambda params, own, shift: gradient.of_samples(params, own, words, shift, problem))
            return jax.tree.map(jnp.add, sums, every(params, table, shift))

        zeros = jax.tree.map(jnp.zeros_like, problem.trained(params))
        sums = jax.lax.fori_loop(0, problem.batch // cut.unroll, add, zeros)
        grads = jax.tree.map(lambda g: g * np.float32(1 / problem.batch), sums)
        return update(drawn[count_of_offsets:], table, arrays, grads)

    def chunk(carry: tuple[Count, Arrays]) -> tuple[Count, Arrays]:
        first, arrays = carry
        steps = first + jnp.arange(cut.chunk, dtype=jnp.int32)
        drawn = jax.vmap(lambda k: [*of_offsets((k, shared)), *of_update((k, shared))])(steps)
        words = jax.tree.leaves(jax.vmap(lambda k: streams.words(k, shared, problem, scalars=True))(steps))
        count = jnp.minimum(stop - first, cut.chunk)
        return first + count, in_registers(step, arrays, rows, drawn, words, count, interpret)

    last, arrays = jax.lax.while_loop(lambda carry: carry[0] < stop, chunk, (state.step, _arrays(state)))
    return _filled(state, last, arrays)


def _step(
    state: TrainState, table: Instance, words: Words, offsets: Held, shared: Shared, problem: Problem, cut: Plan
) -> TrainState:
    """One step of all instances, on the shared `words` and the `offsets` of each."""
    if cut.staged:
        grads = _staged_gradient(state, table, words, offsets, problem, cut)
        one = partial(train.update, shared=shared, problem=problem)
        return jax.vmap(one, in_axes=(0, axes(state), axes(table)), out_axes=axes(state))(grads, state, table)
    one = partial(train.step, shared=shared, problem=problem, cut=cut)
    every = jax.vmap(one, in_axes=(axes(state), axes(table), None, 0), out_axes=axes(state))
    return every(state, table, words, offsets)


def _staged_gradient(
    state: TrainState, table: Instance, words: Words, offsets: Held, problem: Problem, cut: Plan
) -> Params:
    """The gradient of the mean loss by the trained parameters, in the shapes of `state.params`."""
    assert isinstance(words, jax.Array)  # as staged models are
    assert isinstance(offsets, jax.Array)
    params = {name: x.reshape(len(x), *problem.shapes[name]) for name, x in state.params.items()}

    def of_chunk(k: int | Count) -> Params:
        chunk = jax.lax.dynamic_slice_in_dim(words, k * cut.microbatch, cut.microbatch)
        return stages.of_block(params, table, chunk, offsets, state.step, problem)

    grads = train.mean_over_chunks(of_chunk, problem.trained(params), problem, cut)
    return jax.tree.map(lambda g, x: g.reshape(x.shape), grads, problem.trained(state.params))


def _offsets(k: Count, table: Instance, shared: Shared, problem: Problem) -> Held:
    return jax.vmap(lambda row: streams.offset(k, row, shared, problem), in_axes=(axes(table),))(table)


def _arrays(state: TrainState) -> Arrays:
    """The leaves of a state that have an instance axis. The others all count steps."""
    return [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]


def _filled(state: TrainState, step: int | Count, arrays: Arrays) -> TrainState:
    """`state` with other arrays, after `step` steps."""
    rest = iter(arrays)
    return jax.tree.map(lambda leaf: next(rest) if leaf.ndim else step, state)


def _swapped(function: Callable[..., T]) -> Callable[..., T]:
    return lambda a, b, *rest: function(b, a, *rest)


def _rearranges(equation: JaxprEqn) -> bool:
    """Whether a jaxpr's equation only rearranges its input, perhaps into something larger."""
    return equation.primitive.name in ("broadcast_in_dim", "reshape", "slice", "squeeze", "transpose")
