"""Where the exact optimum of n = 2, m = 1 jumps: the first-order boundary of the one-neuron phase diagram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmsjax.theory.candidates import candidate_boundary
from tmsjax.theory.optimum import Optimum, exact_optimum

SCAN = 96  # probabilities at which the largest gap is looked for
BELOW_CANDIDATE = 0.7  # times the candidate curve's probability, where they begin
FINEST = 1e-9


@dataclass(frozen=True)
class Jump:
    """The jump for k ratios of importances; just inside is the side of more superposition, towards small probabilities.

    ratio, probability (k,): importance of the minor feature over that of the major one; where the losses of the two
    branches cross. inside, outside: (w_major, w_minor, b_major, b_minor) (k, 4), w_major > 0, on either side of it, at
    most `precision` apart in probability.
    """

    ratio: np.ndarray
    probability: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    precision: float


def jump(ratio: np.ndarray, precision: float = 1e-4) -> Jump:
    """Bisects, for ratios in (0, 1], the probability at which the global minimum passes from one branch to the other.

    The global minima come from `optimum.exact_optimum`. A scan from below the candidate curve to 1 finds the largest
    gap of |w_minor / w_major|; then each midpoint joins the side that it is nearer to. Raises ValueError for ratios
    outside (0, 1] and a precision below FINEST.
    """
    ratio = np.atleast_1d(np.asarray(ratio, np.float64))
    if not ((ratio > 0) & (ratio <= 1)).all():
        raise ValueError("ratio must be in (0, 1]: the minor feature's importance over the major one's")
    if not precision >= FINEST:
        raise ValueError(f"precision must be at least {FINEST:g}, not {precision}")
    scan = np.geomspace(BELOW_CANDIDATE * candidate_boundary(ratio), 1, SCAN, axis=1)
    models = _models(np.repeat(ratio, SCAN), scan.reshape(-1)).reshape(len(ratio), SCAN, 4)
    rows = np.arange(len(ratio))
    gap = np.abs(np.diff(_share(models), axis=1)).argmax(1)
    low, high = scan[rows, gap], scan[rows, gap + 1]
    inside, outside = models[rows, gap], models[rows, gap + 1]
    while (high - low).max() > precision:
        middle = (low + high) / 2
        found = _models(ratio, middle)
        near_inside = np.abs(_share(found) - _share(inside)) < np.abs(_share(found) - _share(outside))
        low, high = np.where(near_inside, middle, low), np.where(near_inside, high, middle)
        inside = np.where(near_inside[:, None], found, inside)
        outside = np.where(near_inside[:, None], outside, found)
    return Jump(ratio, (low + high) / 2, inside, outside, precision)


def _models(ratio: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(w_major, w_minor, b_major, b_minor) of the global minimum, (k, 4), w_major > 0."""
    best = exact_optimum(np.stack([np.ones_like(ratio), ratio], 1), np.stack([probability, probability], 1))
    return _ordered(best)


def _ordered(best: Optimum) -> np.ndarray:
    """At ratio 1 either feature may be the major one: the larger weight is put first, positive."""
    W = best.W[:, 0]
    order = np.argsort(-np.abs(W), axis=1, kind="stable")
    W, b = np.take_along_axis(W, order, 1), np.take_along_axis(best.b, order, 1)
    return np.concatenate([W * np.sign(W[:, :1]), b], axis=1)


def _share(models: np.ndarray) -> np.ndarray:
    return np.abs(models[..., 1] / models[..., 0])
