"""Exact optima of small ReLU models: many descents on the exact loss, then Newton's method, all in float64.

A cell is one row of importances and feature probabilities. The solutions of all cells and starts advance together,
with one vector per parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tmsjax.engine import WIDE_VECTORS, cores
from tmsjax.kinds import Drawn, drawn_by
from tmsjax.models import expected

DESCENT_STEPS = 800
DESCENT_RATE = 2e-2
CHUNK = {2: 8192, 3: 2048}  # solutions per kernel, by number of features
NEWTON_STEPS = 60
TOLERANCE = 1e-10  # gradient norm at which Newton's method stops
SAME = 0.02  # solutions are equal if no entry of W^T W and b differs by more
SIGNED_STARTS = (
    (1.0, 0.1),
    (0.1, 1.0),
    (1.0, -0.1),
    (-0.1, 1.0),
    (0.9, -0.9),
    (0.7, 0.7),
    (1.0, -0.6),
    (-0.6, 1.0),
)


@dataclass(frozen=True)
class Optimum:
    """Global minima of the exact loss for k cells, as found: the best of `starts` descents each.

    W (k, m, n), b (k, n), loss (k,). gradient (k,): the norm of the remaining gradient. second_loss (k,): the loss of
    another local minimum, from the next-best descent that Newton's method takes to one; NaN if all descents lead to the
    same minimum. starts: descents per cell.
    """

    W: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    second_loss: np.ndarray
    starts: int


@dataclass(frozen=True)
class Problem:
    """The objective: the exact loss of models of one shape as a function of theta = (W row by row, b)."""

    features: int
    hidden: int
    activity: str = "independent"
    bias: bool = True
    options: tuple[tuple[str, int], ...] = ()  # of the activity

    @property
    def size(self) -> int:
        return self.features * (self.hidden + self.bias)

    @property
    def drawn(self) -> Drawn:
        return drawn_by(self.activity, self.features, **dict(self.options))

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(W (..., m, n), b (..., n)) from theta (..., size); b = 0 without bias."""
        weights = self.features * self.hidden
        W = theta[..., :weights].reshape(*theta.shape[:-1], self.hidden, self.features)
        return W, theta[..., weights:] if self.bias else np.zeros((*theta.shape[:-1], self.features))

    def pack(self, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        flat = np.reshape(W, (*np.shape(W)[:-2], -1))
        return np.concatenate([flat, b], axis=-1) if self.bias else flat

    def total(self, theta: list, importance: list, probability: list) -> Any:
        """The losses (k,) of all solutions; each list holds one vector (k,) per entry."""
        n, m = self.features, self.hidden
        W = [theta[row * n : (row + 1) * n] for row in range(m)]
        gram = [[sum(row[i] * row[j] for row in W) for j in range(n)] for i in range(n)]
        b = theta[m * n :] if self.bias else [jnp.zeros_like(theta[0])] * n
        return expected.relu_loss_elementwise(gram, b, importance, probability, self.drawn)


def exact_optimum(
    importance: np.ndarray,
    feature_probability: np.ndarray,
    *,
    hidden: int | None = None,
    activity: str = "independent",
    bias: bool = True,
    random_starts: int = 0,
    seed: int = 0,
    **options: int,
) -> Optimum:
    """The global minimum of the exact loss for every row of `importance`, `feature_probability` (k, n), n = 2 or 3.

    `hidden`: dimensions, n - 1 by default. `activity`: how features are active together, a name in kinds.ACTIVITIES,
    its options as keywords. `bias`: False keeps b = 0. Descents start from `structured_starts` and `random_starts`
    normal samples drawn with `seed`. Computes in float64. Raises ValueError for other shapes, importances below 0,
    probabilities outside (0, 1] and activities without an exact loss.
    """
    importance = np.atleast_2d(np.asarray(importance, np.float64))
    probability = np.atleast_2d(np.asarray(feature_probability, np.float64))
    n = importance.shape[-1]
    if importance.ndim != 2 or importance.shape != probability.shape or n not in CHUNK:
        shapes = f"importance {importance.shape} and feature_probability {probability.shape}"
        raise ValueError(f"{shapes} must be (k, n), n = 2 or 3")
    if not len(importance) or random_starts < 0:
        raise ValueError(f"cells must be >= 1 and random_starts >= 0, not {len(importance)} and {random_starts}")
    if not (np.isfinite(importance).all() and (importance >= 0).all()):
        raise ValueError("importance must be finite and at least 0")
    if not ((probability > 0) & (probability <= 1)).all():
        raise ValueError("feature_probability must be in (0, 1]")
    if hidden is not None and (not isinstance(hidden, int) or hidden < 1):
        raise ValueError(f"hidden must be a whole number of at least 1, not {hidden}")
    if drawn_by(activity, n, **options).activity.exactly is None:
        raise ValueError(f"no exact loss is known for activity {activity!r}")
    cells, inverse = np.unique(np.concatenate([importance, probability], axis=1), axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    problem = Problem(n, n - 1 if hidden is None else hidden, activity, bias, tuple(sorted(options.items())))
    inputs = cells[:, :n], cells[:, n:]
    theta = _starts(problem, inputs[1], random_starts, seed)
    count = theta.shape[1]
    repeated = [np.repeat(v, count, axis=0) for v in inputs]
    theta, loss = descend(problem, theta.reshape(-1, problem.size), *repeated, steps=DESCENT_STEPS)
    best = _best_two(problem, theta.reshape(len(cells), count, -1), loss.reshape(len(cells), count), *inputs)
    W, b, loss, gradient, second = (v[inverse] for v in best)
    return Optimum(W, b, loss, gradient, second, count)


def structured_starts(features: int, hidden: int) -> np.ndarray:
    """The fixed starts W (s, m, n) of a cell's descents.

    n = 2: SIGNED_STARTS; for m > 1, W_2 also has a component between 1 and 0.1 in the second dimension. n = 3, m = 2:
    each feature nearly dropped, leaning against the other two or with them; each pair antipodal; the triangle, also
    with one feature shrunk. n = 3, other m: normal samples with a fixed seed.
    """
    if features == 2:
        W = np.zeros((len(SIGNED_STARTS), hidden, 2))
        W[:, 0, :] = SIGNED_STARTS
        if hidden > 1:
            W[:, 1, 1] = np.linspace(1, 0.1, len(W))
        return W
    if hidden != 2:
        return np.random.default_rng(0).normal(size=(16, hidden, 3)) * 0.7
    angles = np.array([0.0, 2, 4]) * np.pi / 3
    triangle = np.stack([np.cos(angles), np.sin(angles)])
    starts = [triangle, triangle * [1, 1, 0.6]]
    for dropped in range(3):
        kept = [k for k in range(3) if k != dropped]
        for lean in (-0.1, 0.1):
            W = np.zeros((2, 3))
            W[:, kept], W[:, dropped] = np.eye(2), lean
            starts.append(W)
    for i, j in combinations(range(3), 2):
        W = np.full((2, 3), 0.05)
        W[0, [i, j]], W[1, 3 - i - j] = (0.95, -0.95), 0.95
        starts.append(W)
    return np.array(starts)


def _starts(problem: Problem, probability: np.ndarray, random: int, seed: int) -> np.ndarray:
    """theta (k, starts, size) at the start. A feature's bias is p/2 if its weight is small, else 0."""
    W = structured_starts(problem.features, problem.hidden)
    extra = np.random.default_rng(seed).normal(size=(random, *W.shape[1:])) * 0.8
    W = np.concatenate([W, extra])
    small = np.sqrt((W**2).sum(1)) <= 0.15
    b = small[None] * probability[:, None, :] / 2
    return problem.pack(np.broadcast_to(W, (len(probability), *W.shape)), b)


def _best_two(problem: Problem, theta: np.ndarray, loss: np.ndarray, *inputs: np.ndarray) -> tuple:
    """W, b, loss, gradient norm of each cell's best solution in theta (k, s, size), and the loss of its second best.

    An unconverged descent looks like a distinct solution. So a solution that Newton's method takes to the same minimum,
    or to a saddle, does not count as second best.
    """
    rows = np.arange(len(theta))
    left = np.isfinite(loss)
    first = np.argmin(np.where(left, loss, np.inf), axis=1)
    best, value, slope = refine(problem, theta[rows, first], *inputs)
    left &= _distance(problem, theta, best[:, None]) > SAME
    second = np.full(len(theta), np.nan)
    for _ in range(theta.shape[1]):
        rows = np.flatnonzero(left.any(1) & np.isnan(second))
        if not rows.size:
            break
        pick = np.argmin(np.where(left[rows], loss[rows], np.inf), axis=1)
        chosen, given = theta[rows, pick], tuple(v[rows] for v in inputs)
        other, other_value, other_slope = refine(problem, chosen, *given)
        stable = np.linalg.eigvalsh(hessian(problem, other, given[0], given[1]))[:, 0] > -1e-6
        found = (_distance(problem, other, best[rows]) > SAME) & stable
        better = other_value < value[rows]
        ours = rows[better]
        if ours.size:  # the displaced best counts as second only if it is a minimum
            curvature = hessian(problem, best[ours], inputs[0][ours], inputs[1][ours])
            found[better] &= np.linalg.eigvalsh(curvature)[:, 0] > -1e-6
        second[rows[found]] = np.maximum(other_value, value[rows])[found]
        best[ours], value[ours], slope[ours] = other[better], other_value[better], other_slope[better]
        left[rows] &= _distance(problem, theta[rows], chosen[:, None]) > SAME
    return *problem.unpack(best), value, slope, second


def _distance(problem: Problem, theta: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The largest difference in W^T W and b, shape (...). Invariant to rotations and reflections of W."""
    (V, c), (W, b) = problem.unpack(theta), problem.unpack(other)
    of_gram = np.abs(np.swapaxes(V, -1, -2) @ V - np.swapaxes(W, -1, -2) @ W).max((-1, -2))
    return np.maximum(of_gram, np.abs(c - b).max(-1))


def descend(
    problem: Problem,
    theta: np.ndarray,
    importance: np.ndarray,
    probability: np.ndarray,
    *,
    steps: int,
    rate: float = DESCENT_RATE,
) -> tuple[np.ndarray, np.ndarray]:
    """Runs Adam with a cosine schedule from `rate`. Returns theta (k, size) and its loss (k,)."""
    return _in_chunks(problem, _descent(problem, steps, rate), theta, importance, probability)


def loss_and_gradient(
    problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The loss (k,) and its gradient (k, size)."""
    return _in_chunks(problem, _value_and_gradient(problem), theta, importance, probability)


@cache
def _value_and_gradient(problem: Problem) -> Callable:
    def evaluate(*inputs: list) -> tuple:
        value, back = jax.vjp(lambda theta: problem.total(theta, *inputs[1:]), inputs[0])
        return value, back(jnp.ones_like(value))[0]

    return jax.jit(evaluate, compiler_options=WIDE_VECTORS)


@cache
def _descent(problem: Problem, steps: int, rate: float) -> Callable:
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def run(theta: list, *inputs: list) -> tuple:
        gradient = jax.grad(lambda theta: problem.total(theta, *inputs).sum())

        def step(_: Any, state: tuple) -> tuple:
            updates, memory = optimizer.update(gradient(state[0]), state[1])
            return optax.apply_updates(state[0], updates), memory

        theta = jax.lax.fori_loop(0, steps, step, (theta, optimizer.init(theta)))[0]
        return theta, problem.total(theta, *inputs)

    return jax.jit(run, compiler_options=WIDE_VECTORS)


def _in_chunks(problem: Problem, function: Callable, *arrays: np.ndarray) -> tuple:
    """Applies `function` to the columns of `arrays` (k, ...) in float64 on CPU, in chunks of rows on all cores.

    Stacks the lists of columns that it returns into arrays (k, columns).
    """
    size, count = CHUNK[problem.features], len(arrays[0])
    cpu = jax.devices("cpu")[0]

    def call(start: int) -> tuple:
        rows = np.minimum(np.arange(start, start + size), count - 1)  # the last chunk is padded with its last row
        with jax.enable_x64(True), jax.default_device(cpu), jax.numpy_rank_promotion("raise"):
            done = function(*([jnp.asarray(column) for column in a[rows].T] for a in arrays))
            return tuple(np.stack(v, axis=-1) if isinstance(v, list) else np.asarray(v) for v in done)

    starts = range(0, count, size)
    first = [call(starts[0])]  # alone, so that threads do not compile the same program
    with ThreadPoolExecutor(cores()) as pool:
        parts = first + list(pool.map(call, starts[1:]))
    return tuple(np.concatenate(v)[:count] for v in zip(*parts, strict=True))


def hessian(
    problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """Symmetric Hessians (k, size, size) at the rows of theta (k, size), by central differences of the gradient."""
    size = problem.size
    shifts = step * np.concatenate([np.eye(size), -np.eye(size)])
    moved = (theta[:, None] + shifts).reshape(-1, size)
    inputs = (np.repeat(v, 2 * size, axis=0) for v in (importance, probability))
    slopes = loss_and_gradient(problem, moved, *inputs)[1].reshape(len(theta), 2, size, size)
    out = (slopes[:, 0] - slopes[:, 1]) / (2 * step)
    return (out + np.swapaxes(out, 1, 2)) / 2


def refine(
    problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton's method with Levenberg damping from theta (k, size). Returns theta, loss (k,) and gradient norm (k,).

    The loss never rises. A row stops at a gradient norm below TOLERANCE or after NEWTON_STEPS steps.
    """
    theta = np.array(theta, np.float64)
    value, slope = loss_and_gradient(problem, theta, importance, probability)
    damping = np.full(len(theta), 1e-6)
    for _ in range(NEWTON_STEPS):
        rows = np.flatnonzero((np.linalg.norm(slope, axis=1) > TOLERANCE) & (damping < 1e6))
        if not rows.size:
            break
        inputs = importance[rows], probability[rows]
        curvature = hessian(problem, theta[rows], *inputs) + damping[rows, None, None] * np.eye(problem.size)
        trial = theta[rows] - np.linalg.solve(curvature, slope[rows][..., None])[..., 0]
        trial_value, trial_slope = loss_and_gradient(problem, trial, *inputs)
        better = trial_value <= value[rows]
        damping[rows] = np.where(better, np.maximum(damping[rows] / 10, 1e-12), damping[rows] * 20)
        kept = rows[better]
        theta[kept], value[kept], slope[kept] = trial[better], trial_value[better], trial_slope[better]
    return theta, value, np.linalg.norm(slope, axis=1)
