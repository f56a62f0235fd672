"""Newton's method for one minimum of landscape.py, and the Hessian's eigenvalues there: is it a minimum, how precisely.

The loss is that of vertices.py in float64 on CPU. Its Hessian is exact except where a pre-activation is exactly 0
whatever the input; there one side's Hessian is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import jax
import numpy as np

from tmsjax.theory.landscape import loss_of, packed, problem_of, scale, value_of
from tmsjax.theory.problem import Problem

STEPS = 30  # of Newton's method at most
DONE = 1e-13  # gradient norm, in units of `landscape.scale`, at which it stops
FLAT = 1e-10  # least |eigenvalue|, likewise, that a Newton step divides by
SHORTEST = 2.0**-10  # of a step that is halved until the loss does not rise
ROUNDING = 1e-15  # by which the loss may rise in a step, likewise


@dataclass(frozen=True)
class Stationary:
    """A stationary point W (m, n), b (n,) of one cell's exact loss.

    gradient: its norm. eigenvalues (k,): of the Hessian, ascending, rotations of W left out.
    Both in units of the loss of a model whose output is 0, sum_i I_i p_i / 3.
    """

    W: np.ndarray
    b: np.ndarray
    loss: float
    gradient: float
    eigenvalues: np.ndarray


def stationary(
    W: np.ndarray,
    b: np.ndarray,
    importance: np.ndarray,
    feature_probability: np.ndarray,
    *,
    activity: str = "independent",
    **options: float,
) -> Stationary:
    """The stationary point near W (m, n), b (n,), by Newton's method with steps that do not raise the loss.

    importance, feature_probability: (n,), n from 2 to 8. `activity`: a name in kinds.ACTIVITIES, its options as
    keywords. Steps follow `|eigenvalue|`, so that they descend; directions
    without curvature, such as rotations of W, are left as they are. Raises ValueError as `theory.minima` does.
    """
    importance, probability = np.asarray(importance, np.float64), np.asarray(feature_probability, np.float64)
    problem = problem_of(importance, probability, np.shape(W)[0], activity, options)
    theta = packed(problem, W, b)
    unit = scale(problem, importance, probability)
    value, slope = value_of(problem, theta, importance, probability)
    for _ in range(STEPS):
        if np.linalg.norm(slope) <= DONE * unit:
            break
        values, vectors = np.linalg.eigh(_hessian(problem, theta, importance, probability) / unit)
        curved = np.abs(values) >= FLAT
        step = -vectors[:, curved] @ ((vectors[:, curved].T @ slope / unit) / np.abs(values[curved]))
        length = 1.0
        while length >= SHORTEST:
            ahead = value_of(problem, theta + length * step, importance, probability)
            lower_slope = np.linalg.norm(ahead[1]) < np.linalg.norm(slope)
            if ahead[0] < value - ROUNDING * unit or (ahead[0] <= value + ROUNDING * unit and lower_slope):
                break
            length /= 2
        else:
            break
        theta, (value, slope) = theta + length * step, ahead
    at, bias = problem.unpack(theta)
    eigenvalues = np.linalg.eigvalsh(_without_rotations(at, _hessian(problem, theta, importance, probability) / unit))
    return Stationary(at, bias, value, float(np.linalg.norm(slope)) / unit, eigenvalues)


def _without_rotations(W: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """The Hessian (d, d) on the complement of the directions in which W (m, n) rotates."""
    m, n = W.shape
    turns = []
    for r in range(m):
        for s in range(r):
            turn = np.zeros((m, n))
            turn[r], turn[s] = W[s], -W[r]
            turns.append(np.concatenate([turn.reshape(-1), np.zeros(len(hessian) - m * n)]))
    if not turns:
        return hessian
    left, values, _ = np.linalg.svd(np.array(turns).T)
    rest = left[:, (values > 1e-8 * max(values.max(), 1e-30)).sum() :]
    return rest.T @ hessian @ rest


def _hessian(problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return np.asarray(_second(problem)(theta, importance, probability))


@cache
def _second(problem: Problem) -> Callable:
    """(theta (d,), importance (n,), probability (n,)) -> Hessian (d, d)."""
    return jax.jit(jax.hessian(loss_of(problem)))
