"""The quadratic model: capacity is divided between features in closed form.

Features x_i are independent with mean 0, variance 1 and kurtosis k = E x_i^4. The target is sum_i v_i x_i^2, the model
|W x|^2 + c with the best constant c. With D = diag(v) - W^T W, the loss is

    (k - 1) sum_i D_ii^2 + 2 sum_{i != j} D_ij^2:

kurtosis weights the errors of features against their interference. Capacity, its allocation by marginal benefit and a
quadratic model are those of Scherlis et al. 2022 (arXiv 2210.01892); the formulas are derived here, and
tests/theory/test_quadratic.py checks them against descents and samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

START_SCALE = 0.6  # standard deviation of random weights at the start, in units of the root of the largest target
GRADIENT = 1e-10  # at which a descent stops


@dataclass(frozen=True)
class Allocation:
    """The best division of m dimensions between n features.

    capacity (n,): C_i in [0, 1], with sum m. square (n,): `|W_i|^2`. loss: of this division. full: the number of
    features with a dimension of their own, the first of the descending targets. partial: the number of features that
    share the other m - full dimensions. scale: s, the eigenvalue of W W^T that the partly represented features share;
    NaN without such features.
    """

    capacity: np.ndarray
    square: np.ndarray
    loss: float
    full: int
    partial: int
    scale: float


def quadratic_loss(W: np.ndarray, target: np.ndarray, kurtosis: float) -> np.ndarray:
    """The loss (...) of weights W (..., m, n) for target v (n,), with the best constant.

    kurtosis: of a feature, above 1.
    """
    error = target * np.eye(len(target)) - np.swapaxes(W, -1, -2) @ W
    own = np.diagonal(error, axis1=-2, axis2=-1)
    return (kurtosis - 3) * (own**2).sum(-1) + 2 * (error**2).sum((-1, -2))


def allocation(target: Sequence[float] | np.ndarray, kurtosis: float, hidden: int) -> Allocation:
    """The division of lowest loss in which the first f features own a dimension and the next q share the other m - f.

    target (n,): v, positive, descending; kurtosis > 1; hidden: m < n. Features of a shared block have
    W W^T = s there, so that `|W_i|^2` = s C_i and the loss is separable in the C_i:

        L_i = (k - 1) (v_i - s C_i)^2 + 2 s^2 C_i (1 - C_i)

    With sum C_i = m - f, the marginal benefit -dL_i/dC_i is equal within the block if C_i is linear in v_i:

        C_i = (m - f)/q + (k - 1)/(k - 3) (v_i - mean v)/s,   s = (k - 1) mean v / ((k - 3) (m - f)/q + 2)

    All C_i in [0, 1] can be reached, since they are the diagonal of a projector (Schur-Horn). For k <= 3 the marginal
    benefit of capacity does not fall, and nothing is shared. Raises ValueError for other shapes and ranges.
    """
    v = _checked(target, kurtosis, hidden)
    if (np.diff(v) > 0).any():
        raise ValueError("target must be descending")
    n, k = len(v), kurtosis - 1
    capacity = (np.arange(n) < hidden).astype(float)
    best = Allocation(capacity, v * capacity, float(k * (v[hidden:] ** 2).sum()), hidden, 0, float("nan"))
    if kurtosis <= 3:
        return best
    for full in range(hidden):
        for end in range(hidden + 1, n + 1):
            part, dimensions = v[full:end], hidden - full
            share = dimensions / len(part)
            s = k * part.mean() / ((k - 2) * share + 2)
            C = share + k / (k - 2) * (part - part.mean()) / s
            if C.min() < 0 or C.max() > 1:
                continue
            own = k * (part - s * C) ** 2 + 2 * s**2 * C * (1 - C)
            loss = float(own.sum() + k * (v[end:] ** 2).sum())
            if loss < best.loss:
                capacity = np.concatenate([np.ones(full), C, np.zeros(n - end)])
                square = np.concatenate([v[:full], s * C, np.zeros(n - end)])
                best = Allocation(capacity, square, loss, full, len(part), float(s))
    return best


def marginal_benefit(target: np.ndarray, capacity: np.ndarray, scale: float, kurtosis: float) -> np.ndarray:
    """-dL_i/dC_i (...) of features in a shared block of eigenvalue `scale`; all arguments broadcast.

    target: v_i > 0. capacity: C_i in [0, 1]. kurtosis: of a feature, above 1.
    """
    k = kurtosis - 1
    return 2 * k * scale * (target - scale * capacity) - 2 * scale**2 * (1 - 2 * capacity)


@dataclass(frozen=True)
class Descents:
    """The ends of k descents by ascending loss: W (k, m, n), loss (k,), gradient norm (k,)."""

    W: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray


def quadratic_descents(
    target: Sequence[float] | np.ndarray, kurtosis: float, hidden: int, *, starts: int = 16, seed: int = 0
) -> Descents:
    """Where BFGS ends from `starts` random W. The target may have any order.

    target (n,), kurtosis, hidden: as in `allocation`. seed: of the random W. Raises ValueError for other shapes and
    ranges.
    """
    v = _checked(target, kurtosis, hidden)
    if starts < 1:
        raise ValueError(f"starts must be at least 1, not {starts}")
    shape = hidden, len(v)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        W = theta.reshape(shape)
        error = np.diag(v) - W.T @ W
        slope = 4 * error
        slope[np.diag_indices(len(v))] *= (kurtosis - 1) / 2
        return float(quadratic_loss(W, v, kurtosis)), (-2 * W @ slope).reshape(-1)

    first = np.random.default_rng(seed).normal(size=(starts, v.size * hidden)) * START_SCALE * np.sqrt(v.max())
    options = {"gtol": GRADIENT, "maxiter": 5000}
    found = [optimize.minimize(objective, one, jac=True, method="BFGS", options=options) for one in first]
    found.sort(key=lambda one: one.fun)
    return Descents(
        np.array([one.x.reshape(shape) for one in found]),
        np.array([one.fun for one in found]),
        np.array([np.linalg.norm(one.jac) for one in found]),
    )


def _checked(target: Sequence[float] | np.ndarray, kurtosis: float, hidden: int) -> np.ndarray:
    v = np.asarray(target, np.float64)
    if v.ndim != 1 or not np.isfinite(v).all() or not (v > 0).all():
        raise ValueError("target must be (n,), finite and positive")
    if not kurtosis > 1:
        raise ValueError(f"kurtosis must be greater than 1, not {kurtosis}")
    if not isinstance(hidden, int) or not 1 <= hidden < len(v):
        raise ValueError(f"hidden must be a whole number from 1 to {len(v) - 1}, not {hidden!r}")
    return v
