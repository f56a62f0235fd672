"""Where the exact optimum of n = 2, m = 1 jumps: the first-order boundary of the one-neuron phase diagram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmsjax.theory.candidates import candidate_boundary
from tmsjax.theory.optimum import Optimum, exact_optimum

SCAN = 96  # probabilities to scan for the largest gap
BELOW_CANDIDATE = 0.7  # the scan starts at this times the candidate boundary's probability
FINEST = 1e-9  # least precision


@dataclass(frozen=True)
class Jump:
    """The jump for k importance ratios. Inside is the side with more superposition, at smaller probabilities.

    ratio (k,): importance of the minor feature over the major one's. probability (k,): where the losses of the two
    branches cross. inside, outside (k, 4): (w_major, w_minor, b_major, b_minor) on either side, w_major > 0, at most
    `precision` apart in probability.

    Examples:
        >>> found = tmsjax.theory.jump([0.3])
        >>> found.inside.shape
        (1, 4)
    """

    ratio: np.ndarray
    probability: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    precision: float


def jump(ratio: np.ndarray, precision: float = 1e-4) -> Jump:
    """Bisects for the probability at which the global minimum switches branches, for `ratio` (k,) in (0, 1].

    `exact_optimum` gives the global minima. A scan from below the candidate boundary to 1 finds the largest gap in
    `|w_minor / w_major|`; bisection then assigns each midpoint to the nearer side. Raises ValueError for ratios outside
    (0, 1] and for a precision below 1e-9.

    Examples:
        >>> tmsjax.theory.jump([0.3]).probability.round(3)
        array([0.376])
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
    """(w_major, w_minor, b_major, b_minor) of the global minima, shape (k, 4), w_major > 0."""
    best = exact_optimum(np.stack([np.ones_like(ratio), ratio], 1), np.stack([probability, probability], 1))
    return _ordered(best)


def _ordered(best: Optimum) -> np.ndarray:
    """Puts the larger weight first and makes it positive; at ratio 1 either feature may be the major one."""
    W = best.W[:, 0]
    order = np.argsort(-np.abs(W), axis=1, kind="stable")
    W, b = np.take_along_axis(W, order, 1), np.take_along_axis(best.b, order, 1)
    return np.concatenate([W * np.sign(W[:, :1]), b], axis=1)


def _share(models: np.ndarray) -> np.ndarray:
    return np.abs(models[..., 1] / models[..., 0])
