"""Candidate theory for any number of features and dimensions: every dimension holds one feature or an antipodal pair.

A feature that is dropped costs its variance, I v(p); a pair costs what it gets wrong when both are active,
(I_i + I_j) P(both) E min(x, y)^2; a feature alone costs nothing. The assignment of lowest total cost says which
features are absent, dedicated or shared. For m = n - 1 it is the candidate theory of theory.py (the paper, section "The
phase change"); configurations that are no products of pairs (triangle, pentagon, ...) are left out. Numpy and SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

from tmsjax.theory import MOMENTS, variance

INTERFERENCE = ("absent", "dedicated", "shared")  # what features.measures calls a class; analysis.FEATURE_CLASSES
ABSENT, DEDICATED, SHARED = range(3)


@dataclass(frozen=True)
class Assignment:
    """classes (n,): ABSENT, DEDICATED or SHARED; the pairs (k, 2); the loss."""

    classes: np.ndarray
    pairs: np.ndarray
    loss: float


def pair_costs(
    importance: np.ndarray, probability: np.ndarray, *, tied: bool = False, values: str = "uniform"
) -> np.ndarray:
    """(I_i + I_j) P(both active) E min(x, y)^2, (n, n); P(both) is p_i p_j, or min(p_i, p_j) for tied activity."""
    joint = (np.minimum if tied else np.multiply)(probability[:, None], probability[None, :])
    return (importance[:, None] + importance[None, :]) * joint * MOMENTS[values].least


def best_assignment(
    importance: np.ndarray, probability: np.ndarray, hidden: int, *, tied: bool = False, values: str = "uniform"
) -> Assignment:
    """The assignment of lowest cost for `importance`, `probability` (n,) in `hidden` dimensions.

    A matching with at most `hidden` edges (pairs, and loops for features alone) of greatest saving, as an integer
    program. Raises ValueError for arguments of other shapes or out of range.
    """
    importance, probability = np.asarray(importance, np.float64), np.asarray(probability, np.float64)
    n = importance.size
    if importance.shape != (n,) or probability.shape != (n,):
        raise ValueError(f"importance and probability need shape (n,), not {importance.shape}, {probability.shape}")
    if not (np.isfinite(importance) & (importance >= 0) & (probability >= 0) & (probability <= 1)).all():
        raise ValueError("needs importance of at least 0 and probability in [0, 1]")
    if hidden != int(hidden) or hidden < 1 or values not in MOMENTS:
        raise ValueError(f"needs a whole hidden of at least 1, and values of {', '.join(MOMENTS)}")
    dropped = importance * variance(probability, values)
    first, second = np.triu_indices(n)  # a feature with itself: alone
    saving = (
        dropped[first] + dropped[second] - pair_costs(importance, probability, tied=tied, values=values)[first, second]
    )
    alone = first == second
    saving[alone] = dropped
    useful = np.flatnonzero((saving > 0) & (alone | (saving > np.maximum(dropped[first], dropped[second]))))
    if not useful.size:
        return Assignment(np.zeros(n, np.int8), np.empty((0, 2), int), float(dropped.sum()))
    first, second, saving, alone = first[useful], second[useful], saving[useful], alone[useful]
    edges = np.arange(len(useful))
    uses = sparse.coo_array((np.ones(len(edges)), (first, edges)), shape=(n, len(edges)))
    uses += sparse.coo_array((1.0 * ~alone, (second, edges)), shape=(n, len(edges)))
    rows = sparse.vstack([uses, np.ones((1, len(edges)))], format="csr")
    limits = optimize.LinearConstraint(rows, ub=np.append(np.ones(n), hidden))
    goal = -saving / saving.max()  # the solver's tolerances are absolute
    solved = optimize.milp(goal, integrality=np.ones(len(edges)), bounds=(0, 1), constraints=limits)
    chosen = solved.x > 0.5
    classes = np.zeros(n, np.int8)
    classes[first[chosen & alone]] = DEDICATED
    together = np.stack([first[chosen & ~alone], second[chosen & ~alone]], axis=1)
    classes[together.reshape(-1)] = SHARED
    costs = pair_costs(importance, probability, tied=tied, values=values)[tuple(together.T)]
    return Assignment(classes, together, float(dropped[classes == ABSENT].sum() + costs.sum()))
