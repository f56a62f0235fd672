"""Branches of the exact loss of three pairs in two dimensions, by the number of pairs on one direction each."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

from tmsjax import theory
from tmsjax.analysis import polytopes
from tmsjax.kinds import REPRESENTED, drawn_by, measures

PAIRS = ((0, 1), (2, 3), (4, 5))
COLLAPSED = 0.9  # least cosine of the directions of a collapsed pair
APART = -0.75  # cosine of two pairs of which one is the other's antipode
BRANCHES = ("0 collapsed", "1 collapsed", "2 collapsed", "3 collapsed", "principal components", "a feature dropped")
PRINCIPAL, DROPPED = 4, 5


def branch_of(W: np.ndarray) -> int:
    """The index into BRANCHES of a model W (2, 6).

    Three collapsed pairs are principal components if none is another's antipode.
    """
    if measures.norms(W).min() < REPRESENTED:
        return DROPPED
    cosine = polytopes.cosines(W)
    count = sum(bool(cosine[i, j] >= COLLAPSED) for i, j in PAIRS)
    if count < len(PAIRS):
        return count
    return len(PAIRS) if cosine.min() <= APART else PRINCIPAL


Found = dict[int, tuple[float, np.ndarray, np.ndarray]]  # branch -> loss, W and b of its lowest minimum


def lowest(p: float, starts: int, near: list[Found], **data: Any) -> Found:
    """The lowest minimum of every branch, from random starts and the minima of `near`."""
    models = [(W, b) for one in near for _, W, b in one.values()]
    begin = None if not models else (np.array([W for W, _ in models]), np.array([b for _, b in models]))
    found = theory.minima(np.ones(6), np.full(6, p), 2, starts=starts, near=begin, **data)
    out: Found = {}
    for W, b, loss in zip(found.W, found.b, found.loss, strict=True):
        out.setdefault(branch_of(W), (float(loss), W, b))
    return out


def branches(p: np.ndarray, starts: int) -> list[Found]:
    """Of every probability: the lowest minimum of each branch, followed from both sides."""
    found: list[Found] = []
    for q in p:
        found.append(lowest(q, starts, found[-1:], activity="groups", size=2))
    for k in range(len(p) - 2, -1, -1):
        for branch, one in lowest(p[k], 0, found[k + 1 : k + 2], activity="groups", size=2).items():
            if branch not in found[k] or one[0] < found[k][branch][0]:
                found[k][branch] = one
    return found


def transitions(p: np.ndarray, found: list[Found]) -> list[dict]:
    """Where the branch of lowest loss changes: both branches, the probability where their losses cross, that loss.

    The loss is None if they do not cross, since the one turns into the other; then the probability is that between the
    two points.
    """
    best = [min(one, key=lambda branch: one[branch][0]) for one in found]
    out = []
    for k, (before, after) in enumerate(pairwise(best)):
        if before == after:
            continue
        row: dict[str, Any] = {"before": BRANCHES[before], "after": BRANCHES[after], "loss": None}
        row["p"] = float(np.sqrt(p[k] * p[k + 1]))  # if one turns into the other
        if after in found[k] and before in found[k + 1]:
            models = found[k][before][1:], found[k][after][1:]
            with suppress(ValueError):  # no crossing
                row["p"] = theory.crossing(*models, cell_at, p[k], p[k + 1], precision=1e-5, activity="groups", size=2)
                at = theory.follow(*models[0], *(v[None] for v in cell_at(row["p"])), activity="groups", size=2)
                row["loss"] = float(at.loss[0])
        out.append(row)
    return out


def cell_at(p: float) -> tuple[np.ndarray, np.ndarray]:
    return np.ones(6), np.full(6, p)


def linear_loss(p: float) -> float:
    """The loss of the best linear model, principal components: all variance but that of two directions."""
    joint = drawn_by("groups", 6, size=2).joint(np.full(6, p))
    covariance = joint / 4 - p**2 / 4
    covariance[np.arange(6), np.arange(6)] = theory.variance(p)
    return float(np.linalg.eigvalsh(covariance)[:4].sum())
