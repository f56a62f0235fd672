"""Checks user-added entries on a spec's models before a run: shapes, tracing by jax, and stated probabilities.

Built-in entries are covered by this package's tests and are not checked again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.errors import SpecError
from tmsjax.kinds import ACTIVATIONS, ACTIVITIES, FAMILIES, MEASURES, VALUES, Drawn, Registry, first_line, floats
from tmsjax.models import loss, model, sampling
from tmsjax.models.instances import Instance, instances
from tmsjax.models.scalars import split
from tmsjax.spec import SAMPLES, Boxes, Spec

SIMULATED = 2**15  # samples in the simulation of an activity
CHANCE = 6  # standard errors by which a simulated share may differ from the stated probability
MOST_SUBSETS_OF = 5  # the largest n for which the probability of every subset is checked
WORDS = 6  # samples on which the scalar and the array path are compared
LIVELY = 0.7  # feature probability of these samples

Report = Callable[[str, str], None]


def added(spec: Spec) -> list[str]:
    """The keys of [model] and [data] whose entries users added."""
    chosen: dict[str, tuple[Registry, str]] = {
        "model.family": (FAMILIES, spec.model.family),
        "model.activation": (ACTIVATIONS, spec.model.activation),
        "data.activity": (ACTIVITIES, spec.data.activity),
        "data.values": (VALUES, spec.data.values),
    }
    return [key for key, (registry, name) in chosen.items() if registry.source(name) is not None]


def check_spec(spec: Spec) -> None:
    """Checks user-added entries with this spec's sizes. Raises SpecError, which lists every problem."""
    keys, problems = added(spec), []

    def report(key: str, message: str) -> None:
        if (key, message) not in problems:
            problems.append((key, message))

    _check_measures(spec, report)
    if not keys and not problems:
        return
    _check_names(spec, report)
    rows = _rows(spec)
    with jax.numpy_rank_promotion("raise"):
        for row in rows if "data.activity" in keys else ():
            if not problems:
                _check_activity(spec, row, report)
        if "model.family" in keys and not problems:
            _check_family(spec, rows[0], report)
        if not problems:
            _attempt(lambda: jax.eval_shape(_gradient(spec), *_example(spec, rows[0])), "the loss", keys[0], report)
        if not problems and spec.exact_loss is not None:
            params, row, *_ = _example(spec, rows[0])
            exact = jax.grad(lambda params, row: loss.exact(params, row, spec))
            _attempt(lambda: jax.eval_shape(exact, params, row), "the exact loss", keys[0], report)
    if problems:
        raise SpecError(spec.name, problems)


def _check_measures(spec: Spec, report: Report) -> None:
    """Tries the measures that users added and the spec records on W of this spec's size."""
    size = {"hidden": spec.model.hidden, "feature": spec.model.features}
    for name in spec.record.measures:
        function = MEASURES[name].function
        if MEASURES.source(name) is None or function is None:
            continue
        expected = (2, *(size[d] for d in MEASURES[name].dims))
        W = np.ones((2, spec.model.hidden, spec.model.features), np.float32)
        found = _attempt(lambda f=function, W=W: np.shape(f(W)), repr(name), "record.measures", report)  # type: ignore[misc]
        if found is not _Failed and found != expected:
            report("record.measures", f"{name!r} gives shape {found} for W of shape {W.shape}, not {expected}")


def _check_names(spec: Spec, report: Report) -> None:
    """Checks that names of parameters and sizes, which appear in results, differ from those of axes and measures."""
    family = FAMILIES[spec.model.family]
    sizes = {key for key, option in family.options.items() if option.type == "int"}
    for name in sorted((family.parameters.keys() | sizes) & spec.axis.keys()):
        report(
            f"axes.{name}", f"the family {spec.model.family!r} has a parameter or a size of this name; rename the axis"
        )
    for name in sorted((family.parameters.keys() - {"W"}) & MEASURES.keys()):
        report("model.family", f"{spec.model.family!r}: a measure has the name of its parameter {name!r}")


def elementwise_model(spec: Spec) -> bool:
    """Whether the model can be held as scalars: jax can trace it in this form, and both paths give the same loss."""
    data, features = spec.samples
    activity = ACTIVITIES[data.activity]
    if not ACTIVATIONS[spec.model.activation].elementwise or features > activity.scalars_up_to:
        return False
    if not added(spec):
        return True
    try:
        with jax.numpy_rank_promotion("raise"):
            return all(_same_on_both_paths(spec, row) for row in _rows(spec))
    except (Exception, SystemExit):  # a user's function may use operations that `Elements` does not support
        return False


def _same_on_both_paths(spec: Spec, row: Instance) -> bool:
    importance, p = jnp.ones_like(row.importance), jnp.full_like(row.feature_probability, LIVELY)
    lively = dataclasses.replace(row, importance=importance, feature_probability=p)
    params, row, words, offset = _example(spec, lively)

    def one(params: Any, row: Any, word: Any, offset: Any) -> Any:
        return loss.one(params, row, word, offset, spec, True)

    held = [tuple(map(_as_scalars, (params, row, word, offset))) for word in words]
    jax.eval_shape(jax.grad(one), *held[0])  # raises for functions such as max() that accept numbers but not tracers
    on_arrays = [float(one(params, row, word, offset)) for word in words]
    on_scalars = [float(one(*arguments)) for arguments in held]
    return bool(np.allclose(on_arrays, on_scalars, rtol=1e-4, atol=1e-6))


def _as_scalars(tree: Any) -> Any:
    return jax.tree.map(lambda x: split(x, batch_dims=0) if jnp.ndim(x) else x, tree)


def _rows(spec: Spec) -> list[Instance]:
    """The first instance and the last."""
    single = Boxes(spec.shape, (1,) * len(spec.shape))
    ends = sorted({0, len(single) - 1})
    return [jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), instances(spec, single[k])) for k in ends]


def _example(spec: Spec, row: Instance) -> tuple:
    """(parameters, row, words (WORDS, columns), offset (columns,)) with random parameters and words.

    The row is one that trains on fresh samples, which are drawn by the same functions as those of a finite set.
    """
    row = dataclasses.replace(row, options={k: v for k, v in row.options.items() if k != SAMPLES})
    rng = np.random.default_rng(0)
    shapes = model.shapes(spec.model)
    params = {k: jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32) for k, shape in shapes.items()}
    columns = sampling.columns_of(spec)
    words = jnp.asarray(rng.integers(0, 2**32, (WORDS, columns), np.uint32))
    return params, row, words, jnp.zeros(columns, jnp.uint32)


def _gradient(spec: Spec) -> Callable:
    return jax.grad(lambda params, row, words, offset: loss.total(params, row, words, offset, spec, penalised=True))


class _Failed:
    """Sentinel that `_attempt` returns if the work raises."""


def _attempt(work: Callable[[], Any], what: str, key: str, report: Report) -> Any:
    """The result of `work()`; if it raises, reports the error and returns _Failed."""
    try:
        return work()
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        report(key, f"{what} fails ({first_line(error)})")
        return _Failed


def _described(found: Any) -> str:
    """Types and shapes of a traced result, such as "float32[2, 3]"."""
    if isinstance(found, dict):
        return "{" + ", ".join(f"{name}: {_described(found[name])}" for name in sorted(found)) + "}"
    if hasattr(found, "dtype"):
        return f"{found.dtype}{list(found.shape)}"
    return type(found).__name__


def _check_family(spec: Spec, row: Instance, report: Report) -> None:
    key, named = "model.family", f"{spec.model.family!r}: "
    n, m, shapes = spec.model.features, spec.model.hidden, model.shapes(spec.model)
    family, params = FAMILIES[spec.model.family], {name: floats(*shape) for name, shape in shapes.items()}
    outputs = _attempt(lambda: family.outputs(n), named + "outputs", key, report)
    if outputs is _Failed:
        return
    if not isinstance(outputs, int) or isinstance(outputs, bool) or not 1 <= outputs <= n:
        report(key, f"{named}outputs gives {outputs!r}, not a whole number from 1 to {n}, the number of features")
        return
    x = floats(n)
    results: tuple[tuple[str, Callable, tuple, Any], ...] = (
        ("init", lambda p: model.init(p, row, spec.model), (params,), params),
        ("apply", lambda p, x: model.apply(p, x, row, spec.model), (params, x), floats(outputs)),
        ("target", lambda x: model.target(x, row, spec.model), (x,), floats(outputs)),
        ("penalty", lambda p, x: model.penalty(p, x, row, spec.model), (params, x), floats()),
        ("directions", lambda p: model.directions(p, spec.model), (params,), floats(m, n)),
    )
    for what, function, arguments, expected in results:
        if getattr(family, what) is None:
            continue
        found = _attempt(partial(jax.eval_shape, function, *arguments), named + what, key, report)
        shape_alone = what == "target" and getattr(found, "shape", None) == (outputs,)  # of any dtype, such as x > 0
        if found is not _Failed and not shape_alone and _described(found) != _described(expected):
            report(key, f"{named}{what} gives {_described(found)}, not {_described(expected)}")
            return
    if family.directions is not None and "W" in shapes:
        example = _example(spec, row)[0]
        W = _attempt(lambda: np.asarray(model.directions(example, spec.model)), f"{named}directions", key, report)
        if W is not _Failed and not np.array_equal(W, example["W"]):
            report(key, f"{named}a parameter W must be the directions W (hidden, feature); give it another name")


def _check_activity(spec: Spec, row: Instance, report: Report) -> None:
    """Checks shapes, then compares the stated probabilities with a simulation."""
    key, named = "data.activity", f"{spec.data.activity!r}: "
    n, p = spec.model.features, row.feature_probability
    drawn = spec.data.drawn(n, {k: np.float32(v) for k, v in row.own("data").items()})
    k = _attempt(drawn.columns, f"{named}columns", key, report)
    if k is _Failed:
        return
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= 2**16:
        report(key, f"{named}columns gives {k!r}, not a whole number from 1 to {2**16}")
        return
    shape = _attempt(lambda: jax.eval_shape(drawn.active, floats(k), floats(n)), f"{named}active", key, report)
    if shape is _Failed:
        return
    if _described(shape) != f"bool[{n}]":
        report(key, f"{named}active gives {_described(shape)}, not bool[{n}]")
        return
    stated = _stated_joint(named, spec, row, report)
    if stated is None:
        return
    samples = min(SIMULATED, max(2**10, 2**22 // n))
    u = jnp.asarray(np.random.default_rng(0).random((samples, k)), jnp.float32)
    simulated = _attempt(lambda: jax.vmap(lambda u: drawn.active(u, p))(u), f"{named}active", key, report)
    if simulated is _Failed:
        return
    found = np.asarray(simulated, np.float64)
    _check_joint(named, stated, found, report)
    if drawn.activity.exactly is not None and n <= MOST_SUBSETS_OF:
        _check_subsets(named, drawn, p, found, report)


def _stated_joint(named: str, spec: Spec, row: Instance, report: Report) -> np.ndarray | None:
    """`joint` of one instance. Also evaluates it with a leading axis, as in tables of instances."""
    key, p = "data.activity", np.asarray(row.feature_probability, np.float64)
    n = len(p)

    def joint(leading: tuple) -> Any:
        own = {k: np.broadcast_to(np.float64(v), leading).copy() for k, v in row.own("data").items()}
        given = np.broadcast_to(p, (*leading, n)).copy()
        work = lambda: np.asarray(spec.data.drawn(n, own).joint(given), np.float64)  # noqa: E731
        return _attempt(work, f"{named}joint", key, report)

    for leading in ((), (n + 1,)):  # a length other than n, which would hide a wrong p[:, None]
        stated = joint(leading)
        if stated is _Failed:
            return None
        if stated.shape != (*leading, n, n):
            report(key, f"{named}joint of p {[*leading, n]} gives shape {list(stated.shape)}, not {[*leading, n, n]}")
            return None
    return stated[0]


def _far(stated: Any, share: Any, samples: int) -> Any:
    """Whether a stated probability is incompatible with the simulated share; true for NaN."""
    larger = np.clip(np.maximum(stated, share), 1 / samples, 1)
    error = np.sqrt(larger * (1 - larger) / samples) + 1 / samples
    return ~(np.abs(stated - share) <= CHANCE * error)


def _check_joint(named: str, stated: np.ndarray, found: np.ndarray, report: Report) -> None:
    shares = found.T @ found / len(found)
    far = np.argwhere(_far(stated, shares, len(found)))
    if len(far):
        i, j = far[0]
        what = f"feature {i} is active" if i == j else f"features {i} and {j} are both active"
        given = f"joint says that {what} with probability {stated[i, j]:.4g}"
        report("data.activity", f"{named}{given}; in a simulation it is {shares[i, j]:.4g}")


def _check_subsets(named: str, drawn: Drawn, p: Any, found: np.ndarray, report: Report) -> None:
    n, given = drawn.n, [np.float64(q) for q in p]
    for size in range(n + 1):
        for subset in combinations(range(n), size):

            def exactly(subset: tuple = subset) -> float:
                return float(drawn.exactly(given, subset)) if drawn.possible(subset) else 0.0

            stated = _attempt(exactly, f"{named}exactly", "data.activity", report)
            if stated is _Failed:
                return
            share = (found == np.isin(np.arange(n), subset)).all(1).mean()
            if _far(stated, share, len(found)):
                what = f"exactly says {stated:.4g} for the subset {subset}; in a simulation it is {share:.4g}"
                report("data.activity", f"{named}{what}")
                return
