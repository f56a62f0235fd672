"""Candidate theory for any number of features and dimensions: every dimension holds one feature or an antipodal pair.

A dropped feature costs its weighted variance, I v(p). A pair costs its error when both features are active,
(I_i + I_j) P(both) E min(x, y)^2. A feature alone costs nothing. The assignment of lowest total cost decides which
features are absent, dedicated or shared. For m = n - 1 this is the theory of candidates.py (Elhage et al. 2022, section
"The phase change"). Configurations that are not products of pairs (triangle, pentagon, ...) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

from tmsjax.kinds import VALUES, drawn_by
from tmsjax.theory.candidates import least_square, variance

INTERFERENCE = ("absent", "dedicated", "shared")  # same indices as analysis.FEATURE_CLASSES
ABSENT, DEDICATED, SHARED = range(3)


@dataclass(frozen=True)
class Assignment:
    """classes (n,): ABSENT, DEDICATED or SHARED. pairs (k, 2): indices of the features that share. loss: total cost.

    Examples:
        >>> tmsjax.theory.best_assignment(np.ones(3), np.full(3, 0.1), 2).pairs
        array([[0, 1]])
    """

    classes: np.ndarray
    pairs: np.ndarray
    loss: float


def pair_costs(
    importance: np.ndarray,
    probability: np.ndarray,
    *,
    activity: str = "independent",
    values: str = "uniform",
    **options: float,
) -> np.ndarray:
    """Costs (n, n) of all pairs, (I_i + I_j) P(both active) E min(x, y)^2, for `importance`, `probability` (n,).

    `activity`: a name in kinds.ACTIVITIES, its options as keywords. `values`: a name in kinds.VALUES. Raises ValueError
    for values that may be negative.

    Examples:
        >>> tmsjax.theory.pairs.pair_costs(np.ones(2), np.full(2, 0.5)).round(4)
        array([[0.1667, 0.0833],
               [0.0833, 0.1667]])
    """
    joint = drawn_by(activity, len(probability), **options).joint(probability)
    return (importance[:, None] + importance[None, :]) * joint * least_square(values)


def best_assignment(
    importance: np.ndarray,
    probability: np.ndarray,
    hidden: int,
    *,
    activity: str = "independent",
    values: str = "uniform",
    **options: float,
) -> Assignment:
    """The assignment of lowest cost for `importance`, `probability` (n,) in `hidden` dimensions.

    `activity`: a name in kinds.ACTIVITIES, its options as keywords. `values`: a name in kinds.VALUES.

    Solves an integer program: the matching of greatest saving with at most `hidden` edges (pairs, and loops for
    features alone). Raises ValueError for other shapes, importance below 0, probability outside [0, 1], and values that
    are unknown or may be negative.

    Examples:
        >>> found = tmsjax.theory.best_assignment(np.array([1.0, 0.9, 0.1]), np.full(3, 0.5), 2)
        >>> [tmsjax.theory.INTERFERENCE[k] for k in found.classes]
        ['dedicated', 'dedicated', 'absent']
    """
    importance, probability = np.asarray(importance, np.float64), np.asarray(probability, np.float64)
    n = importance.size
    if importance.shape != (n,) or probability.shape != (n,):
        raise ValueError(f"importance and probability need shape (n,), not {importance.shape}, {probability.shape}")
    if not (np.isfinite(importance) & (importance >= 0) & (probability >= 0) & (probability <= 1)).all():
        raise ValueError("importance must be finite and at least 0, and probability in [0, 1]")
    if hidden != int(hidden) or hidden < 1 or values not in VALUES:
        raise ValueError(f"hidden must be a whole number of at least 1, and values one of {', '.join(VALUES)}")
    dropped = importance * variance(drawn_by(activity, n, **options).marginal(probability), values)
    every_pair = pair_costs(importance, probability, activity=activity, values=values, **options)
    first, second = np.triu_indices(n)  # (i, i) is feature i alone
    saving = dropped[first] + dropped[second] - every_pair[first, second]
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
    goal = -saving / saving.max()  # scaled, because the solver's tolerances are absolute
    solved = optimize.milp(goal, integrality=np.ones(len(edges)), bounds=(0, 1), constraints=limits)
    chosen = solved.x > 0.5
    classes = np.zeros(n, np.int8)
    classes[first[chosen & alone]] = DEDICATED
    together = np.stack([first[chosen & ~alone], second[chosen & ~alone]], axis=1)
    classes[together.reshape(-1)] = SHARED
    cost = dropped[classes == ABSENT].sum() + every_pair[tuple(together.T)].sum()
    return Assignment(classes, together, float(cost))
