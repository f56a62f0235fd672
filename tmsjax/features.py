"""What models do with their features: results -> Dataset of measures, best model of each cell, components. No jax."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis, metrics, polytopes
from tmsjax.files import RunError
from tmsjax.spec import REPLICA

COMPONENTS = ("not represented", *polytopes.POLYTOPES, polytopes.OTHER)


def measures(results: Any) -> xr.Dataset:
    """A run's dataset (or a run's), without history, with measures of every model; of a diverged one NaN, and class -1.

    norm, superposition, dimensionality (..., feature), class (..., feature; index into analysis.FEATURE_CLASSES),
    represented (how many features are), frobenius |W|_F, dimensions_per_feature D* = m / |W|_F^2 (inf for W = 0).
    """
    dataset: xr.Dataset = results if isinstance(results, xr.Dataset) else results.dataset
    analysis.spec_of(dataset)  # no shard
    if not dataset.attrs["directions"]:
        raise RunError("these models have no directions W to measure")
    dims = [str(d) for d in dataset["loss"].dims]
    ok = dataset["status"].to_numpy() == 0
    W = dataset["W"].transpose(*dims, "hidden", "feature").to_numpy().astype(np.float64)
    W = np.where(ok[..., None, None], W, 0)
    norm, superposition = metrics.norms(W), metrics.superposition(W)
    classes = np.where(ok[..., None], analysis.classify(norm, superposition, W.shape[-2]), analysis.MASKED)
    hide = np.where(ok, 1.0, np.nan)
    with np.errstate(divide="ignore"):
        share = metrics.dimensions_per_feature(W)
    of_features = {
        "norm": norm,
        "superposition": superposition,
        "dimensionality": metrics.dimensionality(W),
    }
    of_models = {
        "represented": (classes > 0).sum(-1),
        "frobenius": np.sqrt((W**2).sum((-1, -2))),
        "dimensions_per_feature": share,
    }
    params = [name for name in ("W", "b") if name in dataset]
    return dataset.drop_dims("step", errors="ignore").assign(
        {name: dataset[name].where(dataset["status"] == 0) for name in params}
        | {name: ([*dims, "feature"], values * hide[..., None]) for name, values in of_features.items()}
        | {name: (dims, values * hide) for name, values in of_models.items()}
        | {"class": ([*dims, "feature"], classes.astype(np.int8))}
    )


def best(measured: xr.Dataset) -> xr.Dataset:
    """`measures` without replica: of every cell the model of lowest noise-free loss that did not diverge.

    Where the replicas of a cell differ in importances or probabilities (`permute = "replica"`) their losses cannot be
    compared: of such a cell it is the first that did not diverge.
    """
    if REPLICA not in measured.dims:
        return measured
    ok = measured["status"] == 0
    index = measured["loss"].where(ok).fillna(np.inf).argmin(REPLICA)
    for name in ("instance_importance", "instance_feature_probability"):
        same = (measured[name] == measured[name].isel({REPLICA: 0})).all([REPLICA, "feature"])
        index = index.where(same, ok.argmax(REPLICA))
    return measured.isel({REPLICA: index}).drop_vars(REPLICA)


def in_one_frame(W: np.ndarray) -> np.ndarray:
    """W (..., 2, n) turned, and mirrored where needed: the first represented feature points along the first axis, the
    first one across it upwards. The loss leaves that free."""
    first = np.argmax(metrics.norms(W) >= analysis.REPRESENTED, axis=-1)[..., None, None]
    x, y = np.moveaxis(np.take_along_axis(W, first, axis=-1)[..., 0], -1, 0)
    length = np.maximum(np.hypot(x, y), metrics.TINY)
    turn = np.stack([np.stack([x, y], -1), np.stack([-y, x], -1)], -2) / length[..., None, None]
    along, across = np.moveaxis(turn @ W, -2, 0)
    next_ = np.argmax(np.abs(across) >= analysis.REPRESENTED, axis=-1)[..., None]
    return np.stack([along, across * np.where(np.take_along_axis(across, next_, axis=-1) < 0, -1, 1)], axis=-2)


def component_kinds(W: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """One model's feature graph W (m, n): its components, and each feature's index into COMPONENTS (n,)."""
    represented = metrics.norms(W) >= analysis.REPRESENTED
    parts = polytopes.components(W, represented)
    kinds = np.zeros(W.shape[-1], np.int8)
    for part in parts:
        kinds[part] = COMPONENTS.index(polytopes.recognise(W[:, part]))
    return parts, kinds
