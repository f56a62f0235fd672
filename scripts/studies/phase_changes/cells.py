"""Grids of cells, and what a run says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import tmsjax
from tmsjax import theory


def cells_of(grid: tuple[np.ndarray, np.ndarray], features: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """(importance, feature_probability), each (cells, n), of the cells of a grid (extra importance, probability).

    The extra importance varies fastest over cells. It is the last feature's importance; the others have 1.
    """
    r, p = (g.reshape(-1) for g in np.meshgrid(*grid))
    return np.stack([*[np.ones_like(r)] * (features - 1), r], 1), np.repeat(p[:, None], features, axis=1)


def grid_of(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    return dataset["extra_importance"].to_numpy(), dataset["feature_probability"].to_numpy()


def certified(features: int, count: int, random_starts: int, **options: Any) -> dict:
    """In how many cells of a coarse grid extra random starts lower the loss by more than a relative 1e-9."""
    grid = np.geomspace(0.1, 10, count), np.geomspace(1, 0.01, count)
    cells = cells_of(grid, features)
    usual = theory.exact_optimum(*cells, **options)
    more = theory.exact_optimum(*cells, random_starts=random_starts, **options)
    better = more.loss < usual.loss * (1 - 1e-9)
    return {"cells": count**2, "starts": usual.starts, "random_starts": random_starts, "improved": int(better.sum())}


def of_map(run: Any, select: str = "best") -> dict:
    """The results of `tmsjax compare` for a run, and its training time."""
    facts = tmsjax.compare(run, select)
    info = run.directory.info()
    kept = {k: facts[k]["agreement"] for k in ("candidate", "exact") if k in facts}
    return {
        "models": run.spec.instances,
        "seconds": info.seconds_of_training,
        "success": facts["mean_success"],
        "diverged": facts["diverged_models"],
        **kept,
    }
