"""The numbers of every cell: phases by each rule, losses, successes, failures, inputs, and what theory predicts."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tmsjax import analysis, theory
from tmsjax.explorer.pack import Arrays, excess, linear, log, whole
from tmsjax.explorer.results import NOTHING, Results, masked

MOST_OF_FEATURES = 1_000_000  # numbers for each feature of each cell; of more, only those of the mapped feature
MOST_INPUTS = 100_000  # importances
MAP_BITS = 10  # most bits of norms and shares
MOST_ABOVE = 1e12  # times that a loss can be above another, which may be 0
MOST_COUNT = 2**16 - 1
RULES = ("best", "paper", "vote")  # the page reads "single" from the models


def maps(results: Results) -> tuple[dict[str, Any], Arrays]:
    """Facts about the map, and the phase, norms and superposition of every cell by each rule."""
    several = not results.best_only and results.replicas > 1
    if not results.mapped:
        return {"rules": ["best"]}, {}
    n = results.spec.model.features
    features = list(range(n)) if results.count * n <= MOST_OF_FEATURES else [results.spec.mapped_feature]
    rules = list(RULES) if several else ["best"]
    out: Arrays = {}
    for rule in rules:
        mapped = analysis.phase_map(results.dataset, rule)
        out[f"phase_{rule}"] = whole(masked(results.by_cell(mapped["phase"])))
        for name in ("norm", "superposition"):
            values = results.by_cell(mapped[name], "feature")[features]
            out[f"{name}_{rule}"] = partial(linear, values, most=MAP_BITS)
    return {"rules": rules, "features_shown": features}, out


def numbers(results: Results) -> tuple[dict[str, Any], Arrays]:
    """The lowest loss, the best replica, successes, failures and inputs of every cell.

    Without the best replica and successes if losses are not comparable, since the inputs of replicas differ.
    """
    success, failed = (results.in_order(values) for values in analysis.outcomes(results.dataset))
    out: Arrays = {
        "loss": partial(log, results.lowest),
        "failed": whole(np.minimum(failed, MOST_COUNT)),
        "best": whole(np.where(results.usable.any(0), results.best + 1, 0)),  # 0: every replica diverged
        "worst": whole(np.where(results.usable.any(0), np.where(results.usable, results.loss, -1).argmax(0) + 1, 0)),
    }
    if results.comparable:
        out["success"] = partial(linear, success, most=MAP_BITS)
    if results.count * results.spec.model.features <= MOST_INPUTS:
        for name in ("importance", "feature_probability"):
            out[name] = partial(log, results.of_best(results.by_replica(f"instance_{name}", "feature"))[0])
    return {"most_failed": int(failed.max())}, out


def predictions(results: Results) -> tuple[dict[str, Any], Arrays, Arrays]:
    """The theories' names; the phases and losses that they predict for every cell; their weights."""
    cells: Arrays = {}
    models: Arrays = {}
    if not results.mapped:
        return {"theories": [], "could_compare": False}, cells, models
    found = analysis.theory_phases(results.dataset, results.exact)
    names = len(analysis.layout(results.spec).phases)
    for name, phases in found.items():
        placed = results.in_order(phases).astype(np.int64)
        known = (placed >= 0) & (placed < names)  # stored optima may be damaged
        cells[f"theory_{name}"] = whole(np.where(known, placed, NOTHING))
    if "candidate" in found:
        inputs = analysis.cell_inputs(results.dataset)
        losses = theory.candidate_losses(*inputs, results.spec.data.values).min(-1)
        cells["loss_candidate"] = partial(log, results.in_order(losses))
        W = results.in_order(analysis.candidate_weights(results.dataset), "hidden", "feature")
        models["candidate.W"] = partial(linear, W)
    if results.exact is not None and "exact" in found:
        lowest = results.by_cell(results.exact["loss"])
        cells["excess_exact"] = partial(excess, above(results.lowest, lowest))
        cells["loss_exact"] = partial(log, lowest)
        models["exact.W"] = partial(linear, results.by_cell(results.exact["W"], "hidden", "feature"))
        models["exact.b"] = partial(linear, results.by_cell(results.exact["b"], "feature"))
    small = results.spec.exact_loss == "relu" and results.spec.model.features <= analysis.MOST_FEATURES
    return {"theories": list(found), "could_compare": small and results.exact is None}, cells, models


def above(loss: np.ndarray, other: np.ndarray) -> np.ndarray:
    """loss / other - 1, at most MOST_ABOVE; NaN for an infinite loss."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(loss / other - 1, MOST_ABOVE)
    return np.where(np.isfinite(loss), np.where(loss == other, 0, ratio), np.nan)


def phases(results: Results, W: np.ndarray) -> np.ndarray:
    """The phase of every model W (replica, hidden, feature, cells), NOTHING where it diverged."""
    found = analysis.phases_of(np.nan_to_num(np.moveaxis(W.astype(np.float64), -1, 1)), analysis.layout(results.spec))
    return np.where(np.isnan(W[:, 0, 0]), NOTHING, found.astype(np.int64))
