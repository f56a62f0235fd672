"""The feature graph of one model W (m, n), and the polytopes that its components form. numpy and SciPy only.

Features are nodes; an edge joins two features whose directions are far from orthogonal. A component is a group of
features that share dimensions. The Gram matrix of its unit directions identifies its polytope, regardless of rotation
and of the order of features. Source: Elhage et al. 2022, section "The geometry of superposition".
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import connected_components

from tmsjax.kinds import measures

EDGE = 0.25  # least |cosine| of two directions that an edge joins
TOLERANCE = 0.2  # largest difference between a component's cosines and the polytope's
OTHER = "other"


def _regular(count: int) -> np.ndarray:
    """Corners (2, count) of a regular polygon."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)])


def _simplex(count: int) -> np.ndarray:
    """Corners (count, count) of a regular simplex, in the hyperplane where coordinates sum to 0."""
    return (np.eye(count) - 1 / count) / np.sqrt(1 - 1 / count)


def _antiprism() -> np.ndarray:
    """Corners (3, 8) of the square antiprism that is a tight frame: its squares lie at heights +-1/sqrt(3)."""
    angle = np.pi / 4 * np.arange(8)
    height = np.where(np.arange(8) % 2, -1, 1) / np.sqrt(3)
    return np.stack([np.sqrt(2 / 3) * np.cos(angle), np.sqrt(2 / 3) * np.sin(angle), height])


POLYTOPES = {  # unit directions (m, k) of the corners, each of dimensionality m / k
    "dedicated": np.ones((1, 1)),
    "digon": np.array([[1.0, -1.0]]),
    "triangle": _regular(3),
    "tetrahedron": _simplex(4),
    "pentagon": _regular(5),
    "square antiprism": _antiprism(),
}
FRACTIONS = {  # dimensions per feature
    "dedicated": "1",
    "tetrahedron": "3/4",
    "triangle": "2/3",
    "digon": "1/2",
    "pentagon": "2/5",
    "square antiprism": "3/8",
}


def cosines(W: np.ndarray) -> np.ndarray:
    """Cosines (..., n, n) between the columns of W (..., m, n); 0 where W_i = 0."""
    unit = W / np.maximum(measures.norms(W), measures.TINY)[..., None, :]
    return np.swapaxes(unit, -1, -2) @ unit


def components(W: np.ndarray, represented: np.ndarray, edge: float = EDGE) -> list[np.ndarray]:
    """The features of every component of the feature graph, largest component first.

    `represented` (n,) bool: the features that are nodes. `edge`: least `|cosine|` of an edge.
    """
    nodes = np.flatnonzero(represented)
    near = np.abs(cosines(W)[np.ix_(nodes, nodes)]) >= edge
    labels = connected_components(near, directed=False)[1]
    found = [nodes[labels == k] for k in np.unique(labels)]
    return sorted(found, key=lambda part: (-len(part), part[0]))


def recognise(W: np.ndarray, tolerance: float = TOLERANCE) -> str:
    """The polytope that the columns of W (m, k) form: a name in POLYTOPES, or "other"."""
    gram = cosines(W)
    for name, corners in POLYTOPES.items():
        if corners.shape[1] == W.shape[1] and same_up_to_order(gram, cosines(corners), tolerance):
            return name
    return OTHER


def same_up_to_order(gram: np.ndarray, goal: np.ndarray, tolerance: float) -> bool:
    """Whether a permutation of rows and columns brings `gram` (k, k) within `tolerance` of `goal` everywhere."""

    def extend(order: list[int]) -> bool:
        done = len(order)
        if done == len(goal):
            return True
        for row in set(range(len(goal))) - set(order):
            chosen = [*order, row]
            if np.abs(gram[row, chosen] - goal[done, : done + 1]).max() <= tolerance and extend(chosen):
                return True
        return False

    return extend([])
