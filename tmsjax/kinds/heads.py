"""Attention heads on pairs of vectors: the functions of the families in families.py whose names begin with "attention".

A sample of n = 2 k features is a pair of vectors: the query's features x, then the key's features y, k each. Query
feature i relates to key feature i, with strength r_i; any other matching is the same after relabelling. The head knows
both vectors only through W_QK = Q^T K of rank d, and its score is x^T W_QK y. Q and K (d, k) are the halves of one
parameter QK (hidden, feature), d = hidden; U and V, of W_OV = U^T V, are the halves of OV (value_rank, feature).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def strengths(relations: int, ratio: Any) -> Any:
    """Strengths r_i = ratio^(i / 2), shape (relations,), i = 0, 1, ...

    A relation's importance, r_i^2, is `ratio` times that of the one before.
    """
    return ratio ** (np.arange(relations, dtype=np.float32) / np.float32(2))


def score(params: Mapping[str, Any], x: Any, f: Callable) -> Any:
    """f(x^T W_QK y), shape (1,)."""
    return f(_score(params["QK"], x))


def score_with_bias(params: Mapping[str, Any], x: Any, f: Callable) -> Any:
    """f(x^T W_QK y + b), shape (1,)."""
    return f(_score(params["QK"], x) + params["b"])


def attended(params: Mapping[str, Any], x: Any, f: Callable) -> Any:
    """f((x^T W_QK y) W_OV y), shape (k,)."""
    U, V = _halves(params["OV"])
    y = x[x.shape[0] // 2 :]
    return f((U.T @ (V @ y)) * _score(params["QK"], x)[0])


def related(x: Any, ratio: Any) -> Any:
    """The score of a head with W_QK = diag(r): sum_i r_i x_i y_i, shape (1,)."""
    k = x.shape[0] // 2
    return (x[:k] * x[k:] * strengths(k, ratio)).sum(keepdims=True)


def moved(x: Any, ratio: Any) -> Any:
    """What a head with W_QK = diag(r) and W_OV = 1 moves: (sum_i r_i x_i y_i) y, shape (k,)."""
    return x[x.shape[0] // 2 :] * related(x, ratio)[0]


def misfit(features: int, hidden: int, value_rank: int = 1) -> str | None:
    """Why a head cannot have these sizes, or None."""
    if features % 2:
        return f"a pair of vectors needs an even number of features, not {features}"
    k = features // 2
    for what, rank in (
        ("model.hidden, the rank of W_QK,", hidden),
        ("model.value_rank, the rank of W_OV,", value_rank),
    ):
        if rank > k:
            return f"{what} is at most {k}, the features of one vector, not {rank}"
    return None


def _halves(pair: Any) -> tuple[Any, Any]:
    """The two matrices (d, k) of a parameter (d, 2 k)."""
    k = pair.shape[1] // 2
    return pair[:, :k], pair[:, k:]


def _score(pair: Any, x: Any) -> Any:
    Q, K = _halves(pair)
    k = x.shape[0] // 2
    return ((Q @ x[:k]) * (K @ x[k:])).sum(keepdims=True)
