"""Figures of the phases of two relations, of matrices, and of what heads store by rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from studies.figures import class_maps, lines
from studies.heads import theory
from studies.heads.relations import at_best, one_scale, probabilities, random_scores, singular_scores, strengths_of
from studies.heads.relations import stored as which_stored

from tmsjax.plots import style

SHOWN_RANKS, SHOWN = (1, 2, 3), (0, 3, 5, 7, 9)  # of the figure of W_QK: ranks, and indices of probabilities
SHOWN_OUTPUT = (0, 2, 3, 5, 7)  # of the figure of W_OV: indices of probabilities
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1)
NAMES = {0: "neither", 1: "first only", 2: "second only", 3: "both, in superposition", 4: "both, same sign"}


def phases(shown: Mapping[str, np.ndarray], grid: tuple[np.ndarray, np.ndarray]) -> Figure:
    """Which of two relations, or of two features, are stored."""
    return class_maps(shown, grid, names=NAMES, x="importance of the second relation (feature)")


def matrices(runs: Mapping[int, Any]) -> Figure:
    """W_QK of the best heads by rank and probability."""
    rows = {}
    for d in SHOWN_RANKS:
        p, best = probabilities(runs[d]), at_best(runs[d])
        rows[f"rank {d}"] = {f"p = {p[k]:.2g}": best[k] for k in SHOWN}
    return matrix_rows(rows, label=r"entries of $W_{QK}$", x="key feature", y="query feature")


def output(run: Any) -> Figure:
    """W_QK and W_OV of the best heads by probability, in the scale in which the best stored relation is exact."""
    p = probabilities(run)
    both = one_scale(at_best(run), at_best(run, "OV"), strengths_of(run))
    names = (r"$W_{QK}$", r"$W_{OV}$")
    rows = {name: {f"p = {p[k]:.2g}": M[k] for k in SHOWN_OUTPUT} for name, M in zip(names, both, strict=True)}
    return matrix_rows(rows, label="entries", x="key feature", y="feature")


def matrix_rows(
    rows: Mapping[str, Mapping[str, np.ndarray]], *, label: str, x: str, y: str, limit: float = 1.5
) -> Figure:
    """Matrices by title, one row of panels per name, in one colour scale: zero white, values beyond +- `limit` clipped.

    `label`: of the colours; `x`, `y`: what columns and rows of a matrix are.
    """
    columns = max(map(len, rows.values()))
    with rc_context(style.STYLE):
        figure = Figure(figsize=(1.65 * columns + 1.3, 1.85 * len(rows) + 0.3), layout="constrained")
        every = figure.subplots(len(rows), columns, squeeze=False)
        for line, (name, panels) in zip(every, rows.items(), strict=True):
            for k, (axes, (title, matrix)) in enumerate(zip(line, panels.items(), strict=True)):
                image = axes.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
                axes.set_title(title)
                axes.set_xticks([])
                axes.set_yticks([])
                if k == 0:
                    axes.set_ylabel(f"{name}\n{y}")
                if line is every[-1]:
                    axes.set_xlabel(x)
        figure.colorbar(image, ax=every, label=label, extend="both")
    return figure


def stored(runs: Mapping[int, Any]) -> Figure:
    """The number of relations stored by rank and probability, with and without ReLU."""
    found = {d: counts(run) for d, run in runs.items()}
    panels = {
        title: {f"rank {d}": (probabilities(runs[d]), found[d][k]) for d in runs}
        for k, title in enumerate(("ReLU, best trained head", "without ReLU, exact optimum"))
    }
    return lines(panels, x="feature probability", y="relations stored, of 12", ticks=TICKS, floor=-0.4)


def counts(run: Any) -> tuple[np.ndarray, ...]:
    """The number of relations that the best heads store, and that the optimum without ReLU stores."""
    r = strengths_of(run)
    linear, _ = theory.head_linear_optimum(r, probabilities(run), run.spec.model.hidden)
    return tuple(which_stored(M, r).sum(-1) for M in (at_best(run), linear))


def singular(ranks: Mapping[int, Any], outputs: Mapping[int, Any]) -> Figure:
    """How well singular vectors of the best heads match features, beside random directions."""
    panels = {
        r"$W_{QK}$ of 12 relations": {
            f"rank {d}": (probabilities(run), singular_scores(at_best(run), d)) for d, run in ranks.items()
        },
        r"$W_{OV}$ of 8 outputs": {
            f"rank {m}": (probabilities(run), singular_scores(at_best(run, "OV"), m)) for m, run in outputs.items()
        },
    }
    dashed = {
        title: ("random directions", np.array([0.02, 1]), np.full(2, random_scores(k, 1).mean()))
        for title, k in zip(panels, (12, 8), strict=True)
    }
    return lines(
        panels,
        x="feature probability",
        y="largest |cosine| with a feature,\nmean over singular vectors",
        ticks=TICKS,
        reference=dashed,
    )
