"""Tries entries that users added with a spec's sizes, before its run: shapes, tracing by jax, stated probabilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import numpy as np
from jaxtyping import Float

from tmsjax.errors import SpecError
from tmsjax.kinds import FAMILIES, MEASURES, REGISTRIES, SAMPLERS, Drawn
from tmsjax.kinds.arrays import Floats, Params
from tmsjax.kinds.measures import check_measure
from tmsjax.kinds.trial import Refuse, attempt, check_traced
from tmsjax.models.instance import Instance
from tmsjax.models.instances import instances
from tmsjax.models.moments import moments_of
from tmsjax.models.optimized import check_optimizer, check_schedule
from tmsjax.models.problem import Problem, bind
from tmsjax.models.sampling import FeatureSampler, FunctionSampler, with_own
from tmsjax.spec import Boxes, Spec

ADDED = (  # keys of entries that a training calls
    "model.family",
    "model.activation",
    "data.activity",
    "data.values",
    "data.sampler",
    "init.rule",
    "loss.kind",
    "train.optimizer",
    "train.schedule",
)
Pairs = Float[np.ndarray, "feature feature"]
MOST_LENGTH = 2**16  # of a dimension, or columns of uniforms
CHANCE = 6  # standard errors by which a stated probability may differ from a simulation


def check_spec(spec: Spec) -> None:
    """Tries what users added and the spec names. Raises SpecError for the first entry that does not fit."""

    def refuse(key: str, name: str) -> Refuse:
        return lambda why: SpecError(spec.name, [(key, f"{name!r}: {why}")])

    for name in spec.record.measures:
        if MEASURES.source(name) is not None:
            check_measure(MEASURES[name], (2, spec.model.hidden, spec.model.features), refuse("record.measures", name))
    _check_inputs(spec)
    if not (added := _added(spec)):
        return
    for last in (False, True) if "data.activity" in added and spec.data.featured else ():
        _check_activity(spec, _instance(spec, last), refuse("data.activity", spec.data.activity))
    problem, row = _bound(spec, refuse), _instance(spec)
    if "data.sampler" in added:
        _check_sampler(problem, row, refuse("data.sampler", spec.data.sampler))
    if "model.family" in added:
        _check_family(problem, row, refuse("model.family", spec.model.family))
    if "init.rule" in added:
        _check_init(problem, row, refuse("init.rule", spec.init.rule))
    if "loss.kind" in added:
        _check_loss(problem, row, refuse("loss.kind", spec.loss.kind))
    if "train.schedule" in added:
        check_schedule(problem, row, refuse("train.schedule", spec.train.schedule))
    if "train.optimizer" in added:
        check_optimizer(problem, row, refuse("train.optimizer", spec.train.optimizer))
    attempt("the loss", refuse(*next(iter(added.items()))), _trace, problem)


def _bound(spec: Spec, refuse: Callable[[str, str], Refuse]) -> Problem:
    """The problem, whose sizes users' functions give."""
    sizes = {
        **attempt("sizes", refuse("model.family", spec.model.family), lambda: spec.sizes),
        **attempt("inputs", refuse("data.sampler", spec.data.sampler), lambda: {"input": spec.inputs}),
    }
    for name, length in sizes.items():
        if type(length) is not int or not 1 <= length <= MOST_LENGTH:
            what = {"output": "outputs", "input": "inputs"}.get(name, f"size {name!r}")
            key = "data.sampler" if name == "input" else "model.family"
            chosen = spec.data.sampler if name == "input" else spec.model.family
            raise refuse(key, chosen)(f"{what} gives {length!r:.40}, not a whole number from 1 to {MOST_LENGTH:,}")
    problem = attempt("sizes", refuse("model.family", spec.model.family), bind, spec)
    if problem.family.noise is not None and (type(k := problem.noises) is not int or not 1 <= k <= MOST_LENGTH):
        why = f"noise gives {k!r:.40}, not a whole number from 1 to {MOST_LENGTH:,}"
        raise refuse("model.family", spec.model.family)(why)
    return problem


def _check_inputs(spec: Spec) -> None:
    """Raises SpecError if a sampler or a file has another number of inputs than a built-in family takes."""
    known = spec.data.sampler == "file" or SAMPLERS.source(spec.data.sampler) is not None
    if not known or FAMILIES.source(spec.model.family) is not None:
        return
    key, n = "data.file" if spec.data.sampler == "file" else "data.sampler", spec.model.features
    inputs = attempt("inputs", lambda why: SpecError(spec.name, [(key, why)]), lambda: spec.inputs)
    if inputs != n:
        takes = f"the family {spec.model.family!r} takes model.features = {n}"
        instead = f"set model.features = {inputs}, or add a family whose parameters have the dimension 'input'"
        raise SpecError(spec.name, [(key, f"has {inputs} inputs, but {takes}; {instead}")])


def _added(spec: Spec) -> dict[str, str]:
    """The entries that users added and a training calls: name by key."""
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


def _example(problem: Problem) -> tuple[Params, Floats, Floats]:
    """(parameters, input, output) of a model, of the right shapes."""
    rng = np.random.default_rng(0)
    params = {k: jax.numpy.asarray(rng.standard_normal(s, np.float32)) for k, s in problem.shapes.items()}
    return params, np.zeros(problem.sizes["input"], np.float32), np.zeros(problem.sizes["output"], np.float32)


def _check_family(problem: Problem, row: Instance, refuse: Refuse) -> None:
    n, m, family = problem.features, problem.hidden, problem.family
    for key, value in family.frozen.items():
        if value is not None and value.shape != (shape := problem.shapes[key]):
            raise refuse(f"the frozen {key!r} has the shape {list(value.shape)}, not {list(shape)}")
    zero, (params, x, y) = np.float32(0), _example(problem)
    check_traced("init", refuse, lambda p: problem.init(p, row), (params,), params)
    for noise in (None, np.zeros(problem.noises, np.float32)) if family.noise is not None else (None,):
        what = "apply with noise = None, as at evaluation," if family.noise is not None and noise is None else "apply"
        check_traced(what, refuse, lambda p, x, noise=noise: problem.output(p, x, row, noise), (params, x), y)
    check_traced("target", refuse, lambda x: zero + problem.target(x, params, row), (x,), y)  # or booleans
    if family.penalty is not None:
        check_traced("penalty", refuse, lambda p, x: problem.penalty(p, x, row), (params, x), zero)
    if family.directions is not None:
        check_traced("directions", refuse, problem.directions, (params,), np.zeros((m, n), np.float32))
        W = problem.directions(params)
        if W is not None and "W" in params and not np.array_equal(W, params["W"]):
            raise refuse("a parameter W must be the directions W (hidden, feature); give it another name")


def _check_init(problem: Problem, row: Instance, refuse: Refuse) -> None:
    params, _, _ = _example(problem)
    what = f"the function of {{{', '.join(params)}}}"
    check_traced(what, refuse, lambda p: problem.init(p, row), (params,), params)


def _check_loss(problem: Problem, row: Instance, refuse: Refuse) -> None:
    """A loss gives one number per output, or one number."""
    word = np.zeros(problem.columns, np.uint32)
    params, _, _ = _example(problem)
    for what in ("function", "evaluation"):
        loss = problem.loss_kind.function if what == "function" else problem.loss_kind.ranking
        error = attempt(f"{what}(target, output)", refuse, jax.eval_shape, problem.error_of(loss), params, row, word)
        shapes = [(), (problem.sizes["output"],)]
        if not hasattr(error, "shape") or error.shape not in shapes or error.dtype != np.float32:
            given = f"{error.dtype}{list(error.shape)}" if hasattr(error, "shape") else type(error).__name__
            raise refuse(f"the {what} gives {given}, not float32 of shape {' or '.join(str(list(s)) for s in shapes)}")


def _check_sampler(problem: Problem, row: Instance, refuse: Refuse) -> None:
    """The sample has the stated number of inputs, and the stated moments."""
    sampler = problem.sampler
    assert isinstance(sampler, FunctionSampler)
    k = attempt("columns, which gets n and options of type 'int',", refuse, lambda: sampler.columns)
    if type(k) is not int or not 1 <= k <= MOST_LENGTH:
        raise refuse(f"columns gives {k!r}, not a whole number from 1 to {MOST_LENGTH:,}")
    bits, x = np.zeros(k, np.uint32), np.zeros(problem.sizes["input"], np.float32)
    check_traced("sample", refuse, lambda bits: sampler.sample(bits, row), (bits,), x)
    found = attempt("sample", refuse, moments_of, problem, row)
    if not np.isfinite(found.mean).all():
        raise refuse("sample gives numbers that are not finite")
    if sampler.entry.mean is not None:
        stated = attempt("mean and covariance", refuse, problem.moments, row)
        for what, given, mean, error in (
            ("mean", stated[0], found.mean, found.mean_error),
            ("covariance", stated[1], found.covariance, found.covariance_error),
        ):
            if np.shape(given) != mean.shape:
                raise refuse(f"{what} gives shape {list(np.shape(given))}, not {list(mean.shape)}")
            far = np.argwhere(~(abs(np.asarray(given) - mean) <= CHANCE * error + 1e-6))
            if len(far):
                place = tuple(far[0].tolist())
                raise refuse(
                    f"{what} {place} is {np.asarray(given)[place]:.4g}; in a simulation it is {mean[place]:.4g}"
                )


def _check_activity(spec: Spec, row: Instance, refuse: Refuse) -> None:
    n, p, own = spec.model.features, np.asarray(row.feature_probability), row.own("data")
    free = FeatureSampler.of(spec.data, n).drawn
    drawn = with_own(free, own)
    k = attempt("columns", refuse, drawn.columns)
    if type(k) is not int or not 1 <= k <= 2**16:
        raise refuse(f"columns gives {k!r}, not a whole number from 1 to {2**16}")
    check_traced("active", refuse, drawn.active, (np.zeros(k, np.float32), p), np.zeros(n, bool))
    if not drawn.known:
        return
    several = {key: np.stack([value] * (n + 1)) for key, value in own.items()}  # n + 1 models: n hides a wrong axis
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
