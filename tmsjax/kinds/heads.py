"""Attention heads on pairs of vectors: the functions of the families in families.py whose names begin with "attention".

A sample of n = 2 k features is a pair of vectors: the query's features x, then the key's features y, k each. Query
feature i relates to key feature i, with strength r_i; any other matching is the same after relabelling. The head knows
both vectors only through W_QK = Q^T K of rank d, and its score is x^T W_QK y. Q and K (d, k) are the halves of one
parameter QK (hidden, feature), d = hidden; U and V, of W_OV = U^T V, are the halves of OV (value_rank, feature).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tmsjax.kinds.arrays import Array, Elementwise, Features, Number, Params


def strengths(relations: int, ratio: Number) -> Float[Array, "relations"]:
    """Strengths r_i = ratio^(i / 2), i = 0, 1, ...: a relation's importance r_i^2 is `ratio` times the one before."""
    return ratio ** (np.arange(relations, dtype=np.float32) / np.float32(2))


def score(params: Params, x: Features, f: Elementwise) -> Float[Array, "1"]:
    """f(x^T W_QK y)."""
    return f(_score(params["QK"], x))


def score_with_bias(params: Params, x: Features, f: Elementwise) -> Float[Array, "1"]:
    """f(x^T W_QK y + b)."""
    return f(_score(params["QK"], x) + params["b"])


def attended(params: Params, x: Features, f: Elementwise) -> Float[Array, "feature/2"]:
    """f((x^T W_QK y) W_OV y)."""
    U, V = _halves(params["OV"])
    y = x[x.shape[0] // 2 :]
    return f((U.T @ (V @ y)) * _score(params["QK"], x)[0])


def related(x: Features, ratio: Number) -> Float[Array, "1"]:
    """The score of a head with W_QK = diag(r): sum_i r_i x_i y_i."""
    k = x.shape[0] // 2
    return (x[:k] * x[k:] * strengths(k, ratio)).sum(keepdims=True)


def moved(x: Features, ratio: Number) -> Float[Array, "feature/2"]:
    """What a head with W_QK = diag(r) and W_OV = 1 moves: (sum_i r_i x_i y_i) y."""
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


def _halves(
    pair: Float[Array, "rank feature"],
) -> tuple[Float[Array, "rank feature/2"], Float[Array, "rank feature/2"]]:
    """The two matrices of a parameter."""
    k = pair.shape[1] // 2
    return pair[:, :k], pair[:, k:]


def _score(pair: Float[Array, "hidden feature"], x: Features) -> Float[Array, "1"]:
    Q, K = _halves(pair)
    k = x.shape[0] // 2
    return ((Q @ x[:k]) * (K @ x[k:])).sum(keepdims=True)
