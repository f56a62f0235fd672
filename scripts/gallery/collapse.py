"""8. PCA collapse: pairs of correlated features fall onto one direction each, one pair after the other."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from reporting import Report, Rows, Tables, table

from gallery.study import SHORT, Runs, of_run
from tmsjax import plots, theory
from tmsjax.analysis import polytopes
from tmsjax.kinds import REPRESENTED, drawn_by, measures

FAST = [*SHORT, "train.learning_rate=5e-3"]
RUNS: Runs = {
    "pca_collapse": ("pca_collapse", [], [*FAST, "axes.feature_probability.count=10", "axes.replica.count=16"]),
    "pca_correlation": (
        "pca_correlation",
        [],
        [*FAST, "axes.feature_probability.count=6", "axes.correlation.count=3", "axes.replica.count=4"],
    ),
}
PAIRS = ((0, 1), (2, 3), (4, 5))
COLLAPSED = 0.9  # least cosine of the directions of a collapsed pair
APART = -0.75  # cosine of two pairs of which one is the other's antipode
BRANCHES = ("0 collapsed", "1 collapsed", "2 collapsed", "3 collapsed", "principal components", "a feature dropped")
SHORT_NAMES = ("0", "1", "2", "3", "PC", "dropped")
PRINCIPAL, DROPPED = 4, 5
STEP = 0.2  # change of the logarithm of a loss between two points beyond which it is not the same branch
LEAST, MOST = 0.02, 0.9  # at p = 1 all features are always active, and nothing is left of the pairs
X, Y = "feature probability", "correlation within pairs"


def make(report: Report) -> dict:
    """8. PCA collapse: pairs of correlated features fall onto one direction each, one pair after the other."""
    points, starts = (10, 6) if report.quick else (40, 16)
    p = np.geomspace(LEAST, MOST, points)
    found = branches(p, starts)
    collapse, correlation = report.run("pca_collapse"), report.run("pca_correlation")
    trained, mapped = of_trained(collapse), of_map(correlation, 2 if report.quick else 4)
    losses = np.array([[one.get(k, (np.nan,))[0] for one in found] for k in range(len(BRANCHES))])
    numbers = {
        "runs": {"collapse": of_run(collapse), "correlation": of_run(correlation)},
        "seeds": len(collapse.spec.axis["replica"]),
        "p": p,
        "losses": losses,
        "linear": [linear_loss(q) for q in p],
        "transitions": transitions(p, found),
        "norm": [float(measures.norms(one[PRINCIPAL][1]).mean()) if PRINCIPAL in one else np.nan for one in found],
        "uneven": {name: pair_norms(0.1, c) for name, c in (("low", lowest_correlation(correlation)), ("high", 1.0))},
        "trained": trained,
        "map": mapped,
    }
    report.figure("collapse_branches", drawn(numbers))
    grid = np.array(mapped["p"]), np.array(mapped["correlation"])
    maps = {"best of trained models": np.array(mapped["trained"]), "exact": np.array(mapped["exact"])}
    report.figure("collapse_map", plots.reports.level_maps(maps, grid, BRANCHES, x=X, y=Y))
    return numbers


def branch_of(W: np.ndarray) -> int:
    """The index into BRANCHES of a model W (2, 6). Three collapsed pairs are principal components if none is another's
    antipode."""
    if measures.norms(W).min() < REPRESENTED:
        return DROPPED
    cosine = polytopes.cosines(W)
    count = sum(bool(cosine[i, j] >= COLLAPSED) for i, j in PAIRS)
    if count < len(PAIRS):
        return count
    return len(PAIRS) if cosine.min() <= APART else PRINCIPAL


Found = dict[int, tuple[float, np.ndarray, np.ndarray]]  # branch -> loss, W and b of its lowest minimum


def lowest(p: float, starts: int, near: list[Found], **data: Any) -> Found:
    """The lowest minimum of every branch, from random starts and the minima of `near`."""
    models = [(W, b) for one in near for _, W, b in one.values()]
    begin = None if not models else (np.array([W for W, _ in models]), np.array([b for _, b in models]))
    found = theory.minima(np.ones(6), np.full(6, p), 2, starts=starts, near=begin, **data)
    out: Found = {}
    for W, b, loss in zip(found.W, found.b, found.loss, strict=True):
        out.setdefault(branch_of(W), (float(loss), W, b))
    return out


def branches(p: np.ndarray, starts: int) -> list[Found]:
    """Of every probability: the lowest minimum of each branch, followed from both sides."""
    found: list[Found] = []
    for q in p:
        found.append(lowest(q, starts, found[-1:], activity="groups", size=2))
    for k in range(len(p) - 2, -1, -1):
        for branch, one in lowest(p[k], 0, found[k + 1 : k + 2], activity="groups", size=2).items():
            if branch not in found[k] or one[0] < found[k][branch][0]:
                found[k][branch] = one
    return found


def transitions(p: np.ndarray, found: list[Found]) -> list[dict]:
    """Where the branch of lowest loss changes: both branches, the probability where their losses cross, that loss.

    The loss is None if they do not cross, since the one turns into the other; then the probability is that between the
    two points.
    """
    best = [min(one, key=lambda branch: one[branch][0]) for one in found]
    out = []
    for k, (before, after) in enumerate(pairwise(best)):
        if before == after:
            continue
        row: dict[str, Any] = {"before": BRANCHES[before], "after": BRANCHES[after], "loss": None}
        row["p"] = float(np.sqrt(p[k] * p[k + 1]))  # if one turns into the other
        if after in found[k] and before in found[k + 1]:
            models = found[k][before][1:], found[k][after][1:]
            with suppress(ValueError):  # no crossing
                row["p"] = theory.crossing(*models, cell_at, p[k], p[k + 1], precision=1e-5, activity="groups", size=2)
                at = theory.follow(*models[0], *(v[None] for v in cell_at(row["p"])), activity="groups", size=2)
                row["loss"] = float(at.loss[0])
        out.append(row)
    return out


def cell_at(p: float) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(6), np.full(6, p)


def linear_loss(p: float) -> float:
    """The loss of the best linear model, principal components: all variance but that of two directions."""
    joint = drawn_by("groups", 6, size=2).joint(np.full(6, p))
    covariance = joint / 4 - p**2 / 4
    covariance[np.arange(6), np.arange(6)] = theory.variance(p)
    return float(np.linalg.eigvalsh(covariance)[:4].sum())


def best_model(cell: Any, p: float, **data: Any) -> tuple[int, float]:
    """The branch and the loss of a cell's replica of lowest exact loss."""
    sound = cell.isel(replica=np.flatnonzero(cell["status"].to_numpy() == 0)).transpose("replica", "hidden", ...)
    W, b = (sound[name].to_numpy().astype(float) for name in ("W", "b"))
    loss = theory.exact_losses(W, b, *cell_at(p), **data)
    return branch_of(W[loss.argmin()]), float(loss.min())


def of_trained(run: Any) -> dict:
    """The branch of the best trained model at every probability, ascending, and its exact loss."""
    p = np.sort(run.dataset["feature_probability"].to_numpy())
    cells = [run.dataset.sel(feature_probability=q) for q in p]
    found = [best_model(cell, q, activity="groups", size=2) for cell, q in zip(cells, p, strict=True)]
    return {"p": p, "branch": [branch for branch, _ in found], "loss": [loss for _, loss in found]}


def of_map(run: Any, starts: int) -> dict:
    """Branches over probability (x) and correlation (y): of the best trained models, and of the exact minima."""
    p, correlation = (np.sort(run.dataset[name].to_numpy()) for name in ("feature_probability", "correlation"))
    trained, exact = np.zeros((2, len(correlation), len(p)), int)
    before: list[Found] = [{} for _ in p]
    for row in np.argsort(-correlation):
        for column in range(len(p)):
            near = [before[column], *before[column - 1 : column]]  # at the last correlation, and the neighbour here
            data = {"activity": "correlated", "size": 2, "correlation": float(correlation[row])}
            before[column] = lowest(p[column], starts, near, **data)
            exact[row, column] = min(before[column], key=lambda branch: before[column][branch][0])
            cell = run.dataset.sel(correlation=correlation[row], feature_probability=p[column])
            trained[row, column] = best_model(cell, p[column], **data)[0]
    return {
        "p": p,
        "correlation": correlation,
        "trained": trained,
        "exact": exact,
        "agreement": float(np.mean(trained == exact)),
        "cells": int(trained.size),
    }


def lowest_correlation(run: Any) -> float:
    """The lowest correlation above 0."""
    return float(min(c for c in run.dataset["correlation"].to_numpy() if c > 0))


def pair_norms(p: float, correlation: float) -> dict:
    """The norms of the collapsed pair of the lowest minimum with one."""
    found = lowest(p, 24, [], activity="correlated", size=2, correlation=correlation)
    W = found[1][1]
    cosine, norm = polytopes.cosines(W), measures.norms(W)
    i, j = next(pair for pair in PAIRS if cosine[pair] >= COLLAPSED)
    return {"correlation": correlation, "larger": float(max(norm[[i, j]])), "smaller": float(min(norm[[i, j]]))}


def drawn(numbers: dict) -> Any:
    p, losses, linear = (np.array(numbers[key], float) for key in ("p", "losses", "linear"))
    marks = {f"{short(one['before'])} | {short(one['after'])}": one["p"] for one in numbers["transitions"]}
    curves = {name: (p, one_branch(losses[k] / linear)) for k, name in enumerate(BRANCHES[:DROPPED])}
    trained = numbers["trained"]
    steps = {"best of trained models": (trained["p"], trained["branch"])}
    best = np.array([np.nanargmin(column) for column in losses.T])
    panel = plots.reports.Panel
    return plots.reports.panels(
        [
            panel(
                "exact loss of each branch",
                X,
                "loss / loss of the best linear model",
                curves,
                marks=marks,
                legend="lower right",
            ),
            panel("lowest branch", X, "collapsed pairs; 4: principal components", {"exact": (p, best)}, dots=steps),
        ]
    )


def one_branch(ratio: np.ndarray) -> np.ndarray:
    """A branch's losses around their lowest point; NaN from where the lowest minimum of its kind is another one."""
    steps = np.abs(np.diff(np.log(ratio)))
    broken = np.flatnonzero(~(steps < STEP))
    first = int(np.nanargmin(ratio))
    low, high = (broken[broken < first] + 1).max(initial=0), broken[broken >= first].min(initial=len(steps))
    at = np.arange(len(ratio))
    return np.where((at >= low) & (at <= high), ratio, np.nan)


def short(branch: str) -> str:
    return SHORT_NAMES[BRANCHES.index(branch)]


def collapse(numbers: dict) -> str:
    """The transitions, and between which probabilities the best trained models make them."""
    found = numbers["collapse"]
    p, branch = (np.array(found["trained"][key]) for key in ("p", "branch"))
    rows: Rows = []
    for one in found["transitions"]:
        after = BRANCHES.index(one["after"])
        below, above = p[branch < after], p[branch >= after]
        trained = f"{below.max():.3g} to {above.min():.3g}" if below.size and above.size else "not in these models"
        loss = "no crossing" if one["loss"] is None else f"{one['loss']:.5f}"
        rows.append([one["before"], one["after"], f"{one['p']:.3f}", loss, trained])
    return table(["below", "above", "p of the crossing", "loss there", "best trained models change within p"], rows)


TABLES: Tables = {"collapse": collapse}
