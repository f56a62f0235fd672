"""The gradient of a block of middle-sized models on CPU, in stages whose results stay in the cache.

Held as scalars, a model of 100 weights has more numbers than a processor has registers. Here every value is an array
over (models, ..., samples), samples last, so that vectors hold samples. jax traces the gradient of the loss of one
sample once; whatever depends on samples and enters a matrix product is computed for the whole batch and kept (a stage),
and everything else is fused into the stages. The gradients of single samples are summed in reductions of so few numbers
that these stay in registers. At (20, 5) this is 1.8 times as fast as scalars (docs/performance.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Container, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jaxtyping import Bool, UInt32

from tmsjax.engine.gradient import sums_of
from tmsjax.engine.scalars import CALLS, CUMULATIVE, ELEMENTWISE, VIEWS, Atom, aval
from tmsjax.kinds.arrays import Array, Bits, Count, Params, Scalar
from tmsjax.models import Instance, Problem

T = TypeVar("T")
Flag = np.bool | Bool[Array, ""]
Value = Array | np.generic | float
ACCUMULATORS = 16  # sums of one reduction, in registers
SUITED = ELEMENTWISE | VIEWS.keys() | CUMULATIVE.keys() | {"dot_general", "gather", "iota"}
INLINED = CALLS | dict.fromkeys(("custom_jvp_call", "custom_vjp_call"), "call_jaxpr")  # whose derivatives are taken
PRODUCT = 8  # terms from which a contraction is a matrix product; below, a sum of products
# XLA would split each stage over threads, which costs more than a stage. The engine's threads take whole blocks.
WHOLE_STAGES = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}


def of_block(
    params: Params,
    table: Instance,
    words: UInt32[Array, "samples columns"],
    offsets: UInt32[Array, "models columns"],
    step: Count,
    problem: Problem,
) -> Params:
    """The sum over samples of the gradient by the trained parameters, for every model of a block.

    Args:
        params: With a leading axis of models, as the instances.
        table: The instances.
        words: The bits that all models share.
        offsets: The offset of each model.
        step: The number of steps done.
        problem: The problem.
    """
    always = step >= 0
    (columns,) = kept(always, lambda words: [words.T[None]], words)
    trained, rest = _parted(params, problem)
    leaves, tree = jax.tree.flatten(trained)
    given = [x[..., None] for x in jax.tree.leaves((trained, rest, table))]
    stages = _Stages(_gradient_of_one(problem), [*given, columns, offsets[..., None]], always)
    stages.keep_operands()
    return jax.tree.unflatten(tree, stages.summed(len(leaves[0]), len(words)))


def suits(problem: Problem, layers: bool = False) -> bool:
    """Whether stages are fast for a problem: nothing but elementwise functions and matrix products, and few sums.

    `layers`: also parameters of which functions take slices, whose gradients are padded; scalars are faster then.
    """
    jaxpr = _gradient_of_one(problem).jaxpr
    sampled = _sampled(jaxpr)
    names = {e.primitive.name for e in jaxpr.eqns if not sampled.isdisjoint(e.outvars)}
    trained = problem.trained(problem.shapes).values()
    rows = sum(min(_matrix(shape)) if len(shape) > 1 else 1 for shape in trained)
    return names <= SUITED | ({"pad"} if layers else set()) and rows <= ACCUMULATORS


def kept(always: Flag, function: Callable[..., Sequence[Array | np.number]], *args: object) -> list[Array]:
    """`function(*args)`, computed apart: XLA fuses nothing into the branches of a conditional. `always` is true."""
    shapes = jax.eval_shape(function, *args)
    return lax.cond(
        always, lambda *args: list(function(*args)), lambda *_: [jnp.zeros(x.shape, x.dtype) for x in shapes], *args
    )


@lru_cache(maxsize=64)
def _gradient_of_one(problem: Problem) -> ClosedJaxpr:
    """The jaxpr of the gradient of one sample: without calls, pruned.

    Its arguments: trained and frozen parameters, instance, word, offset.
    """

    def loss(trained: Params, rest: Params, instance: Instance, word: Bits, offset: Bits) -> Scalar:
        return problem.training_loss({**trained, **rest}, instance, word, offset)

    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in problem.shapes.items()}
    word = jax.ShapeDtypeStruct((problem.columns + problem.finite,), np.uint32)
    closed = jax.make_jaxpr(jax.grad(loss))(*_parted(params, problem), problem.instance, word, word)
    closed = jax.make_jaxpr(lambda *args: _inlined(closed, args))(*closed.in_avals)
    needed = _needed(closed.jaxpr.eqns, closed.jaxpr.outvars, {*closed.jaxpr.invars, *closed.jaxpr.constvars})
    return ClosedJaxpr(closed.jaxpr.replace(eqns=needed), closed.consts)


def _parted(params: Mapping[str, T], problem: Problem) -> tuple[dict[str, T], dict[str, T]]:
    """(trained, frozen) parameters."""
    trained = problem.trained(params)
    return trained, {name: x for name, x in params.items() if name not in trained}


def _inlined(closed: ClosedJaxpr, args: Sequence[Value]) -> list[Value]:
    """Evaluates a jaxpr without its calls."""
    known = dict(zip([*closed.jaxpr.constvars, *closed.jaxpr.invars], [*closed.consts, *args], strict=True))

    def read(atom: Atom) -> Value:
        return known[atom] if isinstance(atom, Var) else atom.val

    for equation in closed.jaxpr.eqns:
        values, name = list(map(read, equation.invars)), equation.primitive.name
        inner = equation.params.get(INLINED.get(name))
        out = _bound(equation, values) if inner is None else _inlined(inner, values)
        known.update(zip(equation.outvars, out, strict=True))
    return list(map(read, closed.jaxpr.outvars))


def _bound(equation: JaxprEqn, values: Sequence[Value]) -> list[Array]:
    """The results of an equation."""
    out = equation.primitive.bind(*values, **equation.params)
    return out if equation.primitive.multiple_results else [out]


class _Stages:
    """Evaluates a jaxpr in stages. Values have the shape (models or 1, ..., samples or 1)."""

    def __init__(self, closed: ClosedJaxpr, given: Sequence[Array], always: Flag):
        jaxpr = closed.jaxpr
        self.jaxpr, self.always = jaxpr, always  # `always` is true, which XLA does not know
        constants = [_lifted(np.asarray(x)) for x in closed.consts]
        self.known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *given], strict=True))

    def keep_operands(self) -> None:
        """Computes, as a stage each, what depends on samples and enters a matrix product."""
        sampled = _sampled(self.jaxpr)
        for e in self.jaxpr.eqns:
            for v in _inputs([e]) if e.primitive.name == "dot_general" else ():
                if v in sampled and v not in self.known:
                    (self.known[v],) = self._stage([v], lambda x: [x])

    def summed(self, models: int, samples: int) -> list[Array]:
        """The outputs, summed over samples: (models, ...) each. Outputs of the same length share reductions."""
        outputs = self.jaxpr.outvars
        length = {k: max(_matrix(aval(v).shape)) for k, v in enumerate(outputs)}
        sums: dict[int, Array] = {}
        for common in set(length.values()):
            places = [k for k in length if length[k] == common]
            shapes = [aval(outputs[k]).shape for k in places]

            def finish(*values: Array, shapes: list[tuple[int, ...]] = shapes) -> list[Array]:
                full = [jnp.broadcast_to(x, (models, *s, samples)) for x, s in zip(values, shapes, strict=True)]
                flat = [x.reshape(models, *_matrix(s), samples) for x, s in zip(full, shapes, strict=True)]
                return _summed([y if x.ndim > 4 else x for x, y in zip(full, flat, strict=True)])

            sums.update(zip(places, self._stage([outputs[k] for k in places], finish), strict=True))
        return [sums[k].reshape(models, *aval(v).shape) for k, v in enumerate(outputs)]

    def _stage(self, outputs: Sequence[Atom], finish: Callable[..., list[Array]]) -> list[Array]:
        """`finish` of some values, kept."""
        equations = _needed(self.jaxpr.eqns, outputs, self.known)
        inputs = list(dict.fromkeys(v for v in [*_inputs(equations), *outputs] if v in self.known))

        def run(*values: Array) -> list[Array]:
            here = dict(zip(inputs, values, strict=True))

            def read(atom: Atom) -> Array:
                return here[atom] if isinstance(atom, Var) else _lifted(np.asarray(atom.val, aval(atom).dtype))

            for e in equations:
                here.update(zip(e.outvars, _applied(e, list(map(read, e.invars))), strict=True))
            return finish(*map(read, outputs))

        return kept(self.always, run, *(self.known[v] for v in inputs))


def _sampled(jaxpr: Jaxpr) -> set[Var]:
    """The variables that depend on the sample's word, the last input but one."""
    found = {jaxpr.invars[-2]}
    for e in jaxpr.eqns:
        if not found.isdisjoint(_inputs([e])):
            found |= set(e.outvars)
    return found


def _needed(equations: Sequence[JaxprEqn], outputs: Sequence[Atom], known: Container[Var]) -> list[JaxprEqn]:
    """The equations that make `outputs` of what is known, in their order."""
    open_, found = set(_variables(outputs)), []
    for e in reversed(equations):
        if any(v in open_ and v not in known for v in e.outvars):
            found.append(e)
            open_ |= set(_inputs([e]))
    return found[::-1]


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    """The shape with all axes but the last as one."""
    return math.prod(shape[:-1]), math.prod(shape[-1:])


def _summed(arrays: list[Array]) -> list[Array]:
    """Arrays (models, rows, columns, samples) summed over samples; the shorter of rows and columns may be missing."""
    turned = [x.ndim == 4 and x.shape[1] > x.shape[2] for x in arrays]
    upright = [jnp.swapaxes(x, 1, 2) if turn else x for x, turn in zip(arrays, turned, strict=True)]
    rows = [list(jnp.moveaxis(x, 1, 0)) if x.ndim == 4 else [x] for x in upright]
    leaves = [row for each in rows for row in each]
    sums = [s for k in range(0, len(leaves), ACCUMULATORS) for s in sums_of(leaves[k : k + ACCUMULATORS], -1)]
    ends = itertools.pairwise(itertools.accumulate(map(len, rows), initial=0))
    out = [jnp.stack(sums[a:b], 1) if x.ndim == 4 else sums[a] for x, (a, b) in zip(arrays, ends, strict=True)]
    return [jnp.swapaxes(x, 1, 2) if turn else x for x, turn in zip(out, turned, strict=True)]


def _inputs(equations: Sequence[JaxprEqn]) -> list[Var]:
    return _variables([x for e in equations for x in e.invars])


def _variables(atoms: Sequence[Atom]) -> list[Var]:
    return [x for x in atoms if isinstance(x, Var)]


def _lifted(x: Array) -> Array:
    """A value that depends on neither model nor sample."""
    return x[None, ..., None]


def _applied(equation: JaxprEqn, values: list[Array]) -> list[Array]:
    """The results of an equation, on values with axes of models and samples."""
    name, rank = equation.primitive.name, len(aval(equation.outvars[0]).shape)
    if name in ELEMENTWISE:
        full = [x.reshape(x.shape[0], *x.shape[1:-1] or (1,) * rank, x.shape[-1]) for x in values]
        return _bound(equation, jnp.broadcast_arrays(*full))
    if name == "dot_general" and not any(equation.params["dimension_numbers"][1]):
        return [_contracted(values[0], values[1], *equation.params["dimension_numbers"][0])]
    mapped = [(x.shape[0] > 1, x.shape[-1] > 1) for x in values]
    given = [x if of_model else x[0] for x, (of_model, _) in zip(values, mapped, strict=True)]
    given = [x if of_sample else x[..., 0] for x, (_, of_sample) in zip(given, mapped, strict=True)]
    function: Callable = lambda *x: _bound(equation, x)  # noqa: E731
    of_models, of_samples = (any(each) for each in zip(*mapped, strict=True))
    if of_samples:
        function = jax.vmap(function, [-1 if of_sample else None for _, of_sample in mapped], -1)
    if of_models:
        function = jax.vmap(function, [0 if of_model else None for of_model, _ in mapped])
    out = [x if of_samples else x[..., None] for x in function(*given)]
    return [x if of_models else x[None] for x in out]


def _contracted(x: Array, y: Array, of_x: Sequence[int], of_y: Sequence[int]) -> Array:
    """`dot_general` without batch dimensions: a product of matrices, or a sum of products."""
    for matrix, vector, axes in ((x, y, of_x), (y, x, of_y)):
        weights = matrix.ndim == 4 and matrix.shape[-1] == 1 and matrix.shape[0] == vector.shape[0]
        if weights and vector.ndim == 3 and vector.shape[-1] > 1 and vector.shape[1] >= PRODUCT:
            matrix = matrix[..., 0] if axes[0] == 1 else jnp.swapaxes(matrix[..., 0], 1, 2)
            return jnp.einsum("bij,bjs->bis", matrix, vector)
    x = jnp.moveaxis(x, [axis + 1 for axis in of_x], range(1, 1 + len(of_x)))
    y = jnp.moveaxis(y, [axis + 1 for axis in of_y], range(1, 1 + len(of_y)))
    free_x, free_y = x.ndim - 2 - len(of_x), y.ndim - 2 - len(of_y)

    def product(place: tuple[int, ...]) -> Array:
        a, b = x[(slice(None), *place)], y[(slice(None), *place)]
        return a.reshape(*a.shape[:-1], *(1,) * free_y, a.shape[-1]) * b.reshape(len(b), *(1,) * free_x, *b.shape[1:])

    places = list(np.ndindex(*x.shape[1 : 1 + len(of_x)]))
    return sum(map(product, places[1:]), product(places[0]))
