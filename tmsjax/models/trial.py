"""Tries entries that users added with a spec's sizes, before its run: shapes, tracing by jax, stated probabilities."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np
from jaxtyping import Float

from tmsjax.errors import SpecError
from tmsjax.kinds import MEASURES, REGISTRIES, Drawn
from tmsjax.kinds.measures import check_measure
from tmsjax.kinds.trial import Refuse, attempt, check_traced
from tmsjax.models.instances import Instance, instances
from tmsjax.models.problem import Problem, bind
from tmsjax.models.sampling import Sampler, with_own
from tmsjax.spec import Boxes, Spec

ADDED = ("model.family", "model.activation", "data.activity", "data.values")  # keys of entries that a loss calls
Pairs = Float[np.ndarray, "feature feature"]
CHANCE = 6  # standard errors by which a stated probability may differ from a simulation


def check_spec(spec: Spec) -> None:
    """Tries what users added and the spec names. Raises SpecError for the first entry that does not fit."""

    def refuse(key: str, name: str) -> Refuse:
        return lambda why: SpecError(spec.name, [(key, f"{name!r}: {why}")])

    for name in spec.record.measures:
        if MEASURES.source(name) is not None:
            check_measure(MEASURES[name], (2, spec.model.hidden, spec.model.features), refuse("record.measures", name))
    if not (added := _added(spec)):
        return
    for last in (False, True) if "data.activity" in added else ():
        _check_activity(spec, _instance(spec, last), refuse("data.activity", spec.data.activity))
    problem = bind(spec)
    if "model.family" in added:
        _check_family(problem, _instance(spec), refuse("model.family", spec.model.family))
    attempt("the loss", refuse(*next(iter(added.items()))), _trace, problem)


def _added(spec: Spec) -> dict[str, str]:
    """The entries that users added and the loss calls: name by key."""
    names = {key: getattr(getattr(spec, key.partition(".")[0]), key.partition(".")[2]) for key in ADDED}
    return {key: name for key, name in names.items() if REGISTRIES[key].source(name) is not None}


def _instance(spec: Spec, last: bool = False) -> Instance:
    """The first instance of the grid, or the last."""
    single = Boxes(spec.shape, (1,) * len(spec.shape))
    return jax.tree.map(lambda leaf: leaf[0], instances(spec, single[len(single) - 1 if last else 0]))


@lru_cache(maxsize=64)
def _trace(problem: Problem) -> None:
    """Traces the gradients of the losses, sampled and exact. Raises what the user's functions raise."""
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in problem.shapes.items()}
    word = jax.ShapeDtypeStruct((problem.columns + problem.finite,), np.uint32)
    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(jax.grad(problem.training_loss), params, problem.instance, word, word)
        if problem.exact is not None:
            jax.eval_shape(jax.grad(problem.exact_loss), params, problem.instance)


def _check_family(problem: Problem, row: Instance, refuse: Refuse) -> None:
    n, m, family = problem.features, problem.hidden, problem.family
    outputs = attempt("outputs", refuse, family.outputs, n)
    if type(outputs) is not int or not 1 <= outputs <= n:
        raise refuse(f"outputs gives {outputs!r}, not a whole number from 1 to {n}, the number of features")
    zero, x, y = np.float32(0), np.zeros(n, np.float32), np.zeros(outputs, np.float32)
    rng = np.random.default_rng(0)
    params = {k: jax.numpy.asarray(rng.standard_normal(s, np.float32)) for k, s in problem.shapes.items()}
    check_traced("init", refuse, lambda p: problem.init(p, row), (params,), params)
    check_traced("apply", refuse, lambda p, x: problem.output(p, x, row), (params, x), y)
    check_traced("target", refuse, lambda x: zero + problem.target(x, row), (x,), y)  # or booleans
    if family.penalty is not None:
        check_traced("penalty", refuse, lambda p, x: problem.penalty(p, x, row), (params, x), zero)
    if family.directions is not None:
        check_traced("directions", refuse, problem.directions, (params,), np.tile(x, (m, 1)))
        W = problem.directions(params)
        if W is not None and "W" in params and not np.array_equal(W, params["W"]):
            raise refuse("a parameter W must be the directions W (hidden, feature); give it another name")


def _check_activity(spec: Spec, row: Instance, refuse: Refuse) -> None:
    n, p, own = spec.model.features, np.asarray(row.feature_probability), row.own("data")
    free = Sampler.of(spec.data, n).drawn
    drawn = with_own(free, own)
    k = attempt("columns", refuse, drawn.columns)
    if type(k) is not int or not 1 <= k <= 2**16:
        raise refuse(f"columns gives {k!r}, not a whole number from 1 to {2**16}")
    check_traced("active", refuse, drawn.active, (np.zeros(k, np.float32), p), np.zeros(n, bool))
    several = {key: np.full(n + 1, value) for key, value in own.items()}  # n + 1 models, as n would hide a wrong axis
    joint = np.asarray(attempt("joint", refuse, with_own(free, several).joint, np.tile(p, (n + 1, 1))))
    if joint.shape != (n + 1, n, n):
        raise refuse(f"joint of p {[n + 1, n]} gives shape {list(joint.shape)}, not {[n + 1, n, n]}")
    simulated, _, sets = estimated_joint(drawn, p)
    _compare("joint of features", joint[0], simulated, len(sets), refuse)
    if n <= drawn.exact_up_to():
        shape = (2,) * n
        subsets = [(*np.flatnonzero(active).tolist(),) for active in np.ndindex(shape)]
        exactly = [attempt("exactly", refuse, drawn.exactly, list(p), subset) for subset in subsets]
        shares = [(sets == active).all(1).mean() for active in np.ndindex(shape)]
        stated, found = (np.asarray(each).reshape(shape) for each in (exactly, shares))
        _compare("exactly of active =", stated, found, len(sets), refuse)


def _compare(what: str, stated: np.ndarray, found: np.ndarray, samples: int, refuse: Refuse) -> None:
    stated = attempt(what, refuse, np.asarray, stated, np.float64)
    error = np.maximum(standard_error(stated, samples), standard_error(found, samples))
    far = np.argwhere(~(abs(stated - found) <= CHANCE * error))  # also where stated is NaN
    if len(far):
        place = tuple(far[0].tolist())
        raise refuse(f"{what} {place} is {stated[place]:.4g}; in a simulation it is {found[place]:.4g}")


def estimated_joint(
    drawn: Drawn, p: Float[np.ndarray, "feature"], seed: int = 0
) -> tuple[Pairs, Pairs, Float[np.ndarray, "sample feature"]]:
    """Simulates the sets of active features: how often both of two are active, standard errors, sets."""
    samples = min(2**15, max(2**10, 2**22 // drawn.n))
    u = np.random.default_rng(seed).random((samples, drawn.columns()), np.float32)
    sets = np.asarray(jax.vmap(lambda u: drawn.active(u, p))(u), np.float32)
    joint = sets.T @ sets / samples
    return joint, standard_error(joint, samples), sets


def standard_error(share: Float[np.ndarray, "*shape"], samples: int) -> Float[np.ndarray, "*shape"]:
    """The standard error of a probability that is estimated as a share of samples; never 0."""
    return np.sqrt(np.clip(share * (1 - share), 0, None) / samples) + 1 / samples
