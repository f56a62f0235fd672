"""Exact optima of small ReLU models: the global minimum of the exact loss for every cell, in float64.

A cell is one row of importances and feature probabilities. Lists of cells are solved in blocks, so that memory beyond
inputs and outputs does not grow with their number. A share of the cells is solved again from random starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.spatial import cKDTree

from tmsjax.kinds import drawn_by
from tmsjax.theory.branches import IMPROVED, Best, continued, coordinates, from_starts, lattice_of, restart, scale
from tmsjax.theory.newton import CHUNK
from tmsjax.theory.problem import Problem
from tmsjax.theory.starts import starts, structured_starts

BLOCK = 2**17  # cells in memory at a time
SOLUTIONS = 2**20  # in memory at a time, from many starts per cell
CHECKED_SHARE, LEAST_CHECKED, CHECK_STARTS = 1000, 48, 32  # 1 cell in 1000 is solved again, from 32 random starts
LEAST_GAIN = 1e-15  # what a loss must fall by in any case, in the unit of `branches.scale`


@dataclass(frozen=True)
class Optimum:
    """Global minima of the exact loss for k cells, as found.

    W (k, m, n), b (k, n), loss (k,). gradient (k,): the norm of the remaining gradient. second_loss (k,): the loss of
    the next-best local minimum that was found, NaN if there is none. Plateaus with an output that is always 0 do not
    count. At a kink of the loss, one side's Hessian decides what is a minimum. starts: descents per cell, or per
    lattice node if the cells continue the minima of a lattice.

    The check: `checked` cells were solved again from `check_starts` random starts. `improved` of them ended at a lower
    loss, by a relative `largest_improvement` at most (0 or rounding if none); all cells then started once more from the
    nearest of these, and the arrays hold the better solutions.

    Examples:
        >>> found = tmsjax.theory.exact_optimum([[1.0, 0.5]], [[0.3, 0.3]])
        >>> found.b.shape, found.improved
        ((1, 2), 0)
    """

    W: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    second_loss: np.ndarray
    starts: int
    checked: int
    check_starts: int
    improved: int
    largest_improvement: float


def exact_optimum(
    importance: np.ndarray,
    feature_probability: np.ndarray,
    *,
    hidden: int | None = None,
    activity: str = "independent",
    bias: bool = True,
    random_starts: int = 0,
    seed: int = 0,
    **options: float,
) -> Optimum:
    """The global minimum of the exact loss for every row of `importance`, `feature_probability` (k, n), n = 2 or 3.

    One row, (n,) or (1, n), stands beside every row of the other. `hidden`: dimensions, n - 1 by default. `activity`:
    how features are active together, a name in kinds.ACTIVITIES, its options as keywords. `bias`: False keeps b = 0.
    Few or scattered cells: Newton's method from `structured_starts` and `random_starts` normal samples drawn with
    `seed`, for every cell. Many neighbouring cells and no random starts: from the minima at the nodes of a lattice
    (branches.py). Computes in float64.

    Raises ValueError for other shapes, importances below 0, probabilities outside (0, 1] and activities without an
    exact loss.

    Examples:
        >>> found = tmsjax.exact_optimum([[1.0, 0.5]], [[0.3, 0.3]])
        >>> found.W.shape, found.loss.round(4)
        ((1, 1, 2), array([0.0217]))
    """
    given = [np.atleast_2d(np.asarray(v, np.float64)) for v in (importance, feature_probability)]
    k, n = max(map(len, given)), given[0].shape[-1]
    if n not in CHUNK or any(v.ndim != 2 or v.shape[-1] != n or len(v) not in (1, k) for v in given):
        shapes = f"importance {given[0].shape} and feature_probability {given[1].shape}"
        raise ValueError(f"{shapes} must be (n,) or (k, n), n = 2 or 3")
    importance, probability = (np.broadcast_to(v, (k, n)) for v in given)
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
    problem = Problem(n, n - 1 if hidden is None else hidden, activity, bias, tuple(sorted(options.items())))
    best = _in_blocks(partial(_solved, problem, random_starts, seed), BLOCK, importance, probability)
    check = _checked(problem, best, importance, probability, seed)
    W, b = problem.unpack(best.theta.T)
    count = len(structured_starts(n, problem.hidden)) + random_starts
    return Optimum(W, b, best.loss, best.gradient, best.second, count, *check)


def _in_blocks(function: Callable[..., Best], size: int, *arrays: np.ndarray) -> Best:
    """`function` of blocks of `size` rows of `arrays`, joined."""
    count = len(arrays[0])
    out: list[np.ndarray] = []
    for start in range(0, count, size):
        part = vars(function(*(a[start : start + size] for a in arrays))).values()
        out = out or [np.empty((*v.shape[:-1], count)) for v in part]
        for whole, v in zip(out, part, strict=True):
            whole[..., start : start + size] = v
    return Best(*out)


def _solved(problem: Problem, random: int, seed: int, importance: np.ndarray, probability: np.ndarray) -> Best:
    """The minima of a block of cells (rows): on a lattice if they are dense, else from many starts each."""
    lattice = None if random else lattice_of(*_columns(importance, probability))
    if lattice is not None:
        return continued(problem, lattice, *_columns(importance, probability))
    count = len(structured_starts(problem.features, problem.hidden)) + random
    many = partial(_from_many, problem, random, seed, fixed=True)
    return _in_blocks(many, max(1, SOLUTIONS // count), importance, probability)


def _from_many(
    problem: Problem, random: int, seed: int, importance: np.ndarray, probability: np.ndarray, *, fixed: bool
) -> Best:
    columns = _columns(importance, probability)
    return from_starts(problem, starts(problem, columns[1], random, seed, fixed), *columns)


def _columns(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(a.T) for a in arrays)


def _checked(
    problem: Problem, best: Best, importance: np.ndarray, probability: np.ndarray, seed: int
) -> tuple[int, int, int, float]:
    """Solves a share of the cells again, improving `best`. Returns Optimum's four facts of the check."""
    k = len(best.loss)
    count = min(k, max(LEAST_CHECKED, k // CHECKED_SHARE))
    rng = np.random.default_rng([seed, k])
    rows = ((np.arange(count) + rng.random(count)) * (k / count)).astype(int)  # one in every stretch of the list
    rows = np.minimum(rows, k - 1)
    given = importance[rows], probability[rows]
    again = _from_many(problem, CHECK_STARTS, seed + 1, *given, fixed=False)
    gain, least = best.loss[rows] - again.loss, LEAST_GAIN * scale(problem, *_columns(*given))
    lower = gain > IMPROVED * best.loss[rows] + least
    facts = count, CHECK_STARTS, int(lower.sum()), float(np.max(gain / (best.loss[rows] + least), initial=0))
    if not lower.any():
        return facts
    tree = cKDTree(coordinates(*(v[:, lower] for v in _columns(*given))).T)
    better = again.theta[:, lower]

    for start in range(0, k, BLOCK):
        block = np.arange(start, min(start + BLOCK, k))
        columns = _columns(importance[block], probability[block])
        nearest = tree.query(coordinates(*columns).T)[1]
        restart(problem, best, block, better[:, nearest], *columns)
    return facts
