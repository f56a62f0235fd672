"""Theory: candidate losses and their boundary, exact expected losses, refinement of an optimum in float64.

Every function broadcasts over leading axes, in numpy (float64, without jax) or in jax. Convention: the loss is the
sum over features and the mean over samples, E sum_i I_i (x_i - x'_i)^2. Source of the candidates: the paper,
section "The phase change". The exact losses are derived here: see `relu2_loss`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

GAUSS = 1 / np.sqrt(3)  # nodes of two-point Gauss-Legendre on [-1, 1]; exact to degree 3
NEAR_ZERO = 1e-30
CANDIDATES = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, -1.0]]])  # W (1, 2): ignore extra, ignore first, antipodal


def variance(probability: Any) -> Any:
    """v(p) = p/3 - p^2/4, the variance of one feature with uniform values."""
    return probability / 3 - probability**2 / 4


def candidate_losses(importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Losses of the three candidates of n = 2, m = 1, shape (..., 3), in the order of CANDIDATES.

    `importance`, `probability`: (..., 2). With ignored feature i the best constant is b_i = p_i / 2.
    """
    dropped = importance * variance(probability)
    antipodal = np.sum(importance, axis=-1) * np.prod(probability, axis=-1) / 6
    return np.stack([dropped[..., 1], dropped[..., 0], antipodal], axis=-1)


def candidate_weights(importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """W (..., 1, 2) of the candidate of lowest loss."""
    return CANDIDATES[np.argmin(candidate_losses(importance, probability), axis=-1)]


def candidate_boundary(extra_importance: Any) -> Any:
    """The feature probability below which superposition wins: 4 rho / (2 + 5 rho), rho = min(r, 1/r)."""
    rho = np.minimum(extra_importance, 1 / np.asarray(extra_importance))
    return 4 * rho / (2 + 5 * rho)


def linear_loss(W: Any, b: Any, importance: Any, mean: Any, covariance: Any) -> Any:
    """Exact loss of x' = W^T W x + b for any n, shape (...): bias and variance of A x - b, A = 1 - W^T W.

    W (..., m, n), b, importance, mean (..., n), covariance (..., n, n). In exact arithmetic the best b is A mean.
    """
    xp = W.__array_namespace__()
    A = xp.eye(W.shape[-1], dtype=W.dtype) - xp.swapaxes(W, -1, -2) @ W
    spread = xp.sum((A @ covariance) * A, axis=-1)
    offset = (A @ mean[..., None])[..., 0] - b
    return xp.sum(importance * (spread + offset**2), axis=-1)


def relu2_loss(W: Any, b: Any, importance: Any, probability: Any, tied: bool = False) -> Any:
    """Exact loss of x' = ReLU(W^T W x + b) for n = 2, any m, uniform values; shape (...).

    W (..., m, 2), b, importance, probability (..., 2). `tied`: features are active together where they can be.

    Given what reaches output i from the other feature and the bias, z = c y + b_i with c = W_i . W_j, the own
    feature is integrated in closed form (`_own_integral`). As a function of y that is a cubic on each of three
    pieces, which two Gauss-Legendre nodes integrate exactly.
    """
    norms = [(W[..., i] * W[..., i]).sum(-1) for i in (0, 1)]
    overlap = (W[..., 0] * W[..., 1]).sum(-1)
    rest = ([v[..., 0], v[..., 1]] for v in (b, importance, probability))
    return relu2_loss_elementwise(norms, overlap, *rest, tied=tied)


def relu2_loss_elementwise(a: Any, c: Any, b: Any, importance: Any, probability: Any, *, tied: bool) -> Any:
    """`relu2_loss` from a_i = |W_i|^2 and c = W_1 . W_2; a, b, importance, probability are pairs."""
    outputs = [_output_loss(a[i], c, b[i], *_activity(probability[i], probability[1 - i], tied)) for i in (0, 1)]
    return importance[0] * outputs[0] + importance[1] * outputs[1]


def _activity(own: Any, other: Any, tied: bool) -> tuple:
    """Probabilities that neither, only the own, only the other, or both features are active."""
    xp = own.__array_namespace__()
    both = xp.where(own < other, own, other) if tied else own * other
    return 1 - own - other + both, own - both, other - both, both


def _output_loss(a: Any, c: Any, b: Any, neither: Any, only_own: Any, only_other: Any, both: Any) -> Any:
    """E (x - x')^2 of one output with own weight a = |W_i|^2, overlap c and bias b."""
    total = neither * _relu(b) ** 2 + only_own * _own_integral(a, b)
    for y, weight in _nodes(a, c, b):
        z = c * y + b
        total = total + weight * (only_other * _relu(z) ** 2 + both * _own_integral(a, z))
    return total


def _own_integral(a: Any, z: Any) -> Any:
    """The integral over x in [0, 1] of (x - ReLU(a x + z))^2, a >= 0: split at the kink t = -z/a."""
    t = _kink(a, z)
    d = 1 - a
    return (t**3 + d**2 * (1 - t**3)) / 3 - d * z * (1 - t**2) + z**2 * (1 - t)


def _kink(a: Any, z: Any) -> Any:
    """clip(-z/a, 0, 1) without 0/0. The integrand is continuous there: no derivative passes through it."""
    xp = z.__array_namespace__()
    inside = (z < 0) & (z > -a)
    return _constant(xp.where(inside, -z * _inverse(a), xp.where(z < 0, xp.ones_like(z), xp.zeros_like(z))))


def _nodes(a: Any, c: Any, b: Any) -> list[tuple[Any, Any]]:
    """(y, weight) of Gauss-Legendre on the pieces of [0, 1] between the kinks of y -> _own_integral(a, c y + b)."""
    xp = b.__array_namespace__()
    u, v = _clip01(-b * _inverse(c)), _clip01(-(a + b) * _inverse(c))
    low, high = _constant(xp.where(u < v, u, v)), _constant(xp.where(u < v, v, u))
    nodes = []
    for start, end in ((0, low), (low, high), (high, 1)):
        half, middle = (end - start) / 2, (end + start) / 2
        nodes += [(middle - GAUSS * half, half), (middle + GAUSS * half, half)]
    return nodes


def _inverse(x: Any) -> Any:
    """1 / x, and 1 near 0. (One division for all kinks: they were most of the exact loss' time.)"""
    xp = x.__array_namespace__()
    return 1 / xp.where((x > NEAR_ZERO) | (x < -NEAR_ZERO), x, xp.ones_like(x))


def _relu(z: Any) -> Any:
    xp = z.__array_namespace__()
    return xp.where(z > 0, z, xp.zeros_like(z))


def _clip01(z: Any) -> Any:
    xp = z.__array_namespace__()
    return xp.where(z > 0, xp.where(z < 1, z, xp.ones_like(z)), xp.zeros_like(z))


def _constant(x: Any) -> Any:
    """`x`, but a constant to jax's differentiation."""
    if isinstance(x, (np.ndarray, np.generic)):
        return x
    from jax.lax import stop_gradient

    return stop_gradient(x)


def relu2_gradient(W: np.ndarray, b: np.ndarray, importance: Any, probability: Any, tied: bool = False) -> tuple:
    """Gradient of `relu2_loss` in numpy: (dL/dW (..., m, 2), dL/db (..., 2))."""
    a = np.sum(W**2, axis=-2)
    c = np.sum(W[..., 0] * W[..., 1], axis=-1)
    dW, db = np.zeros_like(W), np.zeros_like(b)
    for i, j in ((0, 1), (1, 0)):
        own, z_terms = a[..., i], b[..., i]
        weights = _activity(probability[..., i], probability[..., j], tied)
        da, dc, dz = _output_gradient(own, c, z_terms, *weights)
        scale = importance[..., i]
        db[..., i] += scale * dz
        dW[..., i] += (scale * da)[..., None] * 2 * W[..., i] + (scale * dc)[..., None] * W[..., j]
        dW[..., j] += (scale * dc)[..., None] * W[..., i]
    return dW, db


def _output_gradient(a: Any, c: Any, b: Any, neither: Any, only_own: Any, only_other: Any, both: Any) -> tuple:
    """Derivatives of `_output_loss` by a, c and b."""
    da, db = _own_gradient(a, b)
    da, db = only_own * da, only_own * db + 2 * neither * _relu(b)
    dc = np.zeros_like(db)
    for y, weight in _nodes(a, c, b):
        z = c * y + b
        own_a, own_z = _own_gradient(a, z)
        slope = weight * (2 * only_other * _relu(z) + both * own_z)
        da, db, dc = da + weight * both * own_a, db + slope, dc + y * slope
    return da, dc, db


def _own_gradient(a: Any, z: Any) -> tuple:
    """Derivatives of `_own_integral` by a and z."""
    t = _kink(a, z)
    d = 1 - a
    return -2 * d * (1 - t**3) / 3 + z * (1 - t**2), -d * (1 - t**2) + 2 * z * (1 - t)


def refine(
    W: np.ndarray,
    b: np.ndarray,
    importance: np.ndarray,
    probability: np.ndarray,
    tied: bool = False,
    iterations: int = 60,
    tolerance: float = 1e-10,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Newton's method with Levenberg damping on `relu2_loss`, in float64, from (W, b).

    W (k, m, 2), b, importance, probability (k, 2). Returns W, b, loss (k,) and the gradient's norm (k,). The loss
    never rises; a cell stops at a gradient below `tolerance` or after `iterations`.
    """
    shape = W.shape
    theta = np.concatenate([W.reshape(len(W), -1), b], axis=1).astype(np.float64)
    importance, probability = np.asarray(importance, np.float64), np.asarray(probability, np.float64)

    def unpack(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return theta[:, :-2].reshape(-1, *shape[1:]), theta[:, -2:]

    def gradient(theta: np.ndarray, rows: np.ndarray) -> np.ndarray:
        dW, db = relu2_gradient(*unpack(theta), importance[rows], probability[rows], tied)
        return np.concatenate([dW.reshape(len(dW), shape[1] * 2), db], axis=1)

    def loss(theta: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return relu2_loss(*unpack(theta), importance[rows], probability[rows], tied)

    everything = np.arange(len(theta))
    value, slope = loss(theta, everything), gradient(theta, everything)
    damping = np.full(len(theta), 1e-6)
    for _ in range(iterations):
        rows = np.flatnonzero(np.linalg.norm(slope, axis=1) > tolerance)
        if not rows.size:
            break
        hessian = _hessian(lambda t, rows=rows: gradient(t, rows), theta[rows])
        hessian += damping[rows, None, None] * np.eye(theta.shape[1])
        trial = theta[rows] - np.linalg.solve(hessian, slope[rows][..., None])[..., 0]
        trial_value = loss(trial, rows)
        better = trial_value <= value[rows]
        damping[rows] = np.where(better, np.maximum(damping[rows] / 10, 1e-12), damping[rows] * 20)
        theta[rows[better]], value[rows[better]] = trial[better], trial_value[better]
        slope[rows[better]] = gradient(trial[better], rows[better])
    W, b = unpack(theta)
    return W, b, value, np.linalg.norm(slope, axis=1)


def _hessian(gradient: Any, theta: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of `gradient` at every row of theta (k, d): (k, d, d), symmetric."""
    columns = []
    for i in range(theta.shape[1]):
        shift = np.zeros(theta.shape[1])
        shift[i] = step
        columns.append((gradient(theta + shift) - gradient(theta - shift)) / (2 * step))
    hessian = np.stack(columns, axis=-1)
    return (hessian + np.swapaxes(hessian, 1, 2)) / 2
