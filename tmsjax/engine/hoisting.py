"""Moves out of a loop what does not depend on the loop's state.

XLA computes the random bits, the learning rate and Adam's bias correction of every step on a single thread of a GPU.
`hoist` splits a traced function in two, so that a part can be computed for many steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var, jaxpr_as_fun

from tmsjax.engine.scalars import Atom
from tmsjax.kinds.arrays import Array

T = TypeVar("T")
F = TypeVar("F")


def hoist(
    function: Callable[..., T], first: F, *rest: object, stays: Callable[[JaxprEqn], bool]
) -> tuple[Callable[[F], list[Array]], Callable[..., T]]:
    """Splits `function(first, *rest)` into `early(first)` and `late(early(first), *rest)`.

    Args:
        function: Plain JAX.
        first: Its first argument; like the others, it may be made of shapes.
        rest: The others. `early` has the equations that do not depend on them.
        stays: Whether such an equation is repeated in `late` instead of passing its result, because the result is
            larger or no more expensive than its inputs.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(first, *rest)
    closed = _without_copies(closed)
    jaxpr, leaves = closed.jaxpr, len(jax.tree.leaves(first))
    constant = set(jaxpr.constvars)
    early_or_given = constant | set(jaxpr.invars[:leaves])
    early: list[JaxprEqn] = []
    late: list[JaxprEqn] = []
    for e in jaxpr.eqns:
        if constant.issuperset(_variables(e.invars)):
            constant |= set(e.outvars)
        if early_or_given.issuperset(_variables(e.invars)):
            early.append(e)
            early_or_given |= set(e.outvars)
        else:
            late.append(e)
    needed = _variables(v for e in late for v in e.invars) | _variables(jaxpr.outvars)
    for e in reversed(early):
        if needed.intersection(e.outvars) and (stays(e) or constant.issuperset(e.outvars)):
            late.insert(0, e)
            needed |= _variables(e.invars)
    repeated = {v for e in late for v in e.outvars}
    known = [*jaxpr.invars[:leaves], *(v for e in early for v in e.outvars)]
    passed = [v for v in known if v in needed and v not in repeated]
    before = jaxpr_as_fun(_part(closed, early, jaxpr.invars[:leaves], passed))
    after = jaxpr_as_fun(_part(closed, late, passed + jaxpr.invars[leaves:], jaxpr.outvars))
    tree = jax.tree.structure(shape)
    return (
        lambda first: before(*jax.tree.leaves(first)),
        lambda values, *args: jax.tree.unflatten(tree, after(*values, *jax.tree.leaves(args))),
    )


def alone(closed: ClosedJaxpr, output: int, inputs: Sequence[int]) -> Callable[..., Array] | None:
    """The function of some inputs of a jaxpr that computes one output; None if that depends on other inputs."""
    jaxpr = closed.jaxpr
    given, out = [jaxpr.invars[k] for k in inputs], jaxpr.outvars[output]
    wanted = _variables([out])
    equations: list[JaxprEqn] = []
    for e in reversed(jaxpr.eqns):
        if wanted.intersection(e.outvars):
            equations.insert(0, e)
            wanted |= _variables(e.invars)
    if not wanted.isdisjoint(set(jaxpr.invars) - set(given)):
        return None
    function = jaxpr_as_fun(_part(closed, equations, given, [out]))
    return lambda *values: function(*values)[0]


def _without_copies(closed: ClosedJaxpr) -> ClosedJaxpr:
    """`closed` without `copy`, which has no effect here and which Pallas does not support on GPUs."""
    copied: dict[Var, Atom] = {}

    def source(x: Atom) -> Atom:
        return copied.get(x, x) if isinstance(x, Var) else x

    equations = []
    for e in closed.jaxpr.eqns:
        if e.primitive.name == "copy":
            copied[e.outvars[0]] = source(e.invars[0])
        else:
            equations.append(e.replace(invars=list(map(source, e.invars))))
    return _part(closed, equations, closed.jaxpr.invars, list(map(source, closed.jaxpr.outvars)))


def _part(closed: ClosedJaxpr, equations: list[JaxprEqn], inputs: list[Var], outputs: Sequence[Atom]) -> ClosedJaxpr:
    """Equations with the constants of `closed`."""
    jaxpr = closed.jaxpr
    names = jaxpr.debug_info._replace(arg_names=("",) * len(inputs), result_paths=("",) * len(outputs))
    return ClosedJaxpr(Jaxpr(jaxpr.constvars, inputs, outputs, equations, jaxpr.effects, names), closed.consts)


def _variables(atoms: Iterable[Atom]) -> set[Var]:
    return {x for x in atoms if isinstance(x, Var)}
