"""Measures of what models do with their features, the best model per cell, and feature-graph components. No jax."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tmsjax.analysis import phases, polytopes
from tmsjax.errors import RunError
from tmsjax.kinds import MEASURES, REPLICA, REPRESENTED
from tmsjax.kinds.measures import TINY, norms, superposition
from tmsjax.runs import results_of

COMPONENTS = ("not represented", *polytopes.POLYTOPES, polytopes.OTHER)


def measures(results: Any) -> xr.Dataset:
    """Adds measures of every model to a run's dataset, without its history; NaN where a model diverged.

    `results`: a Run, the path of its directory, or its dataset. Adds every measure of W in kinds.MEASURES, including
    users' own, over its dimensions: norm, superposition, dimensionality (..., feature); represented, frobenius,
    dimensions_per_feature (...). Adds class (..., feature), the index into FEATURE_CLASSES, -1 where a model
    diverged. Raises RunError for models without W.

    Examples:
        >>> measured = tmsjax.measures(run.dataset)
        >>> measured["norm"].shape, measured["represented"].shape
        ((3, 3, 2, 2), (3, 3, 2))
    """
    dataset = results_of(results)
    if not dataset.attrs["directions"]:
        raise RunError("these models have no directions W to measure")
    dims = [str(d) for d in dataset["loss"].dims]
    ok = dataset["status"].to_numpy() == 0
    W = dataset["W"].transpose(*dims, "hidden", "feature").to_numpy().astype(np.float64)
    W = np.where(ok[..., None, None], W, 0)
    classes = phases.classify(norms(W), superposition(W), W.shape[-2])
    hide = np.where(ok, 1.0, np.nan)

    def measured(function: Any) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.asarray(function(W), np.float64)
        return values * hide.reshape(hide.shape + (1,) * (values.ndim - hide.ndim))

    # a measure that was added later may have the name of an axis
    of_W = {n: m for n, m in MEASURES.items() if m.function is not None and n != "W" and n not in dataset.dims}
    params = [name for name in ("W", "b") if name in dataset]
    return dataset.drop_dims("step", errors="ignore").assign(
        {name: dataset[name].where(dataset["status"] == 0) for name in params}
        | {name: ([*dims, *m.dims], measured(m.function)) for name, m in of_W.items()}
        | {"class": ([*dims, "feature"], np.where(ok[..., None], classes, phases.MASKED).astype(np.int8))}
    )


def best(results: Any) -> xr.Dataset:
    """The best model of each cell: the replica of lowest noise-free loss that did not diverge.

    `results`: from `measures`, or a Run, the path of its directory, or its dataset. Returns the same without the
    dimension "replica".

    Losses are not comparable if the replicas of a cell differ in importances or probabilities (`permute = "replica"`).
    For such a cell, takes the first replica that did not diverge.

    Examples:
        >>> models = tmsjax.best(tmsjax.measures(run.dataset))
        >>> models["W"].dims
        ('feature_probability', 'extra_importance', 'hidden', 'feature')
    """
    measured = results_of(results)
    if REPLICA not in measured.dims:
        return measured
    ok = measured["status"] == 0
    index = measured["loss"].where(ok).fillna(np.inf).argmin(REPLICA)
    for name in ("instance_importance", "instance_feature_probability"):
        same = (measured[name] == measured[name].isel({REPLICA: 0})).all([REPLICA, "feature"])
        index = index.where(same, ok.argmax(REPLICA))
    return measured.isel({REPLICA: index}).drop_vars(REPLICA, errors="ignore")


def in_one_frame(W: np.ndarray) -> np.ndarray:
    """W (..., 2, n) in a canonical frame; rotating or reflecting W does not change the loss.

    The first represented feature points along the first axis. The first feature with a large component across that axis
    points up.
    """
    first = np.argmax(norms(W) >= REPRESENTED, axis=-1)[..., None, None]
    x, y = np.moveaxis(np.take_along_axis(W, first, axis=-1)[..., 0], -1, 0)
    length = np.maximum(np.hypot(x, y), TINY)
    turn = np.stack([np.stack([x, y], -1), np.stack([-y, x], -1)], -2) / length[..., None, None]
    along, across = np.moveaxis(turn @ W, -2, 0)
    next_ = np.argmax(np.abs(across) >= REPRESENTED, axis=-1)[..., None]
    return np.stack([along, across * np.where(np.take_along_axis(across, next_, axis=-1) < 0, -1, 1)], axis=-2)


def component_kinds(W: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Components of the feature graph of one model W (m, n), and each feature's index into COMPONENTS, shape (n,)."""
    represented = norms(W) >= REPRESENTED
    parts = polytopes.components(W, represented)
    kinds = np.zeros(W.shape[-1], np.int8)
    for part in parts:
        kinds[part] = COMPONENTS.index(polytopes.recognise(W[:, part]))
    return parts, kinds
