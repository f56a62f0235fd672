"""Tries entries that users added with a spec's sizes, before its run: shapes, tracing by jax, stated probabilities."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from tmsjax.errors import SpecError
from tmsjax.kinds import FAMILIES, MEASURES, Drawn
from tmsjax.kinds.measures import check_measure
from tmsjax.kinds.trial import Refuse, attempt, check_traced
from tmsjax.models import model, tracing
from tmsjax.models.instances import Instance
from tmsjax.spec import Spec

CHANCE = 6  # standard errors by which a stated probability may differ from a simulation


def check_spec(spec: Spec) -> None:
    """Tries what users added and the spec names. Raises SpecError for the first entry that does not fit."""

    def refuse(key: str, name: str) -> Refuse:
        return lambda why: SpecError(spec.name, [(key, f"{name!r}: {why}")])

    for name in spec.record.measures:
        if MEASURES.source(name) is not None:
            check_measure(MEASURES[name], (2, spec.model.hidden, spec.model.features), refuse("record.measures", name))
    if not (added := tracing.added(spec)):
        return
    first = tracing.first_instance(spec)
    for row in (first, tracing.first_instance(spec, last=True)) if "data.activity" in added else ():
        _check_activity(spec, row, refuse("data.activity", spec.data.activity))
    if "model.family" in added:
        _check_family(spec, first, refuse("model.family", spec.model.family))
    attempt("the loss", refuse(*next(iter(added.items()))), tracing.trace, spec, first)


def _check_family(spec: Spec, row: Instance, refuse: Refuse) -> None:
    n, m, family = spec.model.features, spec.model.hidden, FAMILIES[spec.model.family]
    outputs = attempt("outputs", refuse, family.outputs, n)
    if type(outputs) is not int or not 1 <= outputs <= n:
        raise refuse(f"outputs gives {outputs!r}, not a whole number from 1 to {n}, the number of features")
    zero, x, y = np.float32(0), np.zeros(n, np.float32), np.zeros(outputs, np.float32)
    rng = np.random.default_rng(0)
    params = {k: jax.numpy.asarray(rng.standard_normal(s, np.float32)) for k, s in model.shapes(spec.model).items()}
    check_traced("init", refuse, lambda p: model.init(p, row, spec.model), (params,), params)
    check_traced("apply", refuse, lambda p, x: model.apply(p, x, row, spec.model), (params, x), y)
    check_traced("target", refuse, lambda x: zero + model.target(x, row, spec.model), (x,), y)  # or booleans
    if family.penalty is not None:
        check_traced("penalty", refuse, lambda p, x: model.penalty(p, x, row, spec.model), (params, x), zero)
    if family.directions is not None:
        check_traced("directions", refuse, lambda p: model.directions(p, spec.model), (params,), np.tile(x, (m, 1)))
        if "W" in params and not np.array_equal(model.directions(params, spec.model), params["W"]):
            raise refuse("a parameter W must be the directions W (hidden, feature); give it another name")


def _check_activity(spec: Spec, row: Instance, refuse: Refuse) -> None:
    n, p, own = spec.model.features, np.asarray(row.feature_probability), row.own("data")
    drawn = spec.data.drawn(n, own)
    k = attempt("columns", refuse, drawn.columns)
    if type(k) is not int or not 1 <= k <= 2**16:
        raise refuse(f"columns gives {k!r}, not a whole number from 1 to {2**16}")
    check_traced("active", refuse, drawn.active, (np.zeros(k, np.float32), p), np.zeros(n, bool))
    several = {key: np.full(n + 1, value) for key, value in own.items()}  # n + 1 models, as n would hide a wrong axis
    joint = np.asarray(attempt("joint", refuse, spec.data.drawn(n, several).joint, np.tile(p, (n + 1, 1))))
    if joint.shape != (n + 1, n, n):
        raise refuse(f"joint of p {[n + 1, n]} gives shape {list(joint.shape)}, not {[n + 1, n, n]}")
    simulated, _, sets = estimated_joint(drawn, p)
    _compare("joint of features", joint[0], simulated, len(sets), refuse)
    if n <= drawn.exact_up_to():
        shape = (2,) * n
        exactly = [attempt("exactly", refuse, drawn.exactly, list(p), (*np.flatnonzero(a),)) for a in np.ndindex(shape)]
        shares = [(sets == active).all(1).mean() for active in np.ndindex(shape)]
        _compare("exactly of active =", np.reshape(exactly, shape), np.reshape(shares, shape), len(sets), refuse)


def _compare(what: str, stated: Any, found: np.ndarray, samples: int, refuse: Refuse) -> None:
    stated = attempt(what, refuse, np.asarray, stated, np.float64)
    error = np.maximum(standard_error(stated, samples), standard_error(found, samples))
    far = np.argwhere(~(abs(stated - found) <= CHANCE * error))  # also where stated is NaN
    if len(far):
        place = tuple(far[0].tolist())
        raise refuse(f"{what} {place} is {stated[place]:.4g}; in a simulation it is {found[place]:.4g}")


def estimated_joint(drawn: Drawn, p: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulates the sets of active features (samples, n): how often both of two are active, standard errors, sets."""
    samples = min(2**15, max(2**10, 2**22 // drawn.n))
    u = np.random.default_rng(seed).random((samples, drawn.columns()), np.float32)
    sets = np.asarray(jax.vmap(lambda u: drawn.active(u, p))(u), np.float32)
    joint = sets.T @ sets / samples
    return joint, standard_error(joint, samples), sets


def standard_error(share: np.ndarray, samples: int) -> np.ndarray:
    """Of a probability that was estimated by the share of samples; never 0."""
    return np.sqrt(np.clip(share * (1 - share), 0, None) / samples) + 1 / samples
