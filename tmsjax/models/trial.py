"""Trials of a spec's models before any work: shapes, traces and probabilities of what users added.

Built-in entries are tested with this package, and are not tried again at every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.errors import SpecError
from tmsjax.kinds import ACTIVATIONS, ACTIVITIES, FAMILIES, VALUES, first_line, floats
from tmsjax.models import loss, model, sampling
from tmsjax.models.instances import Instance, instances
from tmsjax.models.scalars import split
from tmsjax.spec import Spec

SIMULATED = 2**15  # samples of an activity's simulation
NEAR = 0.02  # largest difference of a stated probability from its share of them: more than 5 standard errors
MOST_SUBSETS_OF = 5  # features up to which every subset's probability is checked
WORDS = 6  # samples on which both paths are compared

Report = Callable[[str, str], None]


def added(spec: Spec) -> list[str]:
    """The keys of the spec whose entries users added, of those that make a model."""
    chosen = {
        "model.family": (FAMILIES, spec.model.family),
        "model.activation": (ACTIVATIONS, spec.model.activation),
        "data.activity": (ACTIVITIES, spec.data.activity),
        "data.values": (VALUES, spec.data.values),
    }
    return [key for key, (registry, name) in chosen.items() if registry.source(name) is not None]


def check_spec(spec: Spec) -> None:
    """Tries what users added on this spec's sizes. Raises SpecError with every problem."""
    keys, problems = added(spec), []

    def report(key: str, message: str) -> None:
        problems.append((key, message))

    if not keys:
        return
    row = _row(spec)
    with jax.numpy_rank_promotion("raise"):
        if "data.activity" in keys:
            _check_activity(spec, row, report)
        if "model.family" in keys and not problems:
            _check_family(spec, row, report)
        if not problems:
            _attempt(lambda: jax.eval_shape(_gradient(spec), *_example(spec, row)), "the loss", keys[0], report)
    if problems:
        raise SpecError(spec.name, problems)


def elementwise_model(spec: Spec) -> bool:
    """Whether the model may be held as scalars: whether it gives the same loss on them as on arrays."""
    if not (ACTIVATIONS[spec.model.activation].elementwise and ACTIVITIES[spec.data.activity].elementwise):
        return False
    if not added(spec):
        return True
    row = _row(spec)
    params, _, words, offset = _example(spec, row)
    try:
        with jax.numpy_rank_promotion("raise"):
            on_arrays = [float(loss.one(params, row, word, offset, spec, True)) for word in words]
            held = [_as_scalars(tree) for tree in (params, row, offset)]
            on_scalars = [float(loss.one(*held[:2], _as_scalars(word), held[2], spec, True)) for word in words]
    except Exception:  # a user's function may use operations that arrays of scalars do not have
        return False
    return bool(np.allclose(on_arrays, on_scalars, rtol=1e-4, atol=1e-6))


def _as_scalars(tree: Any) -> Any:
    return jax.tree.map(lambda x: split(x, batch_dims=0) if jnp.ndim(x) else x, tree)


def _row(spec: Spec) -> Instance:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), instances(spec, range(1)))


def _example(spec: Spec, row: Instance) -> tuple:
    """(parameters, row, words (WORDS, columns), offset (columns,)) of a model at some random place."""
    rng = np.random.default_rng(0)
    shapes = model.shapes(spec.model)
    params = {k: jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32) for k, shape in shapes.items()}
    columns = sampling.columns(spec.data, spec.model.features)
    words = jnp.asarray(rng.integers(0, 2**32, (WORDS, columns), np.uint32))
    return params, row, words, jnp.zeros(columns, jnp.uint32)


def _gradient(spec: Spec) -> Callable:
    return jax.grad(lambda params, row, words, offset: loss.total(params, row, words, offset, spec, penalised=True))


def _attempt(work: Callable[[], Any], what: str, key: str, report: Report) -> Any:
    """What `work()` gives; None and a report if it raises."""
    try:
        return work()
    except Exception as error:  # a user's function may raise anything
        report(key, f"{what} fails ({first_line(error)})")
        return None


def _check_family(spec: Spec, row: Instance, report: Report) -> None:
    key, named = "model.family", f"{spec.model.family!r}: "
    n, m, shapes = spec.model.features, spec.model.hidden, model.shapes(spec.model)
    params = {name: floats(*shape) for name, shape in shapes.items()}
    x = floats(n)
    results: Iterator[tuple[str, Callable, tuple, Any]] = iter(
        (
            ("init", lambda p: model.init(p, row, spec.model), (params,), shapes),
            ("apply", lambda p, x: model.apply(p, x, row, spec.model), (params, x), (n,)),
            ("target", lambda x: model.target(x, row, spec.model), (x,), (n,)),
            ("penalty", lambda p, x: model.penalty(p, x, row, spec.model), (params, x), ()),
            ("directions", lambda p: model.directions(p, spec.model), (params,), (m, n)),
        )
    )
    for what, function, arguments, expected in results:
        if getattr(FAMILIES[spec.model.family], what) is None:
            continue
        found = _attempt(lambda f=function, a=arguments: jax.eval_shape(f, *a), named + what, key, report)
        if found is None:
            continue
        shape = {k: v.shape for k, v in found.items()} if isinstance(found, dict) else getattr(found, "shape", found)
        if shape != expected:
            report(key, f"{named}{what} gives shape {shape}, not {expected}")
    if "W" in shapes and FAMILIES[spec.model.family].directions is not None and shapes["W"] != (m, n):
        report(key, f"{named}with directions, a parameter W must be they, (hidden, feature), not {shapes['W']}")


def _check_activity(spec: Spec, row: Instance, report: Report) -> None:
    """Shapes, then the stated probabilities beside the shares of a simulation."""
    key, named, drawn = "data.activity", f"{spec.data.activity!r}: ", spec.drawn
    n, p = spec.model.features, row.feature_probability
    k = _attempt(drawn.columns, f"{named}columns", key, report)
    if k is None:
        return
    if not isinstance(k, int) or not 1 <= k <= 2**16:
        report(key, f"{named}columns gives {k!r}, not a whole number from 1 to {2**16}")
        return

    def active(u: Any) -> Any:
        return drawn.active(u, p, row.own("data"))

    shape = _attempt(lambda: jax.eval_shape(active, floats(k)), f"{named}active", key, report)
    stated = _attempt(lambda: np.asarray(drawn.joint(np.asarray(p, np.float64))), f"{named}joint", key, report)
    if shape is None or stated is None:
        return
    if getattr(shape, "shape", None) != (n,) or shape.dtype != bool:
        report(key, f"{named}active gives {getattr(shape, 'dtype', '')}{list(shape.shape)}, not bool[{n}]")
    elif stated.shape != (n, n):
        report(key, f"{named}joint gives shape {stated.shape}, not {(n, n)}")
    else:
        u = jnp.asarray(np.random.default_rng(0).random((SIMULATED, k)), jnp.float32)
        found = np.asarray(jax.vmap(active)(u), np.float64)
        _check_joint(named, stated, found, report)
        if drawn.activity.exactly is not None and n <= MOST_SUBSETS_OF:
            _check_subsets(named, spec, p, found, report)


def _check_joint(named: str, stated: np.ndarray, found: np.ndarray, report: Report) -> None:
    difference = np.abs(stated - found.T @ found / len(found))
    if not difference.max() <= NEAR:
        i, j = np.unravel_index(np.nanargmax(difference), difference.shape)
        share = (found[:, i] * found[:, j]).mean()
        what = f"feature {i} is active" if i == j else f"features {i} and {j} are both active"
        report("data.activity", f"{named}joint says that {what} with probability {stated[i, j]:.4g}; it is {share:.4g}")


def _check_subsets(named: str, spec: Spec, p: Any, found: np.ndarray, report: Report) -> None:
    n = spec.model.features
    for size in range(n + 1):
        for subset in combinations(range(n), size):
            given = [np.float64(q) for q in p]
            stated = float(spec.drawn.exactly(given, subset)) if spec.drawn.possible(subset) else 0.0
            share = (found == np.isin(np.arange(n), subset)).all(1).mean()
            if not abs(stated - share) <= NEAR:
                what = f"exactly says {stated:.4g} for the subset {subset}; it is {share:.4g}"
                report("data.activity", f"{named}{what}")
                return
