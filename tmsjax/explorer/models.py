"""The models of every cell: parameters, losses, phases, feature graphs, and what was recorded during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from tmsjax import analysis
from tmsjax.explorer.cells import above, phases
from tmsjax.explorer.pack import Arrays, excess, linear, log, whole
from tmsjax.explorer.results import Results
from tmsjax.kinds import FAMILIES, MEASURES, REPLICA, RESERVED_PREFIXES

MOST_VALUES = 6_000_000  # parameters and losses; of runs with more, only the best model of each cell is shown
MOST_HISTORY, HISTORY_BITS = 1_000_000, 12  # recorded numbers, and most bits of one
MOST_GRAPH = 100_000  # features of all models, whose components are searched


def models(results: Results) -> tuple[dict[str, Any], Arrays]:
    """Facts, and parameters, losses over the best, and phases of models (replica, ..., cells), NaN where one diverged.

    The fact "kept" tells which: "all", "best" (the best of each cell, as the only replica) or "none".
    """
    dims = parameters(results)
    shapes = {name: [results.every.sizes[d] for d in own] for name, own in dims.items()}
    kept = _kept(results, sum(map(math.prod, shapes.values())) + 1)
    facts = {"kept": kept, "parameters": shapes}
    if kept == "none":
        return facts, {}
    select = results.of_best if kept == "best" else np.asarray
    usable = select(results.usable)
    out: Arrays = {}
    for name, own in dims.items():
        values = select(results.by_replica(name, *own))
        values = np.where(usable.reshape(len(usable), *(1,) * len(own), -1), values, np.nan)
        out[f"model.{name}"] = partial(linear, values)
        if name == "W" and results.mapped:
            out["phase"] = whole(phases(results, values))
        if name == "W" and results.has_W and results.spec.study.kind == "geometry":
            out |= _graphs(values)
    out["excess"] = partial(excess, above(select(results.loss), results.lowest))
    return facts, out


def parameters(results: Results) -> Mapping[str, tuple[str, ...]]:
    """The dimensions of each parameter, and of W if there are directions.

    For a family that is not known here, of every variable with more dimensions than the sweep.
    """
    family = FAMILIES.get(results.spec.model.family)
    if family is not None:
        named = family.dims
    else:
        axes = {REPLICA, *results.dims}
        own = {str(name): tuple(str(d) for d in v.dims if d not in axes) for name, v in results.every.data_vars.items()}
        named = {name: dims for name, dims in own.items() if dims and not name.startswith(RESERVED_PREFIXES)}
    if results.has_W:
        named["W"] = ("hidden", "feature")
    return {name: dims for name, dims in named.items() if name in results.every}


def _kept(results: Results, size: int) -> str:
    """Which models the page keeps, of `size` numbers each."""
    if results.count * size > MOST_VALUES:
        return "none"
    fits = results.count * size * results.replicas <= MOST_VALUES
    return "all" if fits and not results.best_only else "best"


def _graphs(W: np.ndarray) -> Arrays:
    """The component of the feature graph to which each feature of a model belongs, from 1, and its polytope."""
    replicas, _, n, cells = W.shape
    if replicas * n * cells > MOST_GRAPH:
        return {}
    component, polytope = (np.zeros((replicas, n, cells), int) for _ in range(2))
    for replica, cell in np.ndindex(replicas, cells):
        parts, kinds = analysis.component_kinds(np.nan_to_num(W[replica, :, :, cell].astype(np.float64)))
        for k, features in enumerate(parts):
            component[replica, features, cell] = k + 1
        polytope[replica, :, cell] = kinds
    return {"component": whole(component), "polytope": whole(polytope)}


def history(results: Results, kept: str) -> tuple[dict[str, Any], Arrays]:
    """The recorded measures of models over steps (replica, [feature], step, cells).

    Of all models if there are few numbers, otherwise of the best of each cell.
    """
    out: Arrays = {}
    measures: list[str] = []
    if results.every.sizes.get("step", 0) > 1 and kept != "none":
        for name, measure in MEASURES.items():
            variable = f"history_{name}"
            if variable not in results.every or measure.dims not in ((), ("feature",)):
                continue
            values = results.by_replica(variable, *measure.dims, "step")
            if kept == "best" or values.size > MOST_HISTORY:
                values = results.of_best(values)
            if values.size <= MOST_HISTORY:
                out[variable] = partial(log if name == "loss" else linear, values, most=HISTORY_BITS)
                measures.append(name)
    steps = results.every["step"].to_numpy().tolist() if measures else []
    return {"history": {"steps": steps, "measures": measures} if measures else None}, out
