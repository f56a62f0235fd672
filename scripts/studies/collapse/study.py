"""PCA collapse: pairs of correlated features fall onto one direction each, one pair after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.collapse import figures
from studies.collapse.theory import (
    BRANCHES,
    COLLAPSED,
    PAIRS,
    PRINCIPAL,
    Found,
    branch_of,
    branches,
    cell_at,
    linear_loss,
    lowest,
    transitions,
)
from studies.reporting import Report, Rows, Study, Sweep, table
from studies.summaries import SHORT, of_run

from tmsjax import theory
from tmsjax.analysis import polytopes
from tmsjax.kinds import measures

FAST = (*SHORT, "train.learning_rate=5e-3")
LEAST, MOST = 0.02, 0.9  # at p = 1 all features are always active, and nothing is left of the pairs


def make(report: Report) -> dict:
    points, starts = report.choose((40, 16), (10, 6), (3, 2))
    p = np.geomspace(LEAST, MOST, points)
    found = branches(p, starts)
    collapse, correlation = report.run("pca_collapse"), report.run("pca_correlation")
    trained, mapped = of_trained(collapse), of_map(correlation, report.choose(4, 2))
    losses = np.array([[one.get(k, (np.nan,))[0] for one in found] for k in range(len(BRANCHES))])
    numbers = {
        "runs": {"collapse": of_run(collapse), "correlation": of_run(correlation)},
        "seeds": len(collapse.spec.axis["replica"]),
        "p": p,
        "losses": losses,
        "linear": [linear_loss(q) for q in p],
        "transitions": transitions(p, found),
        "norm": [float(measures.norms(one[PRINCIPAL][1]).mean()) if PRINCIPAL in one else np.nan for one in found],
        "uneven": {"low": pair_norms(0.1, lowest_correlation(correlation)), "high": pair_norms(0.1, 1.0)},
        "trained": trained,
        "map": mapped,
    }
    report.figure("branches", figures.branches(numbers))
    report.figure("map", figures.branch_map(mapped))
    return numbers


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


def crossings(numbers: dict) -> str:
    """The transitions, and between which probabilities the best trained models make them."""
    p, branch = (np.array(numbers["trained"][key]) for key in ("p", "branch"))
    rows: Rows = []
    for one in numbers["transitions"]:
        after = BRANCHES.index(one["after"])
        below, above = p[branch < after], p[branch >= after]
        trained = f"{below.max():.3g} to {above.min():.3g}" if below.size and above.size else "not in these models"
        loss = "no crossing" if one["loss"] is None else f"{one['loss']:.5f}"
        rows.append([one["before"], one["after"], f"{one['p']:.3f}", loss, trained])
    return table(["below", "above", "p of the crossing", "loss there", "best trained models change within p"], rows)


STUDY = Study(
    name="collapse",
    make=make,
    runs={
        "pca_collapse": Sweep(
            "pca_collapse.toml",
            quick=(*FAST, "axes.feature_probability.count=10", "axes.replica.count=16"),
            smallest=("axes.feature_probability.count=2", "axes.replica.count=2", "train.steps=20", "train.batch=16"),
        ),
        "pca_correlation": Sweep(
            "pca_correlation.toml",
            quick=(*FAST, "axes.feature_probability.count=6", "axes.correlation.count=3", "axes.replica.count=4"),
            smallest=("axes.feature_probability.count=2", "axes.replica.count=2", "train.steps=20", "train.batch=16"),
        ),
    },
    tables={"crossings": crossings},
    drawn=True,
)
