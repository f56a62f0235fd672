"""Where descents on the exact loss start: fixed models of every kind that can be optimal, and random ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from tmsjax.theory.problem import Problem

RANDOM_SCALE = 0.8  # standard deviation of random weights
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


def structured_starts(features: int, hidden: int) -> np.ndarray:
    """The fixed starts W (s, m, n) of a cell's descents.

    n = 2: SIGNED_STARTS; for m > 1, W_2 also has a component between 1 and 0.1 in the second dimension. Then normal
    samples with a fixed seed, since tied features of very different importance and probability have minima that none of
    the others leads to. n = 3, m = 2: each feature nearly dropped, leaning against the other two or with them; each
    pair antipodal; the triangle, also with one feature shrunk. n = 3, other m: normal samples with a fixed seed.
    """
    if features == 2:
        W = np.zeros((len(SIGNED_STARTS), hidden, 2))
        W[:, 0, :] = SIGNED_STARTS
        if hidden > 1:
            W[:, 1, 1] = np.linspace(1, 0.1, len(W))
        return np.concatenate([W, np.random.default_rng(0).normal(size=(8, hidden, 2)) * RANDOM_SCALE])
    if hidden != 2:
        return np.random.default_rng(0).normal(size=(16, hidden, 3)) * RANDOM_SCALE
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


def starts(problem: Problem, probability: np.ndarray, random: int = 0, seed: int = 0, fixed: bool = True) -> np.ndarray:
    """theta (d, k, s) for probabilities (n, k): the structured starts if `fixed`, then `random` normal ones.

    A feature's bias is p/2 if its weight is small, else 0.
    """
    W = structured_starts(problem.features, problem.hidden)[: None if fixed else 0]
    extra = np.random.default_rng(seed).normal(size=(random, *W.shape[1:])) * RANDOM_SCALE
    W = np.concatenate([W, extra])
    small = np.sqrt((W**2).sum(1)) <= 0.15
    b = small[None] * probability.T[:, None, :] / 2
    return np.moveaxis(problem.pack(np.broadcast_to(W, (probability.shape[1], *W.shape)), b), -1, 0)
