"""The paper's candidate solutions, their losses, and the onset of superposition.

All functions except `onset` broadcast over leading axes, in float64 numpy without jax. `values` is a name in
kinds.VALUES. Convention: the loss is the sum over features and the mean over samples, E sum_i I_i (x_i - x'_i)^2.
Source of the candidates: Elhage et al. 2022, section "The phase change". For the exact loss see models/expected.py.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from scipy import optimize

from tmsjax.kinds import VALUES


def variance(probability: Any, values: str = "uniform") -> Any:
    """The variance of one feature, v(p) = p E x^2 - p^2 (E x)^2; p/3 - p^2/4 for uniform values.

    `probability`: p, of any shape. `values`: a name in kinds.VALUES.

    Examples:
        >>> round(tmsjax.theory.variance(0.5), 4)
        0.1042
    """
    return probability * VALUES[values].square - probability**2 * VALUES[values].mean ** 2


def least_square(values: str) -> float:
    """E min(x, y)^2 for the values x, y of two active features.

    Raises ValueError for values that may be negative, which antipodal features cannot reproduce.
    """
    least = VALUES[values].least
    if least is None:
        raise ValueError(f"{values!r} values may be negative: the candidates are for values of at least 0")
    return least


def candidates(features: int) -> np.ndarray:
    """The candidate solutions W (k, n - 1, n) for m = n - 1.

    First the ones that drop the last, ..., the first feature, then one per pair of features that share a dimension as
    antipodes. For n = 2: [1, 0], [0, 1], [1, -1].

    Examples:
        >>> tmsjax.theory.candidates(2)[:, 0]
        array([[ 1.,  0.],
               [ 0.,  1.],
               [ 1., -1.]])
    """
    eye = np.eye(features)
    drops = [np.delete(eye, j, axis=0) for j in reversed(range(features))]
    pairs = combinations(range(features), 2)
    return np.array([*drops, *(np.delete(eye - np.outer(eye[i], eye[j]), j, axis=0) for i, j in pairs)])


def candidate_losses(importance: np.ndarray, probability: np.ndarray, values: str = "uniform") -> np.ndarray:
    """Losses (..., k) of the `candidates` for m = n - 1, for `importance`, `probability` (..., n).

    A dropped feature costs I v(p), with its mean as bias. An antipodal pair costs (I_i + I_j) p_i p_j E min(x, y)^2:
    when both are active, both outputs are too small by the smaller value. `values`: a name in kinds.VALUES. Raises
    ValueError as `least_square`.

    Examples:
        >>> tmsjax.theory.candidate_losses(np.array([1.0, 0.5]), np.array([0.3, 0.3])).round(4)
        array([0.0387, 0.0775, 0.0225])
    """
    dropped = importance * variance(probability, values)
    least = least_square(values)
    pairs = [
        (importance[..., i] + importance[..., j]) * probability[..., i] * probability[..., j] * least
        for i, j in combinations(range(importance.shape[-1]), 2)
    ]
    return np.stack([*np.moveaxis(dropped, -1, 0)[::-1], *pairs], axis=-1)


def candidate_weights(importance: np.ndarray, probability: np.ndarray, values: str = "uniform") -> np.ndarray:
    """W (..., n - 1, n) of the candidate of lowest loss, for `importance`, `probability` (..., n).

    `values`: a name in kinds.VALUES.

    Examples:
        >>> tmsjax.theory.candidate_weights(np.array([1.0, 0.5]), np.array([0.3, 0.3]))
        array([[ 1., -1.]])
    """
    best = np.argmin(candidate_losses(importance, probability, values), axis=-1)
    return candidates(importance.shape[-1])[best]


def candidate_boundary(extra_importance: Any, values: str = "uniform") -> Any:
    """The feature probability below which the antipodal candidate has the lowest loss, for n = 2, m = 1.

    With r = `extra_importance` > 0 and rho = min(r, 1/r): rho E x^2 / ((1 + rho) E min^2 + rho (E x)^2), which is
    4 rho / (2 + 5 rho) for uniform values.

    Examples:
        >>> tmsjax.theory.candidate_boundary(np.array([0.5, 1.0, 2.0])).round(4)
        array([0.4444, 0.5714, 0.4444])
    """
    of, rho = VALUES[values], np.minimum(extra_importance, 1 / np.asarray(extra_importance))
    return rho * of.square / ((1 + rho) * least_square(values) + rho * of.mean**2)


def onset(probability: float) -> float:
    """The least importance ratio (minor : major) at which the minor feature's weight grows continuously from 0.

    n = 2, m = 1, exact loss, uniform values. Start from the ReLU optimum without superposition, W = [1, 0] and
    b = (0, p/2), and let the minor weight be w. To order w^2 the minor output gains r v(p) w^2 and the major output
    loses kappa(p) w^2 at the best `|W_1|^2` = 1 + alpha w and b_1 = beta w: kappa = min over alpha, beta of
    p E (alpha x + y + beta)^2 + (1 - p) E ReLU(y + beta)^2 with y = -x_2, x uniform. The onset is at r = kappa / v.
    (Equal signs, y = +x_2, cost more for every p < 1.) Raises ValueError for a probability outside (0, 1].

    Examples:
        >>> round(tmsjax.theory.onset(0.5), 4)
        0.5504
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
