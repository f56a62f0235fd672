"""The optimizer of one instance, from the entries that a spec names, and its trial before a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tmsjax.kinds import called
from tmsjax.kinds.arrays import Array, Count, Number, Params
from tmsjax.kinds.trial import Refuse, attempt, check_traced
from tmsjax.models.instance import Instance

if TYPE_CHECKING:
    from tmsjax.models.problem import Problem

STEPS = np.int32(1000)  # of a trial


def optimized(problem: Problem, instance: Instance, steps: Count) -> optax.GradientTransformation:
    """The optax optimizer with the learning rate, weight decay and options of an instance."""
    optimizer, own = problem.optimizer, problem.options_of("train", instance)
    named = {key: own[key] for key in optimizer.options if key in own}
    named |= {"weight_decay": instance.weight_decay, "momentum": problem.momentum}
    if optimizer.seeded:
        named["seed"] = instance.identity[0]
    if "decays" in optimizer.uses:
        named |= {"decaying": problem.decays, "decays": by_parameter(own, "decays")}

    def rate(step: Count) -> Number:
        return instance.learning_rate * factor(problem, instance, step, steps)

    made = called(optimizer.make, rate, options=named)
    return made if optimizer.plain or not isinstance(made, optax.GradientTransformation) else _with_plain_keys(made)


def factor(problem: Problem, instance: Instance, step: Count, steps: Count) -> Number:
    """The schedule's factor of the learning rate."""
    schedule, own = problem.schedule, problem.options_of("train", instance)
    return called(schedule.factor, step, steps, options={key: own[key] for key in schedule.options if key in own})


def by_parameter(options: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The values of a table of [train], such as "rates", by the name of the parameter."""
    return {name.removeprefix(f"{key}."): x for name, x in options.items() if name.startswith(f"{key}.")}


def _with_plain_keys(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Keeps the random keys of a state as integers, which checkpoints can hold."""

    def plain(x: Array) -> Array:
        return jax.random.key_data(x) if _is_key(x) else x

    def init(params: Params) -> optax.OptState:
        return jax.tree.map(plain, inner.init(params))

    def update(grads: Params, state: optax.OptState, params: Params | None = None) -> tuple[Params, optax.OptState]:
        kinds = jax.eval_shape(inner.init, params)
        keyed = jax.tree.map(lambda x, kind: jax.random.wrap_key_data(x) if _is_key(kind) else x, state, kinds)
        updates, keyed = inner.update(grads, keyed, params)
        return updates, jax.tree.map(plain, keyed)

    return optax.GradientTransformation(init, update)


def _is_key(x: object) -> bool:
    return jnp.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.prng_key)


def check_schedule(problem: Problem, row: Instance, refuse: Refuse) -> None:
    """Raises `refuse(...)` unless the factor is a number."""
    jaxpr, found = attempt(
        "factor(step, steps)",
        refuse,
        jax.make_jaxpr(lambda steps, step, row: factor(problem, row, step, steps), return_shape=True),
        STEPS,
        np.int32(0),
        row,
    )
    if not isinstance(found, jax.ShapeDtypeStruct) or found.shape or np.dtype(found.dtype).kind not in "fi":
        gives = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", found)
        raise refuse(f"factor gives {gives}, not a number".replace("'", ""))
    used = {x for e in jaxpr.jaxpr.eqns for x in e.invars if isinstance(x, jax.extend.core.Var)}
    if problem.schedule.endless and jaxpr.jaxpr.invars[0] in used | set(jaxpr.jaxpr.outvars):
        raise refuse("endless = True, but factor depends on the number of steps; leave endless out")


def check_optimizer(problem: Problem, row: Instance, refuse: Refuse) -> None:
    """Raises `refuse(...)` unless the optimizer is optax's and its updates fit the parameters."""
    made = attempt("make", refuse, optimized, problem, row, STEPS)
    if not isinstance(made, optax.GradientTransformation):
        raise refuse(f"make gives {made!r:.60}, not an optax.GradientTransformation")
    params = problem.trained({name: np.zeros(shape, np.float32) for name, shape in problem.shapes.items()})
    state = attempt("init", refuse, jax.eval_shape, made.init, params)
    check_traced(
        "update(gradient, state, parameters)",
        refuse,
        lambda g, s, p: made.update(g, s, p)[0],
        (params, state, params),
        params,
    )
    check_traced(
        "the state after update", refuse, lambda g, s, p: made.update(g, s, p)[1], (params, state, params), state
    )
