"""The model of lowest exact loss of n equally important features in m dimensions: its search, symmetry and name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise, permutations, product
from typing import Any

import numpy as np
from studies.who_wins.curvature import stationary

from tmsjax import theory
from tmsjax.analysis import polytopes
from tmsjax.kinds import REPRESENTED, measures

CHECKED = (0.02, 0.3, 0.85, 0.95)
NEAR = 1e-3  # minima whose loss exceeds the lowest by less are refined by Newton's method; in units of n p / 3
MOST_REFINED = 4
DENSE = 0.7  # p from which winners are also sought by reversing directions
SAME = 1e-9  # difference of two losses that count as one, likewise
EQUAL = 2e-3  # largest difference of entries of W^T W and b under a symmetry
STEP = 0.15  # change of an entry of W^T W between neighbouring p that is a jump
PRECISION = 2e-5  # of a transition, relative
JUMP = 0.05  # least change of an entry of W^T W at a first-order transition
TINY = 1e-4  # norm of an absent feature
UNEVEN = 1.25  # ratio of norms within a component that is called uneven
ON_A_LINE = 0.98  # least |cosine| of features on one line
TURNS = np.pi / 3 * np.arange(6)
OTHERS = {  # polytopes that polytopes.POLYTOPES lacks
    "hexagon": np.stack([np.cos(TURNS), np.sin(TURNS)]),
    "square pyramid": np.array([[0, 0.92, 0, -0.92, 0], [0, 0, 0.92, 0, -0.92], [1, -0.4, -0.4, -0.4, -0.4]]),
}


@dataclass(frozen=True)
class Winner:
    """The model of lowest loss that was found at one p.

    Loss, gradient norm and curvature, the least eigenvalue of the Hessian without rotations, are in units of n p / 3.
    hits: how many of the random starts led to it.
    """

    p: float
    W: np.ndarray
    b: np.ndarray
    loss: float
    gradient: float
    curvature: float
    hits: int = 0

    @property
    def model(self) -> tuple[np.ndarray, np.ndarray]:
        return self.W, self.b

    @property
    def gram(self) -> np.ndarray:
        return self.W.T @ self.W


def of_size(size: tuple[int, int], p: np.ndarray, starts: int, more: int) -> dict:
    """The phases of size (n, m), the transitions between them, and how well the winners are known."""
    n, m = size
    winners = [searched(n, m, q, starts) for q in p]
    winners = continued(winners)
    changes = [change for one, after in pairwise(winners) for change in between(one, after, starts)]
    borders = [p[0], *(change["p"] for change in changes), p[-1]]
    phases = []
    for k, (low, high) in enumerate(pairwise(borders)):
        inside = [one for one in winners if low <= one.p <= high]
        shown = min(inside or [changes[k - 1]["winner"]], key=lambda one: abs(np.log(one.p**2 / (low * high))))
        phases.append({"from": low, "to": high, **described(shown)})
    checks = [{"p": q, "starts": more, **checked(n, m, q, winners, more)} for q in CHECKED]
    for change in changes:
        del change["winner"]
    return {
        "phases": phases,
        "transitions": changes,
        "checks": checks,
        "p": p,
        "loss": [one.loss for one in winners],
        "hits": [one.hits for one in winners],
        "gradient": [one.gradient for one in winners],
        "curvature": [one.curvature for one in winners],
        "squared_norm": [float(np.trace(one.gram)) for one in winners],
    }


def refined(W: np.ndarray, b: np.ndarray, p: float, hits: int = 0) -> Winner:
    n = len(b)
    found = stationary(W, b, np.ones(n), np.full(n, p))
    curvature = float(found.eigenvalues[0])
    return Winner(float(p), found.W, found.b, found.loss / (n * p / 3), found.gradient, curvature, hits)


def searched(n: int, m: int, p: float, starts: int, seed: int = 0, near: Any = None) -> Winner:
    """The lowest minimum from random starts, or from the models `near`."""
    found = theory.minima(np.ones(n), np.full(n, p), m, starts=starts, seed=seed, near=near)
    close = np.flatnonzero(found.loss <= found.loss[0] + NEAR * n * p / 3)[:MOST_REFINED]
    ends = [refined(found.W[k], found.b[k], p, int(found.count[k])) for k in close]
    best = min(ends, key=lambda one: one.loss)
    return replace(best, hits=sum(one.hits for one in ends if one.loss <= best.loss + SAME))


def moved(one: Winner, p: float) -> Winner:
    """The minimum that `one` leads to at p."""
    n = len(one.b)
    branch = theory.follow(*one.model, np.ones((1, n)), np.full((1, n), p))
    return refined(branch.W[0], branch.b[0], p)


def continued(winners: list[Winner]) -> list[Winner]:
    """The winners, after each was also sought from its neighbours and, at dense p, by reversing directions.

    At p = 1, where reversing a direction changes no loss, the winner is that of the p before.
    """
    best = list(winners)
    for k, one in enumerate(winners):
        if DENSE <= one.p < 1 and (other := reversals(one)).loss < one.loss - SAME:
            best[k] = other
    for order in (range(1, len(best)), range(len(best) - 2, -1, -1)):
        step = order.step
        for k in order:
            other = moved(best[k - step], best[k].p)
            tie = best[k].p == 1 and step == 1 and other.loss <= best[k].loss + SAME
            if tie or other.loss < best[k].loss - SAME:
                best[k] = replace(other, hits=best[k].hits if tie else 0)
    return best


def reversals(one: Winner) -> Winner:
    """The lowest minimum that a winner leads to if some of its directions are reversed.

    x_j is replaced by 1 - x_j wherever an overlap changes sign, which at p = 1 does not change the loss.
    """
    n, m = len(one.b), len(one.W)
    signs = np.array(list(product((1, -1), repeat=n - 1)))[1:]
    signs = np.column_stack([np.ones(len(signs), int), signs])
    opposite = signs[:, :, None] != signs[:, None, :]
    near = one.W * signs[:, None, :], one.b + (opposite * one.gram).sum(2)
    return replace(searched(n, m, one.p, 0, near=near), hits=0)


def between(low: Winner, high: Winner, starts: int, depth: int = 0) -> list[dict]:
    """The transitions between two winners, by bisection: p, order, and what changes there."""
    start = low, high
    m, n = low.W.shape
    while high.p - low.p > PRECISION * high.p:
        if same_phase(low, high):
            return []
        p = float(np.sqrt(low.p * high.p))
        middle = min(moved(low, p), moved(high, p), key=lambda one: one.loss)
        if not (same_phase(low, middle) or same_phase(middle, high)):  # a third winner, or a lost branch
            middle = min(middle, searched(n, m, p, starts, seed=1), key=lambda one: one.loss)
        if same_phase(low, middle) and (not same_phase(middle, high) or nearer(middle, low, high)):
            low = middle
        elif same_phase(middle, high):
            high = middle
        elif depth < 4:
            return between(low, middle, starts, depth + 1) + between(middle, high, starts, depth + 1)
        else:
            break
    p = float(np.sqrt(low.p * high.p))
    lower, upper = moved(low, p), moved(high, p)
    third = searched(n, m, p, starts, seed=1)
    if third.loss < min(lower.loss, upper.loss) - 10 * SAME and depth < 4:
        return between(start[0], third, starts, depth + 1) + between(third, start[1], starts, depth + 1)
    jump = distance(low, high)
    return [
        {
            "p": p,
            "before": described(low),
            "after": described(high),
            "order": "first" if jump > JUMP else "continuous",
            "jump": jump,
            "squared_norm": [float(np.trace(low.gram)), float(np.trace(high.gram))],
            "gap": abs(lower.loss - upper.loss),
            "gradient": max(low.gradient, high.gradient),
            "curvature": [low.curvature, high.curvature],
            "winner": high,
        }
    ]


def nearer(middle: Winner, low: Winner, high: Winner) -> bool:
    return distance(middle, low) <= distance(middle, high)


def same_phase(one: Winner, other: Winner) -> bool:
    """Whether two winners have the same symmetry and are close to each other."""
    return symmetry(*one.model) == symmetry(*other.model) and distance(one, other) <= STEP


def orders(n: int) -> np.ndarray:
    return np.array(list(permutations(range(n))))


def distance(one: Winner, other: Winner) -> float:
    """The largest difference between entries of W^T W, for the order of features that makes it least."""
    every = orders(len(one.b))
    rows = other.gram[every[:, :, None], every[:, None, :]]
    return float(np.abs(one.gram - rows).max((1, 2)).min())


def symmetry(W: np.ndarray, b: np.ndarray) -> tuple[int, tuple[int, ...]]:
    """The symmetry of a model: the number of orders of the features that leave W^T W and b as they are.

    Also returns the sizes of the sets of features that these orders exchange.
    """
    gram, every = W.T @ W, orders(len(b))
    b = np.where(np.diag(gram) < TINY**2, 0, b)  # the output of an absent feature may be off for any b <= 0
    gap = np.abs(gram - gram[every[:, :, None], every[:, None, :]]).max((1, 2))
    kept = every[np.maximum(gap, np.abs(b - b[every]).max(1)) <= EQUAL]
    sets = {tuple(sorted(set(kept[:, k].tolist()))) for k in range(len(b))}
    return len(kept), tuple(sorted(map(len, sets), reverse=True))


def described(one: Winner) -> dict:
    """The name, norms and symmetry of a model."""
    count, sets = symmetry(*one.model)
    norm = measures.norms(one.W)
    return {
        "name": named(one.W),
        "at": one.p,
        "norms": np.sort(norm)[::-1],
        "bias": one.b[np.argsort(-norm)],
        "absent": int((norm < TINY).sum()),
        "symmetries": count,
        "sets": sets,
        "W": one.W,
        "b": one.b,
    }


def named(W: np.ndarray) -> str:
    """The components of a model in words, and the features that are weak (norm below REPRESENTED) or absent."""
    norm = measures.norms(W)
    parts = [part_name(W[:, part]) for part in polytopes.components(W, norm >= REPRESENTED)]
    words = [name if parts.count(name) == 1 else f"{parts.count(name)} {plural(name)}" for name in dict.fromkeys(parts)]
    absent = int((norm < TINY).sum())
    weak = int((norm < REPRESENTED).sum()) - absent
    return " + ".join(words) + (f", {weak} weak" if weak else "") + (f", {absent} absent" if absent else "")


def plural(name: str) -> str:
    return name if name == "dedicated" or " " in name else name + "s"


def part_name(W: np.ndarray) -> str:
    """The polytope of one component; also with some directions reversed; "line a:b": a features one way."""
    k = W.shape[1]
    if k > 1 and np.abs(polytopes.cosines(W)).min() >= ON_A_LINE:
        one_way = int((polytopes.cosines(W)[0] > 0).sum())
        sides = sorted((one_way, k - one_way), reverse=True)
        return uneven(W) + "digon" if sides == [1, 1] else f"line {sides[0]}:{sides[1]}"
    for name, corners in OTHERS.items():
        if corners.shape[1] == k and polytopes.same_up_to_order(polytopes.cosines(W), polytopes.cosines(corners), 0.2):
            return uneven(W) + name
    for signs in sorted(product((1, -1), repeat=k - 1), key=lambda s: -sum(s)):
        full = np.array([1, *signs])
        name = polytopes.recognise(W * full)
        if name != polytopes.OTHER:
            reversed_ = min((full < 0).sum(), (full > 0).sum())
            return uneven(W) + name + (f" ({reversed_} reversed)" if reversed_ else "")
    return f"irregular {k} in {np.linalg.matrix_rank(W, tol=0.05)}D"


def uneven(W: np.ndarray) -> str:
    norm = measures.norms(W)
    return "uneven " if norm.max() > UNEVEN * norm.min() else ""


def checked(n: int, m: int, p: float, winners: Iterable[Winner], starts: int) -> dict:
    """A search from other and more starts at one p: how much lower its loss is than that of the nearest winners."""
    close = sorted(winners, key=lambda one: abs(np.log(one.p / p)))[:2]
    known = min((moved(one, p) for one in close), key=lambda one: one.loss)
    other = searched(n, m, p, starts, seed=2)
    return {"lower_by": known.loss - other.loss, "hits": other.hits if abs(known.loss - other.loss) <= SAME else 0}
