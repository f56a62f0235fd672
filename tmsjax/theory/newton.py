"""Newton's method on the exact loss: all solutions advance together, compiled once, in float64 on CPU.

Solutions are columns: arrays are (entries, k). The kernel runs on chunks of a fixed number of columns, so that lists of
any length share one executable.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.engine import WIDE_VECTORS, check_not_forked, cores
from tmsjax.theory.derivatives import derivatives
from tmsjax.theory.problem import Problem

CHUNK = {2: 2048, 3: 512}  # solutions per kernel, by number of features
ROUNDS = (6, 6, 12, 24, 60)  # steps; after each round, only the solutions still moving go on
TOLERANCE = 1e-11  # gradient norm at which a solution stops
LONGEST = 0.4  # the longest step
FAR, NEAR = 0.3, 1e-4  # first damping: far from a minimum, so that early steps follow the gradient, and near one
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e6
STABLE = 1e-6  # a solution whose Hessian plus this times the identity is positive definite counts as a minimum
ROUNDING = 4e-16  # relative error of a loss


@dataclass
class Solutions:
    """theta (d, k), its loss (k,), gradient norm (k,), and whether the Hessian is that of a minimum (k,)."""

    theta: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    stable: np.ndarray


def solve(
    problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray, *, near: bool = False
) -> Solutions:
    """Damped Newton steps from theta (d, k); importance and probability (n, k). The loss never rises.

    `near`: whether theta is near a minimum. The factorisation takes absolute pivots, so that steps lead away from
    saddles. A solution stops at a gradient norm of TOLERANCE, or when damping by MOST_DAMPING does not help.
    """
    kernel, size = _kernel(problem), CHUNK[problem.features]
    count = theta.shape[1]
    damping = np.full((1, count), NEAR if near else FAR)
    theta, facts = np.array(theta, np.float64), np.empty((4, count))
    rows = np.arange(count)
    for steps in ROUNDS:
        moved = _in_chunks(
            kernel, size, steps, theta[:, rows], damping[:, rows], importance[:, rows], probability[:, rows]
        )
        theta[:, rows], damping[:, rows], facts[:, rows] = moved[:-5], moved[-5:-4], moved[-4:]
        rows = rows[facts[3, rows] == 0]
        if not rows.size:
            break
    return Solutions(theta, facts[0], facts[1], facts[2] > 0)


def _in_chunks(kernel: Callable, size: int, steps: int, *arrays: np.ndarray) -> np.ndarray:
    """Applies the kernel to the columns of `arrays`, in chunks on all cores. The last chunk repeats its last column."""
    check_not_forked()
    count = arrays[0].shape[1]
    cpu = jax.devices("cpu")[0]
    out: list[np.ndarray] = []

    def call(start: int) -> np.ndarray:
        columns = slice(start, start + size)
        parts = [a[:, columns] for a in arrays]
        if (missing := size - parts[0].shape[1]) > 0:
            parts = [np.pad(p, ((0, 0), (0, missing)), mode="edge") for p in parts]
        with jax.enable_x64(True), jax.default_device(cpu), jax.numpy_rank_promotion("raise"):
            return np.asarray(kernel(np.int32(steps), *parts))

    starts = range(0, count, size)
    out = [call(starts[0])]  # alone, so that threads do not compile the same program
    with ThreadPoolExecutor(cores()) as pool:
        out += pool.map(call, starts[1:])
    return np.concatenate(out, axis=1)[:, :count]


@cache
def _kernel(problem: Problem) -> Callable:
    """(steps, theta (d, k), damping (1, k), importance (n, k), probability (n, k)) -> (d + 5, k).

    The rows of the result: theta, damping, loss, gradient norm, whether stable, whether done.
    """
    drawn = problem.drawn

    def run(steps: Any, theta: Any, damping: Any, importance: Any, probability: Any) -> Any:
        inputs = list(importance), list(probability)

        def step(state: tuple) -> tuple:
            count, theta, value, slope, curvature, damping, trial, *_ = state
            new = _stacked(*derivatives(list(trial), *inputs, drawn, problem.bias))
            closer = _square(new[1]) < _square(slope)
            better = (new[0] < value) | ((new[0] <= value + ROUNDING * abs(value)) & closer)
            theta, value, slope, curvature = (
                jnp.where(jnp.broadcast_to(better, a.shape), a, b)
                for a, b in zip((trial, *new), (theta, value, slope, curvature), strict=True)
            )
            damping = jnp.where(better, jnp.maximum(damping / 3, LEAST_DAMPING), damping * 10)
            done = (_square(slope) <= TOLERANCE**2) | (damping > MOST_DAMPING)
            move, positive = _newton_step(slope, curvature, jnp.where(done, STABLE, damping))
            trial = theta - jnp.where(done[None], 0.0, move)
            return count + 1, theta, value, slope, curvature, damping, trial, done, positive

        zero = jnp.zeros_like(theta[0])
        empty = jnp.zeros((problem.size, *theta.shape), theta.dtype)
        state = (0, theta, zero + jnp.inf, jnp.zeros_like(theta), empty, damping[0] * 3, theta, zero > 1, zero > 1)
        state = jax.lax.while_loop(lambda s: (s[0] <= steps) & ~s[-2].all(), step, state)
        _, theta, value, slope, _, damping, _, done, positive = state
        facts = [damping, value, jnp.sqrt(_square(slope)), positive * 1.0, done * 1.0]
        return jnp.concatenate([theta, jnp.stack(facts)])

    return jax.jit(run, compiler_options=WIDE_VECTORS)


def _stacked(value: Any, slope: list, lower: list) -> tuple[Any, Any, Any]:
    """Value (k,), gradient (d, k) and the whole Hessian (d, d, k) from `derivatives`."""
    size = len(slope)
    flat = jnp.stack([v for row in lower for v in row])
    high, low = (f(*np.indices((size, size))) for f in (np.maximum, np.minimum))
    return value, jnp.stack(slope), flat[high * (high + 1) // 2 + low]


def _square(entries: Any) -> Any:
    return sum(v * v for v in entries)


def _newton_step(slope: Any, curvature: Any, damping: Any) -> tuple[Any, Any]:
    """x (d, k) with (H + damping) x = slope and |x| <= LONGEST, and whether H + damping is positive definite (k,).

    Gauss-Jordan elimination; a pivot counts as its absolute value, at least `damping`. slope (d, k), curvature
    (d, d, k), damping (k,).
    """
    size = len(slope)
    positive = damping > 0
    diagonal = jnp.broadcast_to(jnp.eye(size, dtype=slope.dtype)[:, :, None], curvature.shape)
    left = jnp.concatenate([curvature + diagonal * damping[None, None], slope[:, None]], axis=1)
    for j in range(size):  # left: the columns from j on
        column = left[:, 0]
        positive = positive & (column[j] > 0)
        row = left[j, 1:] * (1 / jnp.maximum(abs(column[j]), damping))[None]
        others = left[:, 1:] - column[:, None] * row[None]
        left = jax.lax.optimization_barrier(others.at[j].set(row))
    x = left[:, 0]
    return x * jnp.minimum(1, LONGEST / jnp.sqrt(_square(x) + 1e-300))[None], positive
