"""Local minima of many cells: from many starts, or continued from a lattice of nearby cells.

A cell is one column of importances and feature probabilities. Dense lists of cells lie on
few boxes of a lattice in the logarithms of importance ratios and probabilities. Many descents find the local minima
(branches) at the lattice's nodes; every cell continues the branches of all corners of its box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmsjax.theory.newton import Solutions, solve
from tmsjax.theory.problem import Problem
from tmsjax.theory.starts import starts

SAME = 0.02  # solutions are equal if no entry of W^T W and b differs by more
MERGED = 0.1  # branches at the corners of a box closer than this start only one descent
CONVERGED = 1e-7  # gradient norm of a local minimum, in the unit of `scale`
TINY = 1e-200  # keeps ratios of losses finite
TIE = 1e-13  # relative difference of losses below which the first start is the best
SPACING = {2: 0.1, 3: 0.15}  # of the lattice, by number of features
MOST_BRANCHES = 8  # per node
JUMP, MOST_EXCHANGES = 0.05, 4  # neighbours that differ by more than JUMP have different branches
IMPROVED = 1e-9  # relative difference of losses that counts as an improvement
CELLS_PER_BOX, CELLS_PER_NODE, MOST_CORNERS = 4, 2, 8  # a lattice is used if it has so few boxes and nodes
LEAST_IMPORTANCE, LEAST_PROBABILITY = 1e-6, 1e-30  # the lattice's ends; importance over the cell's largest
# (weight, closeness): a dropped feature gets this weight if the loss is this close to the cell's best. The larger one
# reaches minima behind a barrier; the smaller one those next to the kink, which are lower by very little.
NUDGES = ((0.05, 0.02), (0.002, 1e-4))


@dataclass
class Best:
    """theta (d, k), loss, gradient norm and loss of the second-best minimum (k,), NaN if there is none."""

    theta: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    second: np.ndarray


def scale(problem: Problem, importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The largest importance times probability of being active (k,); losses divided by it are at most about n / 3."""
    largest = (importance * problem.drawn.marginal(probability.T).T).max(0)
    return np.where(largest > 0, largest, 1.0)


def from_starts(
    problem: Problem, theta: np.ndarray, importance: np.ndarray, probability: np.ndarray, *, near: bool = False
) -> Best:
    """The best minima of k cells from the starts theta (d, k, s)."""
    owner = np.repeat(np.arange(theta.shape[1]), theta.shape[2])
    return _from_flat(problem, theta.reshape(len(theta), -1), owner, importance, probability, near)


def _from_flat(
    problem: Problem,
    theta: np.ndarray,
    owner: np.ndarray,
    importance: np.ndarray,
    probability: np.ndarray,
    near: bool,
) -> Best:
    """The best minima of k cells (n, k) from theta (d, s), each a start of cell `owner` (s,), in ascending order."""
    unit = scale(problem, importance, probability)
    scaled = importance / unit
    found = solve(problem, theta, scaled[:, owner], probability[:, owner], near=near)
    theta, of = _nudged(problem, found, owner)
    if of.size:
        more = solve(problem, theta, scaled[:, of], probability[:, of])
        owner = np.concatenate([owner, of])
        order = np.argsort(owner, kind="stable")
        owner = owner[order]
        both = zip(vars(found).values(), vars(more).values(), strict=True)
        found = Solutions(*(np.concatenate(v, axis=-1)[..., order] for v in both))
    best = best_two(problem, found, owner)
    return Best(best.theta, best.loss * unit, best.gradient * unit, best.second * unit)


def _nudged(problem: Problem, found: Solutions, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """New starts (d, s) and their cells (s,), next to good solutions that drop a feature.

    These lie on a kink of the loss, where no gradient and one side's Hessian do not tell a minimum from a saddle. The
    dropped feature gets a small weight against the sum of the others, and one along it.
    """
    n, m = problem.features, problem.hidden
    W = found.theta[: n * m].reshape(m, n, -1)
    total = W.sum(1)
    total = total / np.sqrt((total**2).sum(0) + 1e-30)
    excess = found.loss / np.maximum(np.minimum.reduceat(found.loss, _begins(owner)), TINY)[owner] - 1
    theta, of = [], []
    for i in range(n):
        dropped = (W[:, i] ** 2).sum(0) < SAME**2
        for weight, closeness in NUDGES:
            rows = np.flatnonzero(dropped & (excess <= closeness))
            rows = rows[_begins(owner[rows])]  # one in every cell
            for signed in (-weight, weight):
                moved = found.theta[:, rows]
                moved[i : n * m : n] = signed * total[:, rows]
                theta.append(moved)
                of.append(owner[rows])
    return np.concatenate(theta, axis=1), np.concatenate(of)


def _begins(owner: np.ndarray) -> np.ndarray:
    """Where each run of equal numbers begins."""
    return np.flatnonzero(np.diff(owner, prepend=-1))


def best_two(problem: Problem, found: Solutions, owner: np.ndarray) -> Best:
    """The best solution of every cell and the loss of its second-best minimum; `owner`: cells in ascending order."""
    begins = _begins(owner)
    loss = np.where(np.isfinite(found.loss), found.loss, np.inf)
    least = np.minimum.reduceat(loss, begins)
    tied = np.flatnonzero(loss <= (least * (1 + TIE))[owner])
    first = tied[_begins(owner[tied])]
    other = is_minimum(problem, found) & (distance(problem, found.theta, found.theta[:, first][:, owner]) > SAME)
    second = np.minimum.reduceat(np.where(other, loss, np.inf), begins)
    second = np.where(np.isfinite(second), second, np.nan)
    return Best(found.theta[:, first], found.loss[first], found.gradient[first], second)


def is_minimum(problem: Problem, found: Solutions) -> np.ndarray:
    """Whether each solution is a converged local minimum (k,), other than a plateau on which an output is always 0."""
    n, weights = problem.features, problem.features * problem.hidden
    W, b = found.theta[:weights].reshape(problem.hidden, n, -1), found.theta[weights:]
    out = found.stable & (found.gradient < CONVERGED)
    for i, bias in enumerate(b):
        most = bias + sum(np.maximum((W[:, i] * W[:, j]).sum(0), 0) for j in range(n))
        out &= most >= 0  # the largest pre-activation
    return out


def distance(problem: Problem, theta: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The largest difference in W^T W and b, shape (...), of theta (d, ...). Invariant to rotations of W."""
    n, weights = problem.features, problem.features * problem.hidden
    W, V = (t[:weights].reshape(problem.hidden, n, *t.shape[1:]) for t in (theta, other))
    out = np.abs(theta[weights:] - other[weights:]).max(0, initial=0)
    for i in range(n):
        for j in range(i + 1):
            np.maximum(out, np.abs((W[:, i] * W[:, j]).sum(0) - (V[:, i] * V[:, j]).sum(0)), out=out)
    return out


@dataclass
class Lattice:
    """The boxes of a lattice that hold k cells, and their corners, the nodes.

    importance, probability (n, nodes): the nodes as cells. corners (boxes, c): nodes. box (k,): of every cell.
    """

    importance: np.ndarray
    probability: np.ndarray
    corners: np.ndarray
    box: np.ndarray


def coordinates(importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(2n - 1, k): log importance ratios to the first feature, log p of the first, log ratios of p to it."""
    largest = importance.max(0)
    u = np.log(np.maximum(importance / np.where(largest > 0, largest, 1.0), LEAST_IMPORTANCE))
    v = np.log(np.maximum(probability, LEAST_PROBABILITY))
    return np.concatenate([u[1:] - u[0], v[:1], v[1:] - v[0]])


def lattice_of(importance: np.ndarray, probability: np.ndarray) -> Lattice | None:
    """The lattice for cells (n, k), or None if it would have too many nodes for so few or so scattered cells.

    A box has 2^f corners, f the number of coordinates in which its cells lie between nodes: 2 for a grid of one
    importance and one probability.
    """
    n, k = importance.shape
    spacing = SPACING[n]
    where = coordinates(importance, probability) / spacing
    nearest = np.round(where)
    key = np.where(np.abs(where - nearest) < 1e-9, 2 * nearest, 2 * np.floor(where) + 1).astype(np.int64)
    boxes, box = _unique(key)  # even: on a node; odd: between two
    corners = _corners(boxes)
    if CELLS_PER_BOX * boxes.shape[1] > k or corners.shape[-1] > MOST_CORNERS:
        return None
    nodes, index = _unique(corners.reshape(len(boxes), -1))
    if CELLS_PER_NODE * nodes.shape[1] > k:
        return None
    at = nodes * (spacing / 2)
    logs = np.concatenate([np.zeros_like(at[:1]), at[: n - 1]])
    p = at[n - 1] + np.concatenate([np.zeros_like(at[:1]), at[n:]])
    return Lattice(np.exp(logs - logs.max(0)), np.exp(np.minimum(p, 0)), index.reshape(corners.shape[1:]), box)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """The nodes (2n - 1, boxes, c) around every box; some are repeated if boxes differ in their number."""
    corners = [boxes]
    for axis, key in enumerate(boxes):
        shift = np.zeros_like(boxes)
        shift[axis] = key % 2
        if shift.any():
            corners = [c + s for c in corners for s in (-shift, shift)]
    return np.stack(corners, axis=-1)


def _unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct columns of integers (c, k), and for every column the index of its equal."""
    low = keys.min(1)
    spans = keys.max(1) - low + 1
    flat = np.ravel_multi_index(tuple(keys - low[:, None]), tuple(spans))
    distinct, inverse = np.unique(flat, return_inverse=True)
    return np.stack(np.unravel_index(distinct, tuple(spans))) + low[:, None], inverse


def continued(problem: Problem, lattice: Lattice, importance: np.ndarray, probability: np.ndarray) -> Best:
    """The best minima of k cells, continued from the branches at the corners of their boxes."""
    theta = starts(problem, lattice.probability)
    owner = np.repeat(np.arange(theta.shape[1]), theta.shape[2])
    scaled = lattice.importance / scale(problem, lattice.importance, lattice.probability)
    found = solve(problem, theta.reshape(len(theta), -1), scaled[:, owner], lattice.probability[:, owner])
    nodes = _distinct(problem, found, theta.shape[1:])
    table, kept = _merged(problem, nodes, lattice.corners)
    counts = kept.sum(1)[lattice.box]
    owner = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = np.argsort(~kept, axis=1, kind="stable")  # the kept branches of every box first
    box = lattice.box[owner]
    begin = table[:, box, order[box, within]]
    best = _from_flat(problem, begin, owner, importance, probability, near=True)
    keys = coordinates(importance, probability)
    for order in (np.lexsort((*keys, lattice.box)), np.lexsort((*keys[::-1], lattice.box))):
        _exchange(problem, best, order, importance, probability)
    return best


def _exchange(problem: Problem, best: Best, order: np.ndarray, importance: np.ndarray, probability: np.ndarray) -> None:
    """Cells whose neighbour in `order` (k,) has another branch start from that too, until no loss falls."""
    for _ in range(MOST_EXCHANGES):
        lower = 0
        for source, target in ((order[:-1], order[1:]), (order[1:], order[:-1])):
            other = distance(problem, best.theta[:, source], best.theta[:, target]) > JUMP
            theta, rows = best.theta[:, source[other]], target[other]
            before = best.loss[rows]
            restart(problem, best, rows, theta, importance[:, rows], probability[:, rows])
            lower += int((best.loss[rows] < before * (1 - IMPROVED)).sum())
        if not lower:
            break


def restart(
    problem: Problem,
    best: Best,
    rows: np.ndarray,
    theta: np.ndarray,
    importance: np.ndarray,
    probability: np.ndarray,
) -> None:
    """Starts cells `rows` (r,) of `best` also from theta (d, r), with their importance, probability (n, r)."""
    if not rows.size:
        return
    both = np.stack([best.theta[:, rows], theta], axis=-1)
    found = from_starts(problem, both, importance, probability, near=True)
    found.second = np.fmin(found.second, best.second[rows])
    for whole, part in zip(vars(best).values(), vars(found).values(), strict=True):
        whole[..., rows] = part


def _distinct(problem: Problem, found: Solutions, shape: tuple[int, ...]) -> np.ndarray:
    """The distinct minima (d, nodes, MOST_BRANCHES) of solutions from `shape` (nodes, starts), in order of loss.

    NaN where a node has fewer.
    """
    theta = found.theta.reshape(-1, *shape)
    loss = np.where(np.isfinite(found.loss), found.loss, np.inf).reshape(shape)
    minimum = is_minimum(problem, found).reshape(shape) | (loss <= loss.min(1, keepdims=True))
    loss = np.where(minimum, loss, np.inf)
    rows, out = np.arange(shape[0]), np.full((len(theta), shape[0], MOST_BRANCHES), np.nan)
    for k in range(MOST_BRANCHES):
        pick = loss.argmin(1)
        left = np.isfinite(loss[rows, pick])
        if not left.any():
            break
        chosen = theta[:, rows, pick]
        out[:, left, k] = chosen[:, left]
        loss[distance(problem, theta, np.broadcast_to(chosen[:, :, None], theta.shape)) <= SAME] = np.inf
    return out


def _merged(problem: Problem, nodes: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The branches (d, boxes, c) at all corners of every box, and which of them to start from (boxes, c).

    All branches of the corner that has most, and those of the others that are not near one of another corner.
    """
    counts = np.isfinite(nodes[0]).sum(1)
    corners = np.take_along_axis(corners, np.argsort(-counts[corners], axis=1, kind="stable"), axis=1)
    table = nodes[:, corners].reshape(len(nodes), len(corners), -1)
    kept = np.isfinite(table[0])
    for c in range(nodes.shape[2], kept.shape[1]):
        before = c - c % nodes.shape[2]  # branches of the corners before
        here = np.broadcast_to(table[:, :, c : c + 1], table[:, :, :before].shape)
        kept[:, c] &= ~((distance(problem, table[:, :, :before], here) <= MERGED) & kept[:, :before]).any(1)
    return table, kept
