"""Candidate solutions and their losses, and where superposition sets in.

All functions but `onset` broadcast over leading axes, in numpy (float64, without jax). `values` is a name in kinds.VALUES.
Convention: the loss is the sum over features and the mean over samples, E sum_i I_i (x_i - x'_i)^2. Source of the
candidates: the paper, section "The phase change". The exact loss: models/expected.py.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from scipy import optimize

from tmsjax.kinds import VALUES


def variance(probability: Any, values: str = "uniform") -> Any:
    """v(p) = p E x^2 - p^2 (E x)^2, the variance of one feature; p/3 - p^2/4 for uniform values."""
    return probability * VALUES[values].square - probability**2 * VALUES[values].mean ** 2


def least_square(values: str) -> float:
    """E min(x, y)^2 of two active features' values. Raises ValueError for values that may be negative: antipodal
    features do not reproduce those."""
    least = VALUES[values].least
    if least is None:
        raise ValueError(f"{values!r} values may be negative: the candidates are for values of at least 0")
    return least


def candidates(features: int) -> np.ndarray:
    """W (k, n - 1, n) of the candidate solutions of m = n - 1: dropped is the last feature, ... the first; then of each
    pair of features the two share a dimension as antipodes. For n = 2: [1, 0], [0, 1], [1, -1]."""
    eye = np.eye(features)
    drops = [np.delete(eye, j, axis=0) for j in reversed(range(features))]
    pairs = combinations(range(features), 2)
    return np.array([*drops, *(np.delete(eye - np.outer(eye[i], eye[j]), j, axis=0) for i, j in pairs)])


def candidate_losses(importance: np.ndarray, probability: np.ndarray, values: str = "uniform") -> np.ndarray:
    """Losses of the `candidates` of m = n - 1, shape (..., k), for `importance`, `probability` (..., n).

    A dropped feature costs I v(p), with its mean as bias; an antipodal pair (I_i + I_j) p_i p_j E min(x, y)^2: where
    both are active, each is reproduced but for the smaller value.
    """
    dropped = importance * variance(probability, values)
    least = least_square(values)
    pairs = [
        (importance[..., i] + importance[..., j]) * probability[..., i] * probability[..., j] * least
        for i, j in combinations(range(importance.shape[-1]), 2)
    ]
    return np.stack([*np.moveaxis(dropped, -1, 0)[::-1], *pairs], axis=-1)


def candidate_weights(importance: np.ndarray, probability: np.ndarray, values: str = "uniform") -> np.ndarray:
    """W (..., n - 1, n) of the candidate of lowest loss."""
    best = np.argmin(candidate_losses(importance, probability, values), axis=-1)
    return candidates(importance.shape[-1])[best]


def candidate_boundary(extra_importance: Any, values: str = "uniform") -> Any:
    """The feature probability below which superposition wins for n = 2, m = 1: with rho = min(r, 1/r)
    rho E x^2 / ((1 + rho) E min^2 + rho (E x)^2), which is 4 rho / (2 + 5 rho) for uniform values."""
    of, rho = VALUES[values], np.minimum(extra_importance, 1 / np.asarray(extra_importance))
    return rho * of.square / ((1 + rho) * least_square(values) + rho * of.mean**2)


def onset(probability: float) -> float:
    """The least ratio of importances (minor : major) at which a dedicated feature lets in the minor one continuously.

    n = 2, m = 1, exact loss, uniform values. At the ReLU optimum without superposition, W = [1, 0] and b = (0, p/2),
    let the minor weight be w. To order w^2 the minor output gains r v(p) w^2, and the major one loses kappa(p) w^2,
    where |W_1|^2 = 1 + alpha w and b_1 = beta w are chosen best: kappa = min over alpha, beta of
    p E (alpha x + y + beta)^2 + (1 - p) E ReLU(y + beta)^2 with y = -x_2, x uniform. So it sets in at kappa / v. (Equal
    signs, y = +x_2, cost more for every p < 1.) Raises ValueError outside (0, 1].
    """
    p = probability
    if not 0 < p <= 1:
        raise ValueError(f"probability must be in (0, 1], not {probability}")

    def cost(beta: float) -> float:  # for beta in [0, 1], with the best alpha
        alpha = -3 * (beta / 2 - p / 4)
        active = alpha**2 / 3 + p / 3 + beta**2 + 2 * (-alpha * p / 4 + alpha * beta / 2 - beta * p / 2)
        return p * active + (1 - p) * ((1 - p) * beta**2 + p * beta**3 / 3)

    best = optimize.minimize_scalar(cost, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-12})
    return float(best.fun / variance(p))
