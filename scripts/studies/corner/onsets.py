"""Minima of the one-neuron model, and the special points of its onset."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import optimize
from studies.corner.one_neuron import LocalMinima, Onset, one_neuron_minima, one_neuron_onset

from tmsjax import theory
from tmsjax.kinds import VALUES

RANDOM = 8  # random starts a cell beside the 21 structured ones
BETTER = 1e-12  # by which a loss has to be lower to count
STRONG = 0.3  # least share of the smaller weight of a branch that may meet the onset
BELOW = 0.01  # how far a triple point may be below the crossing on the onset
Cell = tuple[float, np.ndarray]  # ratio I2/I1, (p1, p2)


def starts(mean: float, random: int, seed: int = 0) -> np.ndarray:
    """theta (k, 4): the dedicated model, both features in either role and with either sign, and random models."""
    rows = [[1.0, 0.0, 0.0, mean]]
    for w in (0.03, 0.1, 0.3, 0.6, 1.0):
        for sign in (-1, 1):
            rows += [[1.0, sign * w, 0.3 * w, (1 - w) * mean], [sign * w, 1.0, (1 - w) * mean, 0.3 * w]]
    drawn_at_random = np.random.default_rng(seed).normal(size=(random, 4)) * [1.0, 1.0, 0.3, 0.3]
    return np.concatenate([rows, drawn_at_random])


def lowest(values: str, cells: list[Cell], random: int = RANDOM, seed: int = 0) -> LocalMinima:
    """The lowest minimum of every cell, w1 > 0."""
    begin = np.stack([starts(p[1] * VALUES[values].mean, random, seed) for _, p in cells])
    k, count = begin.shape[:2]
    importance = np.repeat([[1.0, r] for r, _ in cells], count, 0)
    probability = np.repeat([p for _, p in cells], count, 0)
    found = one_neuron_minima(begin.reshape(-1, 4), importance, probability, values)
    best = found.loss.reshape(k, count).argmin(1) + np.arange(k) * count
    theta = found.theta[best]
    theta[:, :2] *= np.where(theta[:, :1] < 0, -1, 1)
    return LocalMinima(theta, found.loss[best], found.gradient[best])


def dedicated_loss(values: str, cell: Cell) -> float:
    """Of the model that leaves feature 2 out: I2 v(p2)."""
    return float(cell[0] * theory.variance(cell[1][1], values))


def share(theta: np.ndarray) -> np.ndarray:
    """The smaller weight over the larger one, without sign."""
    w = np.sort(np.abs(theta[..., :2]), axis=-1)
    return w[..., 0] / w[..., 1]


def crossing(values: str, theta: np.ndarray, cell_at: Callable[[float], Cell], s: float, step: float) -> dict:
    """Where along `cell_at` the loss of a branch with superposition rises to that of the dedicated model.

    Follows the branch from its minimum near theta at s, where it is the better one, towards s + step by secants. The
    gain over the dedicated model is the largest of functions that are nearly linear in s, so secants stop short of the
    crossing and do not pass the end of the branch. Raises ArithmeticError if the branch ends anyway.
    """

    def gain_at(s: float, theta: np.ndarray) -> tuple[float, np.ndarray, float]:
        ratio, p = cell_at(s)
        found = one_neuron_minima(theta[None], [1.0, ratio], p, values)
        return dedicated_loss(values, (ratio, p)) - found.loss[0], found.theta[0], found.gradient[0]

    before, theta, _ = gain_at(s, theta)
    for _ in range(100):
        s += step
        gain, theta, gradient = gain_at(s, theta)
        if share(theta) < 1e-3:
            raise ArithmeticError(f"the branch with superposition ends at {s}")
        if abs(gain) < 1e-16 or gain == before:
            break
        step *= gain / (before - gain)
        before = gain
    ratio, p = cell_at(s)
    return {
        "ratio": float(ratio),
        "p": float(p[0]),
        "theta": theta * [*(2 * [np.copysign(1, theta[0])]), 1, 1],
        "gain": gain,
        "gradient": gradient,
    }


def special_points(values: str, q: float, count: int) -> dict:
    """Along the onset at p2 = q p1: where the jump meets it, tricritical points, and for q = 1 the jump at p = 1.

    end: a jump to a large minor weight that meets the onset where cubic > 0, else the triple point nearby.
    continuous: the first and last of `count` values of p1 at which the onset is continuous and at a global minimum.
    """

    def onset(p1: float) -> Onset:
        return one_neuron_onset(p1, q * p1, values)

    def on_curve(p1: float) -> Cell:
        return onset(p1).ratio, np.array([p1, q * p1])

    top = min(1.0, 1 / q)
    p = np.linspace(0.02, top - (1e-3 if values == "constant" else 0), count)  # constant values have no variance at 1
    p = np.array([one for one in p if np.isfinite(onset(one).ratio)])
    cubic = np.array([onset(one).cubic for one in p])
    best = lowest(values, [on_curve(one) for one in p])
    gain = np.array([dedicated_loss(values, on_curve(one)) for one in p]) - best.loss
    out: dict[str, Any] = {
        "end": None,
        "tricritical": [],
        "everywhere": None,
        "continuous": None,
        "cubic": [float(cubic.min()), float(cubic.max())],
        "gain": float(gain.max()),
        "gradient": float(best.gradient.max()),
    }
    gradual, strong = (cubic > 0) & (gain < BETTER), (gain > BETTER) & (share(best.theta) > STRONG)
    if gradual.any():
        out["continuous"] = [float(p[gradual].min()), float(p[gradual].max())]
    for k, (a, b) in enumerate(pairwise(p)):
        if (cubic[k] > 0) != (cubic[k + 1] > 0) and not (strong[k] and strong[k + 1]):
            at = optimize.brentq(lambda s: onset(s).cubic, a, b, xtol=1e-13)
            out["tricritical"].append({"p": at, "ratio": onset(at).ratio})
        if strong[k] and not strong[k + 1]:
            found = crossing(values, best.theta[k], on_curve, a, 1e-5)
            found["cubic"] = onset(found["p"]).cubic
            out["end"] = found if found["cubic"] > 0 else triple_point(values, q, found)
    if cubic[-1] < 0 and q == 1:
        cell = np.array([top, q * top])
        begin = lowest(values, [(onset(top).ratio, cell)]).theta[0]
        out["everywhere"] = crossing(values, begin, lambda s: (s, cell), onset(top).ratio, -1e-5)
    return out


def triple_point(values: str, q: float, near: dict) -> dict:
    """Where three minima have one loss: dedicated, with a small minor weight, and with a large one.

    near: where the first and the last have, on an onset with cubic < 0. There the minimum with a small weight is lower,
    and its loss is that of the dedicated model at a ratio slightly below the onset's.
    """

    def small_at(p1: float) -> dict:
        p, one = np.array([p1, q * p1]), one_neuron_onset(p1, q * p1, values)
        mean = VALUES[values].mean
        rows = [
            [1 + one.alpha * w / 2, -w, one.beta * w, q * p1 * mean * (1 - w * w) + w * p1 * mean]
            for w in np.geomspace(0.002, 0.2, 16)
        ]
        found = one_neuron_minima(np.array(rows), [1.0, one.ratio], p, values)
        best = np.where(share(found.theta) < STRONG, found.loss, np.inf).argmin()
        theta, gain = found.theta[best], dedicated_loss(values, (one.ratio, p)) - found.loss[best]
        step = -gain / (2 * one.gain * theta[1] ** 2)  # half of the way, to first order
        return crossing(values, theta, lambda s: (s, p), one.ratio, step)

    def rest(p1: float) -> float:
        small = small_at(p1)
        p = np.array([p1, q * p1])
        large = one_neuron_minima(near["theta"][None], [1.0, small["ratio"]], p, values)
        return dedicated_loss(values, (small["ratio"], p)) - float(large.loss[0])

    at = optimize.brentq(rest, near["p"] - BELOW, near["p"], xtol=1e-9)
    small = small_at(at)
    large = one_neuron_minima(near["theta"][None], [1.0, small["ratio"]], [at, q * at], values)
    return {
        **small,
        "theta": large.theta[0],
        "small": float(abs(small["theta"][1])),
        "gain": rest(at),
        "gradient": float(large.gradient[0]),
        "cubic": near["cubic"],
    }


def onset_at(values: str, ratio: float) -> float:
    """The probability of the onset at this ratio, for equal probabilities."""

    def rest(p: float) -> float:
        return one_neuron_onset(p, p, values).ratio - ratio

    return float(optimize.brentq(rest, 1e-3, 1 - 1e-9, xtol=1e-14))
