"""Local minima of the exact loss of ReLU models with up to 8 features, and how they change along a path.

Slower than optimum.py, which is for many cells of 2 or 3 features; for studies of single cells. The loss is that of
vertices.py in float64 on CPU, SciPy's BFGS descends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np
from scipy import optimize

from tmsjax.engine import check_not_forked
from tmsjax.kinds import drawn_by
from tmsjax.theory.problem import Problem
from tmsjax.theory.vertices import MOST_FEATURES, relu_loss

START_SCALE = 0.6  # standard deviation of random weights at the start
GRADIENT = 1e-8  # at which a descent stops, for losses in units of `scale`
TINY = 1e-300
KICK = 1e-3  # standard deviation by which weights of a followed minimum are moved, so that it does not stay on a saddle
SAME = 1e-7  # relative difference of the losses of two minima that count as one
ACCURACY = 1e-8  # to which descents find a loss near 0, likewise


@dataclass(frozen=True)
class Minima:
    """k local minima by ascending loss: W (k, m, n), b (k, n), loss (k,), gradient norm (k,).

    count (k,): the number of starts that led to each.

    Examples:
        >>> found = tmsjax.theory.minima([1.0, 1.0], [0.3, 0.3], 1, starts=4)
        >>> int(found.count.sum()), found.W.shape[1:]
        (4, (1, 2))
    """

    W: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class Branch:
    """A minimum followed along a path of k points: W (k, m, n), b (k, n), loss (k,), gradient norm (k,).

    moved (k,): the largest change of an entry of W^T W since the point before; 0 at the first.

    Examples:
        >>> row = np.ones((1, 2))
        >>> tmsjax.theory.follow([[1.0, -1.0]], [0.0, 0.0], row, 0.3 * row).W.shape
        (1, 1, 2)
    """

    W: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    moved: np.ndarray


def minima(
    importance: Sequence[float] | np.ndarray,
    feature_probability: Sequence[float] | np.ndarray,
    hidden: int,
    *,
    starts: int = 64,
    seed: int = 0,
    near: tuple[np.ndarray, np.ndarray] | None = None,
    activity: str = "independent",
    **options: float,
) -> Minima:
    """The distinct local minima that descents from `starts` random models reach, for one cell.

    importance, feature_probability: (n,), n from 2 to 8. hidden: m. seed: of the random models. near: further starts W
    (k, m, n), b (k, n). `activity`: a name in kinds.ACTIVITIES, its options as keywords. Minima count as one if their
    losses agree to a relative 1e-7, or to 1e-8 of the loss of a model whose output is 0. Raises ValueError for other
    shapes and ranges.

    Examples:
        >>> found = tmsjax.theory.minima([1.0, 1.0], [0.3, 0.3], 1, starts=4)
        >>> round(float(found.loss[0]), 4)
        0.0293
    """
    problem = problem_of(np.asarray(importance), np.asarray(feature_probability), hidden, activity, options)
    cell = np.asarray(importance, np.float64), np.asarray(feature_probability, np.float64)
    least = 1 if near is None else 0
    if starts < least:
        raise ValueError(f"starts must be at least {least}, not {starts}")
    n = problem.features
    first = [*np.random.default_rng(seed).normal(size=(starts, hidden, n)) * START_SCALE]
    thetas = [packed(problem, W, np.zeros(n)) for W in first]
    if near is not None:
        thetas += [*packed(problem, *near, len(near[0]))]
    ends = sorted((_descend(problem, start, *cell) for start in thetas), key=lambda end: end[1])
    near_zero = ACCURACY * scale(problem, *cell)
    kept: list[tuple] = []
    count: list[int] = []
    for end in ends:
        if kept and end[1] - kept[-1][1] <= max(SAME * end[1], near_zero):
            count[-1] += 1
        else:
            kept.append(end)
            count.append(1)
    theta, loss, gradient = (np.array(part) for part in zip(*kept, strict=True))
    return Minima(*problem.unpack(theta), loss, gradient, np.array(count))


def follow(
    W: np.ndarray,
    b: np.ndarray,
    importance: np.ndarray,
    feature_probability: np.ndarray,
    *,
    activity: str = "independent",
    **options: float,
) -> Branch:
    """The minimum that (W (m, n), b (n,)) leads to at the first point, then followed from point to point.

    importance, feature_probability: (k, n), one row per point. `activity`: a name in kinds.ACTIVITIES, its options as
    keywords. Where the branch ends, the descent falls to another
    minimum, and `moved` is large. Raises ValueError as `minima` does.

    Examples:
        >>> p = np.array([[0.30, 0.30], [0.31, 0.31]])
        >>> branch = tmsjax.theory.follow([[1.0, -1.0]], [0.0, 0.0], np.ones((2, 2)), p)
        >>> branch.loss.shape, bool(branch.moved[1] < 0.1)
        ((2,), True)
    """
    importance, probability = np.asarray(importance, np.float64), np.asarray(feature_probability, np.float64)
    if importance.ndim != 2 or importance.shape != probability.shape or not len(importance):
        raise ValueError(
            f"importance {importance.shape} and probability {probability.shape} must both be (k, n), k at least 1"
        )
    if np.ndim(W) != 2:
        raise ValueError(f"W must be (m, n), not {np.shape(W)}")
    cells = list(zip(importance, probability, strict=True))
    problem, *_ = [problem_of(*cell, np.shape(W)[0], activity, options) for cell in cells]
    ends = []
    theta = packed(problem, W, b)
    kick = np.random.default_rng(0).normal(size=theta.shape) * KICK
    kick[problem.hidden * problem.features :] = 0  # not of biases, which could fall below 0 and keep an output there
    for cell in cells:
        ends.append(_descend(problem, theta + kick, *cell))
        theta = ends[-1][0]
    thetas, loss, gradient = (np.array(part) for part in zip(*ends, strict=True))
    Ws, bs = problem.unpack(thetas)
    gram = np.swapaxes(Ws, -1, -2) @ Ws
    moved = np.abs(np.diff(gram, axis=0, prepend=gram[:1])).max((-1, -2))
    return Branch(Ws, bs, loss, gradient, moved)


def exact_losses(
    W: np.ndarray,
    b: np.ndarray,
    importance: np.ndarray,
    feature_probability: np.ndarray,
    *,
    activity: str = "independent",
    **options: float,
) -> np.ndarray:
    """The exact loss (k,) of models W (k, m, n), b (k, n) of one cell, importance and feature_probability (n,).

    `activity`: a name in kinds.ACTIVITIES, its options as keywords. Raises ValueError as `minima` does.

    Examples:
        >>> W, b = np.array([[[1.0, -1.0]]]), np.zeros((1, 2))
        >>> tmsjax.theory.exact_losses(W, b, [1.0, 1.0], [0.5, 0.5]).round(4)
        array([0.0833])
    """
    cell = np.asarray(importance, np.float64), np.asarray(feature_probability, np.float64)
    if np.ndim(W) != 3:
        raise ValueError(f"W must be (k, m, n), not {np.shape(W)}")
    problem = problem_of(*cell, np.shape(W)[-2], activity, options)
    theta = packed(problem, W, b, len(W))
    return np.array([value_of(problem, one, *cell)[0] for one in theta])


Model = tuple[np.ndarray, np.ndarray]  # W (m, n) and b (n,)
Path = Callable[[float], tuple[np.ndarray, np.ndarray]]  # t -> importance (n,) and feature probability (n,)


def crossing(
    first: Model,
    second: Model,
    path: Path,
    low: float,
    high: float,
    *,
    precision: float = 1e-4,
    activity: str = "independent",
    **options: float,
) -> float:
    """The t in [low, high] where two minima that are followed along `path` have equal loss.

    first, second: the minima, W (m, n) and b (n,), at any t between the two ends; both must exist from end to end.
    path: t -> importance (n,), feature_probability (n,). `precision`: of t, relative to the length of the interval.
    `activity`: a name in kinds.ACTIVITIES, its options as keywords. Raises ValueError if one has the lower loss at both
    ends.

    Examples:
        >>> def path(p):
        ...     return np.array([1.0, 0.3]), np.array([p, p])
        >>> pair, alone = (np.array([[1.0, -1.0]]), np.zeros(2)), (np.array([[1.0, 0.0]]), np.array([0.0, 0.2]))
        >>> round(tmsjax.theory.crossing(pair, alone, path, 0.35, 0.385, precision=0.01), 2)
        0.38
    """
    at = {"first": first, "second": second}

    def difference(t: float) -> float:
        importance, probability = (np.atleast_2d(v) for v in path(t))
        losses = []
        for name, (W, b) in at.items():
            branch = follow(W, b, importance, probability, activity=activity, **options)
            at[name] = branch.W[0], branch.b[0]
            losses.append(branch.loss[0])
        return losses[0] - losses[1]

    ends = difference(low), difference(high)
    if ends[0] * ends[1] > 0:
        lower = "first" if ends[0] < 0 else "second"
        raise ValueError(f"the {lower} minimum has the lower loss at both {low:g} and {high:g}, or one ends in between")
    return optimize.brentq(difference, low, high, xtol=precision * (high - low))


def packed(problem: Problem, W: np.ndarray, b: np.ndarray, *leading: int) -> np.ndarray:
    """theta (*leading, d). Raises ValueError for other shapes of W (*leading, m, n) and b (*leading, n)."""
    W, b = np.asarray(W, np.float64), np.asarray(b, np.float64)
    m, n = problem.hidden, problem.features
    if W.shape != (*leading, m, n) or b.shape != (*leading, n):
        raise ValueError(f"W must be {(*leading, m, n)} and b {(*leading, n)}, not {W.shape} and {b.shape}")
    return problem.pack(W, b)


def problem_of(
    importance: np.ndarray, probability: np.ndarray, hidden: int, activity: str, options: dict[str, float]
) -> Problem:
    """The objective of one cell. Raises ValueError if it is not supported."""
    n = importance.size
    if importance.shape != (n,) or probability.shape != (n,) or not 2 <= n <= MOST_FEATURES:
        shapes = f"importance {importance.shape} and feature_probability {probability.shape}"
        raise ValueError(f"{shapes} must be (n,), n from 2 to {MOST_FEATURES}")
    if not (np.isfinite(importance).all() and (importance >= 0).all()):
        raise ValueError("importance must be finite and at least 0")
    if not ((probability > 0) & (probability <= 1)).all():
        raise ValueError("feature_probability must be in (0, 1]")
    if not isinstance(hidden, int) or hidden < 1:
        raise ValueError(f"hidden must be a whole number of at least 1, not {hidden!r}")
    if drawn_by(activity, n, **options).activity.exactly is None:
        raise ValueError(f"no exact loss is known for activity {activity!r}")
    return Problem(n, hidden, activity, options=tuple(sorted(options.items())))


def _descend(
    problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The minimum that `theta` leads to: parameters, loss, gradient norm. Raises ValueError if it is not finite."""
    if not np.isfinite(theta).all():
        raise ValueError("W and b must be finite")
    unit = scale(problem, importance, probability)
    length = np.sqrt(unit / (2 * max(importance.max(), TINY)))  # so that the first step of a bias does not overshoot

    def scaled(steps: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_of(problem, steps * length, importance, probability)
        return value / unit, slope * (length / unit)

    options = {"gtol": GRADIENT * length, "maxiter": 2000}
    found = optimize.minimize(scaled, theta / length, jac=True, method="BFGS", options=options)
    return found.x * length, float(found.fun) * unit, float(np.linalg.norm(found.jac)) * unit / length


def scale(problem: Problem, importance: np.ndarray, probability: np.ndarray) -> float:
    """The loss of a model whose output is 0, the unit of a cell's losses."""
    return max(float(importance @ problem.drawn.marginal(probability)) / 3, TINY)


def value_of(
    problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray
) -> tuple[float, np.ndarray]:
    """The loss and its gradient (d,)."""
    check_not_forked()
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        value, slope = _slope(problem)(theta, importance, probability)
    return float(value), np.asarray(slope)


@cache
def _slope(problem: Problem) -> Callable:
    """(theta (d,), importance (n,), probability (n,)) -> (loss, gradient (d,))."""
    return jax.jit(jax.value_and_grad(loss_of(problem)))


def loss_of(problem: Problem) -> Callable:
    """(theta (d,), importance (n,), probability (n,)) -> loss."""

    def loss(theta: Any, importance: Any, probability: Any) -> Any:
        W, b = problem.unpack(theta)
        return relu_loss(W, b, importance, probability, problem.drawn)

    return loss
