"""What several studies say of their runs: their cost, what theory predicts for their models, and words for these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import xarray as xr

from studies.reporting import Report
from tmsjax import analysis, plots, theory
from tmsjax.kinds import REPRESENTED

SIGNED_PHASES = ("none", "first only", "second only", "antipodal", "same sign")
SHORT = ["train.steps=2000", "train.batch=256"]
FEW = ["axes.replica.count=2"]


def of_run(run: Any) -> dict:
    """Number of models, seconds of training, number of diverged models."""
    info = run.directory.info()
    return {
        "models": run.spec.instances,
        "seconds": info["seconds_of_training"],
        "diverged": info["diverged_models"],
    }


def in_two_processes(function: Callable, items: Sequence) -> list:
    """`function` of every item, in two processes if there is more than one."""
    if len(items) < 2:
        return [*map(function, items)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return [*pool.map(function, items)]


def draw(report: Report, name: str, **options: Any) -> None:
    """Draws a run's figures as `tmsjax plot` does."""
    for figure_name, figure in plots.figures(report.run(name), **options).items():
        report.figure(f"{name}_{figure_name}", figure)


def inputs_of(measured: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(importance, probability) of every model, each (..., feature)."""
    names = ("instance_importance", "instance_feature_probability")
    i, p = (measured[n].transpose(*measured["loss"].dims, "feature").to_numpy().astype(float) for n in names)
    return i, p


def predicted(measured: xr.Dataset) -> np.ndarray:
    """Classes (..., feature) that candidate theory (theory/pairs.py) predicts for each model of a measured run."""
    data = analysis.spec_of(measured).data
    importance, probability = inputs_of(measured)
    shape, n, hidden = importance.shape, importance.shape[-1], measured.sizes["hidden"]
    problems = np.concatenate([importance.reshape(-1, n), probability.reshape(-1, n)], axis=1)
    rows, back = np.unique(problems, axis=0, return_inverse=True)
    solved = [
        theory.best_assignment(row[:n], row[n:], hidden, activity=data.activity, values=data.values) for row in rows
    ]
    return np.array([one.classes for one in solved])[back.reshape(-1)].reshape(shape)


def signed_phases(W: np.ndarray) -> np.ndarray:
    """Index into SIGNED_PHASES for models W (..., 1, 2); splits superposition by the sign of w1 w2."""
    represented = np.abs(W[..., 0, :]) >= REPRESENTED
    same = represented.all(-1) & (W[..., 0, 0] * W[..., 0, 1] > 0)
    return (represented[..., 0] + 2 * represented[..., 1] + same).astype(np.int8)


def confusion(expected: np.ndarray, found: np.ndarray) -> list[list[int]]:
    """Number of features by expected class (rows) and found class (columns), without masked ones."""
    names = range(len(analysis.FEATURE_CLASSES))
    return [[int(((expected == a) & (found == b)).sum()) for b in names] for a in names]


def arrangement(W: np.ndarray) -> str:
    """The components of a model W (m, n) as text, such as "2 digons" or "pentagon"."""
    parts, kinds = analysis.component_kinds(W)
    names = [analysis.COMPONENTS[kinds[part[0]]] for part in parts]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    plain = ("dedicated", analysis.polytopes.OTHER)
    words = [
        name if c == 1 and name not in plain else f"{c} {name}" + "s" * (c > 1 and name not in plain)
        for name, c in counts.items()
    ]
    return " + ".join(words) or "nothing"
