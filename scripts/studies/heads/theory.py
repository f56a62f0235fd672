"""Attention heads on pairs of vectors in theory: the exact loss of rank 1, and the optimum without ReLU.

A head scores the vectors x and y of k features each by ReLU(x^T M y), M = W_QK; the target is sum_i r_i x_i y_i.
Features are independent, active with one probability p, and then uniform on [0, 1]. The loss is the expected squared
error. Derived here; tests/studies/test_heads.py checks it by Monte Carlo. Only numpy, in float64, without jax.

Rank 1: M = q k^T, so the score is u v with u = q.x and v = k.y, and ReLU(u v) = u+ v+ + u- v-, where x and y are
independent. With G_i(q) = E x_i (q.x)+, of which q.G(q) = E (q.x)+^2,

    loss = S(q) S(k) + S(-q) S(-k) - 2 sum_i r_i [G_i(q) G_i(k) + G_i(-q) G_i(-k)] + E target^2,  S(q) = q.G(q).

It is quadratic in the size of M, so that the best size of given directions is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tmsjax.theory import variance

ANGLES = 180  # directions of q, and of k, on the grid of starts
RIDGE = 1440  # heads that store both relations exactly
PEAKS = 8  # starts of a cell on the grid, and as many on the ridge
ROUNDS, SPAN, SHRINK = 40, 2, 0.6  # of the refinement: windows of 2 SPAN + 1 angles a side, each SHRINK times as wide
BLOCK = 64  # cells on the grid of starts at once


@dataclass(frozen=True)
class HeadOptimum:
    """The best heads of rank 1 for two relations: q, k (c, 2) of equal length, and loss (c,), for c cells."""

    q: np.ndarray
    k: np.ndarray
    loss: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """W_QK (c, 2, 2)."""
        return self.q[:, :, None] * self.k[:, None, :]


def target_square(strengths: Any, probability: Any) -> np.ndarray:
    """E target^2, shape (...), for strengths r (..., k) and probability p (...): the loss of a head that is 0."""
    r, p = np.asarray(strengths, float), np.asarray(probability, float)
    square = (r**2).sum(-1)
    return square * (p / 3) ** 2 + (r.sum(-1) ** 2 - square) * (p / 2) ** 4


def half_moments(q: np.ndarray, probability: Any) -> np.ndarray:
    """G_i(q) = E x_i (q.x)+ for two features, shape (..., 2); q (..., 2), probability (...)."""
    q, p = np.asarray(q, float), np.asarray(probability, float)[..., None]
    return p * (1 - p) * np.maximum(q, 0) / 3 + p**2 * _both(q)


def _both(q: np.ndarray) -> np.ndarray:
    """E x_i (q.x)+ if both features are active: an integral over the square, split where q.x changes sign.

    With a the feature's own weight, c the other's and t = min / max of their sizes. Nothing is divided by a small one.
    """
    a, c = q, q[..., ::-1]
    size, other = np.abs(a), np.abs(c)
    t = np.minimum(size, other) / np.maximum(np.maximum(size, other), np.finfo(float).tiny)
    whole = a / 3 + c / 4  # E x_i (q.x)
    rising = np.where(c >= 0, whole, np.where(size >= other, whole - c * t**2 / 24, a * t / 8))
    falling = np.where(c <= 0, 0, np.where(size >= other, c * t**2 / 24, whole - a * t / 8))
    return np.where(a >= 0, rising, falling)


def rank_one_loss(q: np.ndarray, k: np.ndarray, strengths: np.ndarray, probability: Any) -> np.ndarray:
    """The exact loss of ReLU(x^T q k^T y) for two relations, shape (...).

    q, k, strengths (..., 2), probability (...).
    """
    square, product = _terms(*_halves(q, probability), *_halves(k, probability), np.asarray(strengths, float))
    return square - 2 * product + target_square(strengths, probability)


def _halves(q: np.ndarray, probability: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """S(q), S(-q) (...), G(q), G(-q) (..., 2)."""
    q = np.asarray(q, float)
    up, down = half_moments(q, probability), half_moments(-q, probability)
    return (q * up).sum(-1), -(q * down).sum(-1), up, down


def _terms(*parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E output^2 and E output target, from `_halves` of q and of k, and the strengths."""
    s, s_, g, g_, t, t_, h, h_, r = parts
    return s * t + s_ * t_, (r * (g * h + g_ * h_)).sum(-1)


def rank_one_optimum(strengths: np.ndarray, probability: np.ndarray) -> HeadOptimum:
    """The best q and k for two relations, for strengths (c, 2) and probability (c,).

    The loss at the best size of given directions is E target^2 - (E output target)^2 / E output^2. Its minimum over the
    two angles: the lowest local minima on a grid of all pairs of ANGLES directions, and on the curve of heads that
    store both relations, are refined by ever finer grids around each.
    """
    r, p = np.asarray(strengths, float), np.asarray(probability, float)
    angles = np.concatenate([_refined(r[k : k + BLOCK], p[k : k + BLOCK]) for k in range(0, len(p), BLOCK)])
    q, k = _directions(angles[:, 0]), _directions(angles[:, 1])
    square, product = _terms(*_halves(q, p), *_halves(k, p), r)
    size = np.sqrt(product / square)[:, None]
    return HeadOptimum(size * q, size * k, rank_one_loss(size * q, size * k, r, p))


def _directions(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _gain(first: np.ndarray, second: np.ndarray, r: np.ndarray, p: np.ndarray) -> np.ndarray:
    """What a head with q and k at these angles, of the best size, saves of the loss of a head that is 0."""
    square, product = _terms(*_halves(_directions(first), p), *_halves(_directions(second), p), r)
    return _saved(square, product)


def _saved(square: np.ndarray, product: np.ndarray) -> np.ndarray:
    """(E output target)^2 / E output^2 where the product is positive, else 0 (the best size is 0)."""
    return np.maximum(product, 0) ** 2 / np.maximum(square, np.finfo(float).tiny)


def _refined(r: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The angles (c, 2) of q and k of lowest loss."""
    angles = np.concatenate([_on_grid(r, p), _on_ridge(r, p)], axis=1)  # (c, 2 PEAKS, 2)
    r, p, width = r[:, None, None, None], p[:, None, None, None], 2 * np.pi / ANGLES
    steps = np.arange(-SPAN, SPAN + 1) / SPAN
    for _ in range(ROUNDS):
        near = angles[..., None] + width * steps  # (c, 2 PEAKS, 2, steps)
        gain = _gain(near[:, :, 0, :, None], near[:, :, 1, None, :], r, p)
        flat = gain.reshape(*gain.shape[:2], -1)
        places = np.stack(np.unravel_index(flat.argmax(-1), gain.shape[2:]), axis=-1)
        angles = np.take_along_axis(near, places[..., None], axis=-1)[..., 0]
        width *= SHRINK
    best = flat.max(-1).argmax(-1)
    return angles[np.arange(len(angles)), best]


def _on_grid(r: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The angles (c, PEAKS, 2) of q and k of the lowest local minima of the loss on the grid."""
    turn = 2 * np.pi * np.arange(ANGLES) / ANGLES
    halves = _halves(_directions(turn), p[:, None])
    rows, columns = [v[:, :, None] for v in halves], [v[:, None, :] for v in halves]
    gain = _saved(*_terms(*rows, *columns, r[:, None, None]))
    lower = [gain >= np.roll(gain, shift, axis) for shift in (1, -1) for axis in (1, 2)]
    peaks = np.where(np.all(lower, axis=0), gain, 0).reshape(len(p), -1)
    most = np.argpartition(-peaks, PEAKS, axis=1)[:, :PEAKS]
    return turn[np.stack(np.unravel_index(most, (ANGLES, ANGLES)), axis=-1)]


def _on_ridge(r: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The angles (c, PEAKS, 2) of the lowest local minima among heads with M_11 = r_1, M_22 = r_2 and M_12, M_21 < 0.

    Where features are sparse the minima are near this curve, in a valley narrower than the grid.
    """
    first = -np.pi / 2 * (np.arange(RIDGE) + 0.5) / RIDGE
    second = np.arctan(r[:, 1:] / np.maximum(r[:, :1], np.finfo(float).tiny) / np.tan(first))
    gain = _gain(np.broadcast_to(first, second.shape), second, r[:, None], p[:, None])
    inner = np.pad(gain, ((0, 0), (1, 1)))
    peaks = np.where((gain >= inner[:, :-2]) & (gain >= inner[:, 2:]), gain, 0)
    most = np.argpartition(-peaks, PEAKS, axis=1)[:, :PEAKS]
    return np.stack([first[most], np.take_along_axis(second, most, axis=1)], axis=-1)


def head_linear_loss(matrix: np.ndarray, strengths: np.ndarray, probability: Any) -> np.ndarray:
    """The exact loss of a head without ReLU, x^T M y, for any rank: tr(D C D^T C), shape (...).

    D = M - diag(r), C = E x x^T. matrix: M (..., k, k), strengths (..., k), probability (...).
    """
    D, C = matrix - _diagonal(strengths), second_moments(matrix.shape[-1], probability)
    return ((D @ C) * (C @ D)).sum((-1, -2))


def head_linear_optimum(strengths: np.ndarray, probability: Any, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best M of a rank without ReLU, (..., k, k), and its loss (...); strengths (..., k), probability (...).

    The loss is `|C^(1/2) D C^(1/2)|^2` (Frobenius), so that C^(1/2) M C^(1/2) is the truncated singular value
    decomposition of C^(1/2) diag(r) C^(1/2), and the loss the sum of the squares of the singular values left out.
    """
    value, basis = np.linalg.eigh(second_moments(np.shape(strengths)[-1], probability))
    root, inverse = ((basis * value[..., None, :] ** e) @ np.swapaxes(basis, -1, -2) for e in (0.5, -0.5))
    left, size, right = np.linalg.svd(root @ _diagonal(strengths) @ root)
    kept = (left[..., :rank] * size[..., None, :rank]) @ right[..., :rank, :]
    return inverse @ kept @ inverse, (size[..., rank:] ** 2).sum(-1)


def second_moments(features: int, probability: Any) -> np.ndarray:
    """C = E x x^T (..., n, n): the variance on the diagonal, plus (p / 2)^2."""
    p = np.asarray(probability, float)[..., None, None]
    return variance(p) * np.eye(features) + (p / 2) ** 2


def _diagonal(strengths: Any) -> np.ndarray:
    r = np.asarray(strengths, float)
    return r[..., :, None] * np.eye(r.shape[-1])
