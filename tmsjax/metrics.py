"""Measures of how features are represented: functions of W (..., m, n), column W_i the direction of feature i.

They broadcast over leading axes and work with numpy (float64) as well as with jax. Source: the paper, sections
"Demonstrating superposition" and "The geometry of superposition".
"""

from __future__ import annotations

from typing import Any

TINY = 1e-30  # below any norm that float32 training leaves; keeps 0/0 out


def norms(W: Any) -> Any:
    """|W_i|, shape (..., n)."""
    xp = W.__array_namespace__()
    return xp.sqrt(xp.sum(W**2, axis=-2))


def overlaps(W: Any) -> Any:
    """(w_i . W_j)^2 with w_i = W_i / |W_i|, shape (..., n, n), rows i; a row of zeros where W_i = 0."""
    xp = W.__array_namespace__()
    unit = W / xp.maximum(norms(W), TINY)[..., None, :]
    return (xp.swapaxes(unit, -1, -2) @ W) ** 2


def superposition(W: Any) -> Any:
    """sum_{j != i} (w_i . W_j)^2, shape (..., n): 0 orthogonal to all others, >= 1 as strong as itself."""
    xp = W.__array_namespace__()
    squared = overlaps(W)
    others = xp.broadcast_to(1 - xp.eye(W.shape[-1], dtype=W.dtype), squared.shape)
    return xp.sum(squared * others, axis=-1)


def dimensionality(W: Any) -> Any:
    """D_i = |W_i|^2 / sum_j (w_i . W_j)^2, shape (..., n), in [0, 1]; 0 where W_i = 0."""
    xp = W.__array_namespace__()
    return norms(W) ** 2 / xp.maximum(xp.sum(overlaps(W), axis=-1), TINY)


def dimensions_per_feature(W: Any) -> Any:
    """D* = m / |W|_F^2, shape (...)."""
    xp = W.__array_namespace__()
    return W.shape[-2] / xp.sum(W**2, axis=(-1, -2))
