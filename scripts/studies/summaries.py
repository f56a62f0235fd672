"""What several studies say of their runs: their cost, their figures, and words for their models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from studies.reporting import Report
from tmsjax import analysis, plots
from tmsjax.kinds import REPRESENTED

SIGNED_PHASES = ("none", "first only", "second only", "antipodal", "same sign")
SHORT = ["train.steps=2000", "train.batch=256"]
FEW = ["axes.replica.count=2"]


def of_run(run: Any) -> dict:
    """Number of models, seconds of training, number of diverged models."""
    facts = run.directory.info() if run.directory else None  # None: drawn
    return {
        "models": run.spec.instances,
        "seconds": facts.seconds_of_training if facts else 0.0,
        "diverged": facts.diverged_models if facts else 0,
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


def signed_phases(W: np.ndarray) -> np.ndarray:
    """Index into SIGNED_PHASES for models W (..., 1, 2); splits superposition by the sign of w1 w2."""
    represented = np.abs(W[..., 0, :]) >= REPRESENTED
    same = represented.all(-1) & (W[..., 0, 0] * W[..., 0, 1] > 0)
    return (represented[..., 0] + 2 * represented[..., 1] + same).astype(np.int8)


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
