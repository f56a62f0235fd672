"""What candidate theory predicts for the features of trained models, and counts beside it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tmsjax import analysis, theory


def inputs_of(measured: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(importance, probability) of every model, each (..., feature)."""
    names = ("instance_importance", "instance_feature_probability")
    i, p = (measured[n].transpose(*measured["loss"].dims, "feature").to_numpy().astype(float) for n in names)
    return i, p


def predicted(measured: xr.Dataset) -> np.ndarray:
    """Classes (..., feature) that candidate theory (theory/pairs.py) predicts for each model of a measured run."""
    data = analysis.spec_of(measured).data
    importance, probability = inputs_of(measured)
    shape, n, hidden = importance.shape, importance.shape[-1], measured.sizes["hidden"]
    problems = np.concatenate([importance.reshape(-1, n), probability.reshape(-1, n)], axis=1)
    rows, back = np.unique(problems, axis=0, return_inverse=True)
    solved = [
        theory.best_assignment(row[:n], row[n:], hidden, activity=data.activity, values=data.values) for row in rows
    ]
    return np.array([one.classes for one in solved])[back.reshape(-1)].reshape(shape)


def confusion(expected: np.ndarray, found: np.ndarray) -> list[list[int]]:
    """Number of features by expected class (rows) and found class (columns), without masked ones."""
    names = range(len(analysis.FEATURE_CLASSES))
    return [[int(((expected == a) & (found == b)).sum()) for b in names] for a in names]
