"""Adversarial attacks on trained tied models ReLU(W^T W x + b): how much a small perturbation of the input harms them.

numpy only. Source: Elhage et al. 2022, section "Superposition and adversarial examples". Perturbations have a given L2
norm; the loss is the importance-weighted square error, summed over features, against the unperturbed input.
"""

from __future__ import annotations

import numpy as np

ASCENT_STEPS = 20
TINY = 1e-12


def losses(W: np.ndarray, b: np.ndarray, x: np.ndarray, importance: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The loss of each sample x (k, n) if the model W (m, n), b (n,) sees `seen` (k, n) instead; shape (k,)."""
    out = np.maximum((seen @ W.T) @ W + b, 0)
    return ((out - x) ** 2) @ importance


def analytic(W: np.ndarray, b: np.ndarray, x: np.ndarray, importance: np.ndarray, radius: float) -> np.ndarray:
    """The analytic attack on samples x (k, n): the worst of the perturbations along the rows of W^T W, added to x.

    Along row i a perturbation of norm `radius` raises the pre-activation of output i most.
    """
    rows = W.T @ W
    steps = radius * rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
    moved = steps @ rows
    before = (x @ W.T) @ W + b
    worst, chosen = np.full(len(x), -np.inf), np.zeros(len(x), int)
    for i in range(len(rows)):
        loss = ((np.maximum(before + moved[i], 0) - x) ** 2) @ importance
        better = loss > worst
        worst[better], chosen[better] = loss[better], i
    return x + steps[chosen]


def ascent(
    W: np.ndarray,
    b: np.ndarray,
    x: np.ndarray,
    importance: np.ndarray,
    radius: float,
    start: np.ndarray,
    steps: int = ASCENT_STEPS,
) -> np.ndarray:
    """Projected gradient ascent on the loss within the ball of `radius` around x (k, n), from `start`.

    Steps of `radius` / 5 along the unit gradient. Returns the worst inputs seen; where the gradient vanishes (every
    output is 0 and stays so), the start.
    """
    seen = start
    worst, best = losses(W, b, x, importance, seen), seen
    for _ in range(steps):
        before = (seen @ W.T) @ W + b
        error = 2 * importance * (np.maximum(before, 0) - x) * (before > 0)
        slope = (error @ W.T) @ W
        seen = seen + radius / 5 * slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), TINY)
        shift = seen - x
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        seen = x + shift * np.minimum(1, radius / np.maximum(length, TINY))
        loss = losses(W, b, x, importance, seen)
        better = loss > worst
        worst, best = np.maximum(worst, loss), np.where(better[:, None], seen, best)
    return best


def without_superposition(n: int, m: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """The best model W (m, n), b (n,) without superposition: the first m features alone, the mean for all others."""
    return np.eye(m, n), np.where(np.arange(n) < m, 0.0, mean)
