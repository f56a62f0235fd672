"""What attention heads store: relations, matched singular vectors, phases of two relations. No jax.

The heads are those of kinds/heads.py: W_QK = Q^T K and W_OV = U^T V, k x k, where feature i of the query relates to
feature i of the key with strength r_i. A head stores relation i if the entry (W_QK)_ii is at least STORED r_i.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.kinds import heads
from tmsjax.spec import Spec

RANDOM = 2000  # matrices
STORED = 0.6  # more than 1/2, which is every entry of the best dense head for two equal relations
HEAD_PHASES = ("neither", "first only", "second only", "superposition")  # which of two relations are stored


def head_matrix(dataset: xr.Dataset, name: str = "QK") -> np.ndarray:
    """W_QK or ("OV") W_OV of every model, (..., k, k), from a run's dataset. Raises RunError if it has none."""
    if name not in dataset:
        raise RunError(
            f"these models have no W_{name}; they are of the family {analysis.spec_of(dataset).model.family!r}"
        )
    rank = next(d for d in dataset[name].dims if d in ("hidden", "value_rank"))
    pair = dataset[name].transpose(..., rank, "feature").to_numpy().astype(float)
    k = pair.shape[-1] // 2
    return np.swapaxes(pair[..., :k], -1, -2) @ pair[..., k:]


def relation_strengths(spec: Spec) -> np.ndarray:
    """r_i of every cell, over the spec's axes (of length 1 where it does not depend on one), and k."""
    ratio = spec.evaluate("model.ratio")
    return np.asarray(heads.strengths(spec.model.features // 2, np.asarray(ratio, float)))


def at_best(run: Any, name: str = "QK") -> np.ndarray:
    """W_QK (or W_OV) of the best head at each probability, (p, k, k)."""
    return head_matrix(analysis.best(run.dataset), name)


def probabilities(run: Any) -> np.ndarray:
    return run.dataset["feature_probability"].to_numpy()


def strengths_of(run: Any) -> np.ndarray:
    """r (k,) of a run in which it does not depend on an axis."""
    return relation_strengths(run.spec).reshape(-1)


def stored(matrix: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Which relations a head stores, (..., k) bool; W_QK (..., k, k), strengths (..., k)."""
    return np.diagonal(matrix, axis1=-2, axis2=-1) >= STORED * strengths


def head_phases(matrix: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Index into HEAD_PHASES for heads of two relations, shape (...)."""
    first, second = np.moveaxis(stored(matrix, strengths), -1, 0)
    return (first + 2 * second).astype(np.int8)


def cross_terms(matrix: np.ndarray, strengths: np.ndarray, least: float = 0.1) -> dict[str, float]:
    """The shares of entries between two relations that one head stores, by sign, over all heads (..., k, k).

    About 0: at most `least` in size. NaN if no head stores two relations.
    """
    held = stored(matrix, strengths)
    both = held[..., :, None] & held[..., None, :] & ~np.eye(matrix.shape[-1], dtype=bool)
    values = matrix[both]
    if not values.size:
        return dict.fromkeys(("negative", "zero", "positive"), np.nan)
    negative, positive = float(np.mean(values < -least)), float(np.mean(values > least))
    return {"negative": negative, "zero": 1 - negative - positive, "positive": positive}


def one_scale(qk: np.ndarray, ov: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W_QK / c and c W_OV, which move the same, with c the entry (W_QK)_ii / r_i of largest size."""
    entries = np.diagonal(qk, axis1=-2, axis2=-1) / strengths
    c = np.take_along_axis(entries, np.abs(entries).argmax(-1)[..., None], axis=-1)[..., None]
    return qk / c, ov * c


def singular_scores(matrix: np.ndarray, rank: int) -> np.ndarray:
    """How well singular vectors match features, shape (...), for matrices (..., k, k) of a rank.

    The mean, over the `rank` left and the `rank` right singular vectors, of the largest |cosine| with a feature: 1 if
    each is one feature, 1/sqrt(2) if each is an even mix of two.
    """
    left, _, right = np.linalg.svd(matrix)
    left, right = np.swapaxes(left, -1, -2)[..., :rank, :], right[..., :rank, :]
    return np.abs(np.concatenate([left, right], axis=-2)).max(-1).mean(-1)


def random_scores(features: int, rank: int, count: int = RANDOM, seed: int = 0) -> np.ndarray:
    """`singular_scores` (count,) of random W_QK: Q and K (rank, features) of independent normal entries."""
    Q, K = np.random.default_rng(seed).normal(size=(2, count, rank, features))
    return singular_scores(np.swapaxes(Q, -1, -2) @ K, rank)
