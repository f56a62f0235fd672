"""Figures of the branches: their exact losses, and a map of the lowest ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from studies.collapse.theory import BRANCHES, DROPPED
from studies.figures import Panel, panels

from tmsjax.plots import style

SHORT_NAMES = ("0", "1", "2", "3", "PC", "dropped")
TONES = ("#f2f2f2", "#9ecae1", "#4292c6", "#08519c", "#fdae61", "#c0392b")  # of BRANCHES
STEP = 0.2  # change of the logarithm of a loss between two points beyond which it is not the same branch
X = "feature probability"


def branches(numbers: dict) -> Figure:
    """The exact loss of each branch, and the branch of lowest loss beside the best trained models."""
    p, losses, linear = (np.array(numbers[key], float) for key in ("p", "losses", "linear"))
    marks = {f"{short(one['before'])} | {short(one['after'])}": one["p"] for one in numbers["transitions"]}
    curves = {name: (p, one_branch(losses[k] / linear)) for k, name in enumerate(BRANCHES[:DROPPED])}
    trained = numbers["trained"]
    steps = {"best of trained models": (trained["p"], trained["branch"])}
    best = np.array([np.nanargmin(column) for column in losses.T])
    return panels(
        [
            Panel(
                "exact loss of each branch",
                X,
                "loss / loss of the best linear model",
                curves,
                marks=marks,
                legend="lower right",
            ),
            Panel("lowest branch", X, "collapsed pairs; 4: principal components", {"exact": (p, best)}, dots=steps),
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


def branch_map(mapped: Mapping[str, Any]) -> Figure:
    """The branches of the best trained models and of the exact minima, side by side."""
    shown = {"best of trained models": np.array(mapped["trained"]), "exact": np.array(mapped["exact"])}
    tones = ListedColormap(TONES)
    norm = BoundaryNorm(np.arange(len(BRANCHES) + 1) - 0.5, len(BRANCHES))
    at = style.borders(np.array(mapped["p"]), True), style.borders(np.array(mapped["correlation"]), False)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(4.2 * len(shown) + 0.4, 4.1), layout="constrained")
        for axes, (title, values) in zip(figure.subplots(1, len(shown), sharey=True), shown.items(), strict=True):
            axes.pcolormesh(*at, values, cmap=tones, norm=norm, rasterized=True)
            axes.set_xscale("log")
            style.plain_log_ticks(axes.xaxis)
            axes.set(xlabel=X, title=title)
        figure.axes[0].set_ylabel("correlation within pairs")
        patches = [Patch(facecolor=tones(norm(k)), edgecolor="#888888", label=name) for k, name in enumerate(BRANCHES)]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    return figure
