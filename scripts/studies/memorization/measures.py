"""Measures of the models of the study, and of their training sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from tmsjax.engine import training_set

EXACT = 0.1  # squared error, in units of |x|^2, below which a sample of the training set counts as reproduced


def unit(x: np.ndarray) -> np.ndarray:
    """Samples (k, n) scaled to length 1, as the models see them; 0 stays 0."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def dimensionality(vectors: np.ndarray) -> np.ndarray:
    """|v_i|^2 / sum_j (v_i . v_j / |v_i|)^2 of vectors (k, m), and 0 for a vector 0: (k,), summing up to at most m.

    That of features for the columns of W, that of samples for their hidden vectors W x.
    """
    square = (vectors**2).sum(1)
    overlap = np.einsum("ki,ij,kj->k", vectors, vectors.T @ vectors, vectors)
    return np.divide(square**2, overlap, out=np.zeros_like(square), where=overlap > 0)


def typical(shares: np.ndarray) -> float:
    """The mean dimensionality, weighted by itself: 2/k if k vectors have 2/k each and all others 0."""
    return float((shares**2).sum() / shares.sum()) if shares.sum() > 0 else 0.0


def measured(run: Any) -> dict:
    """Of every model, (size, other): losses on training set and fresh samples, and typical dimensionalities."""
    other = "learning_rate" if "learning_rate" in run.spec.axis else "replica"
    keep = [name for name in run.spec.axis if name not in ("samples", other)]
    dataset = run.dataset.isel(dict.fromkeys(keep, 0)).transpose("samples", other, "hidden", "feature", ...)
    W, b = (dataset[name].to_numpy().astype(float) for name in ("W", "b"))
    sizes = [int(size) for size in run.spec.axis["samples"].values]
    out: dict[str, Any] = {"samples": sizes, "test": dataset["loss"].to_numpy().astype(float)}
    rows = [
        [of_model(W[i, j], b[i, j], training(run.spec, i, other, j) if size else None) for j in range(W.shape[1])]
        for i, size in enumerate(sizes)
    ]
    return out | {name: [[one[name] for one in row] for row in rows] for name in rows[0][0]}


def training(spec: Any, size: int, other: str, position: int) -> np.ndarray:
    return unit(training_set(spec, **{"samples": size, other: position}).astype(float))


def of_model(W: np.ndarray, b: np.ndarray, x: np.ndarray | None) -> dict[str, Any]:
    """Of one model (m, n), (n,) and its training set (T, n) of unit vectors; None if it sees fresh ones.

    train: mean squared error on the set; reproduced: share of its samples with an error below EXACT; sample, feature:
    typical dimensionality; many: features whose norm is at least half of the largest. None: not defined.
    """
    norms = np.linalg.norm(W, axis=0)
    found: dict[str, Any] = {
        "feature": typical(dimensionality(W.T)),
        "many": int((norms >= norms.max() / 2).sum()),
        "norm": float(norms.max()),
        "train": None,
        "reproduced": None,
        "sample": None,
    }
    if x is not None:
        hidden = x @ W.T
        error = ((x - np.maximum(hidden @ W + b, 0)) ** 2).sum(1)
        found |= {
            "train": float(error.mean()),
            "reproduced": float((error < EXACT).mean()),
            "sample": typical(dimensionality(hidden)),
        }
    return found


def of_size(found: dict, size: int, name: str) -> np.ndarray:
    return np.array(found[name], float)[found["samples"].index(size)]


def mean(found: dict, name: str) -> np.ndarray:
    return np.array(found[name], float).mean(1)
