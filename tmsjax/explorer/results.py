"""A run's results in memory, as the page numbers them.

Cells are numbered in the order of the axes (others..., y, x), so the cells of a map's row are neighbours. In arrays the
axis of cells is the last one: (cells,), (feature, cells), (replica, hidden, feature, cells).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.kinds import REPLICA, without_lengths

NOTHING = 255  # the phase of a model that diverged, and of a cell without a usable one


class Results:
    """Results of a whole run or of a region of it. `exact`: its exact optima, if stored.

    order: the axes of cells. count: the number of cells. usable, loss (replica, cells): which models did not diverge,
    and their noise-free losses, inf for the others. best (cells,): the replica of lowest loss. lowest (cells,): its
    loss, NaN if every replica diverged. has_W: whether features have directions. mapped: whether cells have phases.
    """

    def __init__(self, dataset: xr.Dataset, exact: xr.Dataset | None):
        self.dataset, self.exact = dataset, exact
        self.spec = analysis.spec_of(dataset)
        needed = ("status", "loss", "instance_importance", "instance_feature_probability")
        if missing := [n for n in (*needed, *["W"] * bool(dataset.attrs["directions"])) if n not in dataset]:
            raise RunError(f"{self.spec.name}: damaged: its results have no {', '.join(missing)}")
        self.every = analysis.with_replica(dataset)
        self.dims = [a.name for a in self.spec.axes if a.name != REPLICA]
        self.order = in_page_order({d: dataset.sizes[d] for d in self.dims}, self.spec)
        self.count = math.prod(dataset.sizes[d] for d in self.dims)
        self.replicas = self.every.sizes[REPLICA]
        self.usable = self.by_replica("status") == 0
        self.loss = np.where(self.usable, self.by_replica("loss").astype(np.float64), np.inf)
        self.best = np.argmin(self.loss, 0)
        self.lowest = np.where(self.usable.any(0), self.loss.min(0), np.nan)
        self.has_W = bool(dataset.attrs["directions"])
        self.mapped = self.has_W and without_lengths(self.spec) is None
        self.best_only = analysis.is_best_only(dataset)
        self.comparable = analysis.same_inputs(dataset)

    def by_replica(self, name: str, *rest: str) -> np.ndarray:
        """A variable as (replica, *rest, cells)."""
        values = self.every[name].transpose(REPLICA, *rest, *self.order).to_numpy()
        return values.reshape(*values.shape[: 1 + len(rest)], self.count)

    def by_cell(self, values: xr.DataArray, *rest: str) -> np.ndarray:
        """Values over cells as (*rest, cells)."""
        placed = values.transpose(*rest, *self.order).to_numpy()
        return placed.reshape(*placed.shape[: len(rest)], self.count)

    def in_order(self, values: np.ndarray, *rest: str) -> np.ndarray:
        """An array over the spec's axes other than replica, and `rest`, as (*rest, cells)."""
        return self.by_cell(xr.DataArray(values, dims=[*self.dims, *rest]), *rest)

    def of_best(self, values: np.ndarray) -> np.ndarray:
        """(replica, ..., cells) at each cell's best replica, as (1, ..., cells)."""
        return np.take_along_axis(values, self.best.reshape((1,) * (values.ndim - 1) + (-1,)), 0)


def in_page_order(sizes: dict[str, int], spec: Any) -> list[str]:
    """Axes other than replica, of these sizes, in the page's order: (others..., y, x).

    y and x are those of the spec's map. An axis of a single value gives its place to one of several values, if any.
    """
    shown = [d for d in spec.map_axes if d is not None]
    rest = [d for d in sizes if d not in shown]
    for k in reversed(range(len(shown))):
        longer = next((d for d in (*rest, *shown[:k]) if sizes[d] > 1), None)
        if sizes[shown[k]] == 1 and longer is not None:
            places = rest if longer in rest else shown
            places[places.index(longer)], shown[k] = shown[k], longer
    return [*rest, *shown]


def masked(phases: np.ndarray) -> np.ndarray:
    """Phases as whole numbers from 0, NOTHING where no model is usable."""
    return np.where(phases == analysis.MASKED, NOTHING, phases.astype(np.int64))
