"""Two features in one dimension, for uniform, constant and half-normal values: exact loss, minima, onset.

The model is x' = ReLU(W^T W x + b) with W = [w1, w2], its loss E sum_i I_i (x_i - x'_i)^2: sum over features, mean over
samples. Features are independent and have their own importances and probabilities. A model is a row theta = (w1, w2,
b1, b2). `values` is a name in FORMS. numpy and SciPy, float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special
from studies.corner.linear_forms import FORMS, HALF, Forms

from tmsjax.kinds import VALUES

STEP = 1e-6  # of the differences of gradients that make a Hessian
ITERATIONS = 200
SMALLEST_EIGENVALUE = 1e-10
LONGEST_STEP = 0.5
CONVERGED, STUCK = 1e-14, 1e4  # norm of the gradient, damping, at which a descent ends
ROUNDING = 1e-15
FARTHEST = 8.0  # beta of an onset of equal signs is at least minus this
DENSITY = {"uniform": 1.0, "constant": 0.0, "half-normal": HALF}  # of values at 0


@dataclass(frozen=True)
class LocalMinima:
    """Where k descents ended: theta (k, 4), loss (k,), norm of the gradient (k,)."""

    theta: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray


def one_neuron_loss(theta: Any, importance: Any, probability: Any, values: str = "uniform") -> tuple[Any, Any]:
    """The exact loss (...,) and its gradient (..., 4) at theta (..., 4), for `importance`, `probability` (..., 2).

    With M the moments of linear_forms.py where an output is positive, an output's loss is quadratic in its coefficients
    (a, c, b), and its gradient is that of the square alone: the square is continuous where the output is clipped.
    Raises ValueError for values without a closed form.
    """
    forms = forms_of(values)
    theta = np.asarray(theta, float)
    importance, probability = np.asarray(importance, float), np.asarray(probability, float)
    w1, w2, b1, b2 = np.moveaxis(theta, -1, 0)
    p1, p2 = np.moveaxis(probability, -1, 0)
    square = VALUES[values].square
    one, da1, dc1, db1 = _output(forms, square, w1 * w1, w1 * w2, b1, p1, p2)
    two, da2, dc2, db2 = _output(forms, square, w2 * w2, w1 * w2, b2, p2, p1)
    i1, i2 = np.moveaxis(importance, -1, 0)
    gradient = [
        i1 * (2 * w1 * da1 + w2 * dc1) + i2 * w2 * dc2,
        i2 * (2 * w2 * da2 + w1 * dc2) + i1 * w1 * dc1,
        i1 * db1,
        i2 * db2,
    ]
    return i1 * one + i2 * two, np.stack(np.broadcast_arrays(*gradient), axis=-1)


def forms_of(values: str) -> Forms:
    """Raises ValueError for values that linear_forms.py does not have."""
    if values not in FORMS:
        raise ValueError(f"values must be {', '.join(FORMS)}, not {values!r}")
    return FORMS[values]


def _output(forms: Forms, square: float, a: Any, c: Any, b: Any, p: Any, q: Any) -> tuple[Any, Any, Any, Any]:
    """E (x - ReLU(a x + c y + b))^2 and its derivatives in a, c, b; x is active with probability p, y with q."""
    m1, mx, mxx = forms.one(a, b)
    n1, ny, nyy = forms.one(c, b)
    s1, sx, sy, sxx, sxy, syy = forms.two(a, c, b)
    only_x, only_y, both, neither = p * (1 - q), (1 - p) * q, p * q, (1 - p) * (1 - q)
    # E L z where the form L > 0, for z = x, y, 1, less E x z for an active x
    rx = only_x * (a * mxx + b * mx - mxx) + both * (a * sxx + c * sxy + b * sx - sxx)
    ry = only_y * (c * nyy + b * ny) + both * (a * sxy + c * syy + b * sy - sxy)
    r0 = (
        neither * np.maximum(b, 0)
        + only_x * (a * mx + b * m1 - mx)
        + only_y * (c * ny + b * n1)
        + both * (a * sx + c * sy + b * s1 - sx)
    )
    target = only_x * (a * mxx + b * mx) + both * (a * sxx + c * sxy + b * sx)  # E x L where L > 0
    return p * square + a * rx + c * ry + b * r0 - target, 2 * rx, 2 * ry, 2 * r0


def one_neuron_minima(theta: Any, importance: Any, probability: Any, values: str = "uniform") -> LocalMinima:
    """Local minima that damped Newton descents reach from the rows of `theta` (k, 4).

    importance, probability: (2,) or one row per descent (k, 2). `values`: a name in kinds.VALUES.
    A Hessian is made of central differences of the exact gradient; its eigenvalues are taken by absolute value, and a
    step that does not lower the loss is tried again, shorter. One descent per row, none affects another.
    """
    theta = np.array(theta, float)
    importance, probability = (
        np.broadcast_to(np.asarray(v, float), (len(theta), 2)) for v in (importance, probability)
    )
    loss, gradient = one_neuron_loss(theta, importance, probability, values)
    damping = np.full(len(theta), 1e-4)
    moves = STEP * np.concatenate([np.eye(4), -np.eye(4)])
    for _ in range(ITERATIONS):
        at = np.flatnonzero((np.linalg.norm(gradient, axis=1) > CONVERGED) & (damping < STUCK))
        if not len(at):
            break
        here, slope, cell = theta[at], gradient[at], (importance[at], probability[at])
        around = one_neuron_loss(here[:, None] + moves, cell[0][:, None], cell[1][:, None], values)[1]
        hessian = (around[:, :4] - around[:, 4:]) / (2 * STEP)
        value, vector = np.linalg.eigh((hessian + hessian.swapaxes(1, 2)) / 2)
        value = np.maximum(np.abs(value), SMALLEST_EIGENVALUE) + damping[at, None]
        step = -((vector @ ((vector.swapaxes(1, 2) @ slope[..., None]) / value[..., None]))[..., 0])
        step *= np.minimum(1, LONGEST_STEP / np.maximum(np.linalg.norm(step, axis=1), LONGEST_STEP))[:, None]
        tried, tried_gradient = one_neuron_loss(here + step, *cell, values)
        smaller = np.linalg.norm(tried_gradient, axis=1) < np.linalg.norm(slope, axis=1)
        better = (tried < loss[at]) | (smaller & (tried <= loss[at] + ROUNDING * (1 + loss[at])))
        moved = at[better]
        theta[moved] += step[better]
        loss[moved], gradient[moved] = tried[better], tried_gradient[better]
        damping[at] = np.where(better, damping[at] / 8, damping[at] * 4 + 1e-9)
    return LocalMinima(theta, loss, np.linalg.norm(gradient, axis=1))


@dataclass(frozen=True)
class Onset:
    """Where the second feature enters the model W = [1, 0], b = (0, p2 mu) of the first, its weight being sign * w.

    With I1 = 1, r = I2, and all but w at its best, the loss is r v2 + (cost - r gain) w^2 + cubic w^3 + O(w^4), `cubic`
    at r = ratio. So cubic > 0: w grows continuously from 0 as r exceeds `ratio`, w ~ 2 (r gain - cost) / (3 cubic);
    cubic < 0: a jump comes before; cubic = 0 is a tricritical point.

    ratio: cost / gain; inf, and cubic NaN, if gain <= 0. To first order in w: W1^2 = 1 + alpha w, b1 = beta w.
    """

    ratio: float
    cost: float
    gain: float
    cubic: float
    alpha: float
    beta: float
    sign: int


def one_neuron_onset(p1: float, p2: float, values: str = "uniform", sign: int = -1) -> Onset:
    """The onset for probabilities p1 (of the feature that is there) and p2 (of the one that enters).

    With y = sign x2, mu = E x and s = E x^2 of an active value, v = p s - p^2 mu^2 and f0 the density of values at 0:
    cost = min over beta, alpha of p1 E (alpha x1 + y + beta)^2 + (1 - p1) E ReLU(y + beta)^2
    = p1 v2 + min over beta of p1 (1 - mu^2/s)(beta + sign p2 mu)^2 + (1 - p1) E ReLU(y + beta)^2;
    gain = 2 v2 - v1, since the second output's loss is r [v2 (1 - w^2)^2 + v1 W1^2 w^2];
    cubic = (cost + ratio v1) alpha - 2/3 f0 p1 E ReLU(-y - beta)^3: W1 = 1 + alpha w / 2 scales both losses, and the
    first output is clipped where x1 < (-y - beta) w. For uniform values, p1 = p2 and sign -1, ratio is that of `onset`.

    Raises ValueError for values without a closed form and probabilities outside (0, 1].
    """
    forms, of = forms_of(values), VALUES[values]
    if not (0 < p1 <= 1 and 0 < p2 <= 1):
        raise ValueError(f"probabilities must be in (0, 1], not {p1} and {p2}")
    v1, v2 = variances(p1, values), variances(p2, values)

    def cost_at(beta: float) -> float:
        m1, mx, mxx = forms.one(np.array(float(sign)), np.array(beta))
        square = mxx + 2 * sign * beta * mx + beta * beta * m1  # E ReLU(y + beta)^2 for an active x2
        idle = (1 - p2) * max(beta, 0.0) ** 2 + p2 * square
        spread = (1 - of.mean**2 / of.square) * (beta + sign * p2 * of.mean) ** 2
        return float(p1 * v2 + p1 * spread + (1 - p1) * idle)

    ends = (0.0, of.mean) if sign < 0 else (-FARTHEST, 0.0)  # both terms grow outside
    found = optimize.minimize_scalar(cost_at, bounds=ends, method="bounded", options={"xatol": 1e-13})
    flat = 0.0 if sign < 0 else -1.0  # constant values: of equal costs, the largest beta, since it has the least W1
    beta = min((flat, float(found.x)), key=cost_at)
    cost, gain = cost_at(beta), 2 * v2 - v1
    ratio = cost / gain if gain > 0 else np.inf
    alpha = -of.mean * (beta + sign * p2 * of.mean) / of.square
    clipped = p2 * _tail(beta, values) if sign < 0 else p2 * _head(-beta, values) - (1 - p2) * beta**3
    cubic = (cost + ratio * v1) * alpha - 2 / 3 * DENSITY[values] * p1 * clipped if gain > 0 else np.nan
    return Onset(ratio, cost, gain, float(cubic), float(alpha), beta, sign)


def variances(probability: Any, values: str) -> Any:
    of = VALUES[values]
    return probability * of.square - np.square(probability) * of.mean**2


def _tail(c: float, values: str) -> float:
    """E ReLU(x - c)^3 of an active value, c >= 0."""
    if values == "half-normal":
        return float((c * c + 2) * HALF * np.exp(-c * c / 2) - c * (c * c + 3) * special.erfc(c / np.sqrt(2)))
    rest = max(1 - c, 0.0)
    return rest**4 / 4 if values == "uniform" else rest**3


def _head(c: float, values: str) -> float:
    """E ReLU(c - x)^3 of an active value, c >= 0."""
    of = VALUES[values]
    return c**3 - 3 * c * c * of.mean + 3 * c * of.square - _tail(0.0, values) + _tail(c, values)
