"""The exact map of n = 2, m = 1, its jump and onset, and the models without bias."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from studies import figures
from studies.phase_changes.cells import cells_of, certified, of_map
from studies.reporting import Report
from studies.summaries import SIGNED_PHASES, signed_phases

from tmsjax import theory
from tmsjax.plots import style

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def make(report: Report) -> dict:
    """The exact map of n = 2, m = 1, its jump and onset, and the models without bias."""
    size = report.choose(400, 40, 4)
    grid = np.geomspace(0.1, 10, size), np.geomspace(1, 0.01, size)
    cells = cells_of(grid)
    best, without = (theory.exact_optimum(*cells, bias=bias) for bias in (True, False))
    shape = (size, size)
    maps = {
        "candidate theory": signed_phases(theory.candidate_weights(*cells)),
        "exact theory": signed_phases(best.W),
        "exact theory, no bias": signed_phases(without.W),
    }
    maps = {name: phases.reshape(shape) for name, phases in maps.items()}
    curve = theory.candidate_boundary(grid[0])
    report.figure("exact_maps", figures.class_maps(maps, grid, curve=curve))
    ratio = np.linspace(0.05, 1, report.choose(96, 24, 4))
    fine, listed = (theory.jump(at, report.choose(1e-4, 1e-4, 0.01)) for at in (ratio, np.array(RATIOS)))
    at = np.linspace(0.02, 1, 500)
    onset = np.interp(ratio, [theory.onset(p) for p in at], at)
    first = onset > fine.probability  # as probability falls, the onset comes before the jump
    curves = {
        "candidate curve": theory.candidate_boundary(ratio),
        "jump of the exact optimum": fine.probability,
        "continuous onset": np.where(first, onset, np.nan),
    }
    names = ("$w$ of the major feature", "$w$ of the minor", "$b$ of the major", "$b$ of the minor")
    weights = dict(zip(names, fine.inside.T, strict=True))
    report.figure("boundaries", boundaries(ratio, curves, weights))
    both = np.isfinite(best.second_loss)
    none, signed = SIGNED_PHASES.index, maps["exact theory, no bias"]
    trained = report.run("no-bias")
    check = report.choose((30, 200), (8, 200), (2, 2))
    return {
        "cells": size**2,
        "candidate_agreement": np.mean(maps["candidate theory"] == maps["exact theory"]),
        "candidate_superposed": np.mean(maps["candidate theory"] == none("antipodal")),
        "exact_superposed": np.mean(maps["exact theory"] == none("antipodal")),
        "exact_same_sign": int((maps["exact theory"] == none("same sign")).sum()),
        "largest_gradient": best.gradient.max(),
        "two_minima": both.mean(),
        "second_ratio_median": np.median(best.second_loss[both] / best.loss[both]),
        "largest_gain_on_candidates": np.max(1 - best.loss / theory.candidate_losses(*cells).min(-1)),
        "no_bias_antipodal": np.mean(signed == none("antipodal")),
        "no_bias_same_sign": np.mean(signed == none("same sign")),
        "no_bias_same_sign_least_probability": np.min(cells[1][signed.reshape(-1) == none("same sign"), 0]),
        "no_bias_largest_excess": np.max(without.loss / best.loss),
        "no_bias_trained": of_map(trained),
        "certified": certified(2, *check),
        "certified_no_bias": certified(2, *check, bias=False),
        "meeting_ratio": float(ratio[first].min()),
        "jump": {
            "ratio": listed.ratio,
            "candidate": theory.candidate_boundary(listed.ratio),
            "probability": listed.probability,
            "onset": [float(np.interp(r, [theory.onset(p) for p in at], at)) for r in listed.ratio],
            "inside": listed.inside,
            "outside": listed.outside,
            "precision": listed.precision,
        },
    }


def boundaries(ratio: np.ndarray, curves: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> Figure:
    """Boundaries in feature probability against the ratio of importances, and the models just inside the jump.

    Left: the candidate boundary, the jump and the onset. Right: weights and biases.
    """
    with rc_context(style.STYLE):
        figure = Figure(figsize=(9.2, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        dashes = ("--", "-", "-.")
        for (name, values), tone, dash in zip(curves.items(), ("#777777", "#c0392b", "#0072b2"), dashes, strict=True):
            left.plot(ratio, values, dash, color=tone, label=name)
        left.set_ylabel(figures.PROBABILITY)
        left.set_ylim(0, 1.02)
        left.legend(frameon=False, loc="lower right")
        for (name, values), tone, dash in zip(weights.items(), style.TONES, ("-", "--", "-.", ":"), strict=False):
            right.plot(ratio, values, dash, color=tone, label=name)
        right.set_ylabel("value just inside the jump")
        right.axhline(0, color="black", linewidth=0.5)
        right.legend(frameon=False, ncols=2, loc="center left", bbox_to_anchor=(0.0, 0.29))
        for axes in (left, right):
            axes.set_xlabel("importance of the minor feature / major")
            axes.grid(alpha=0.3)
    return figure
