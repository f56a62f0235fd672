"""Cells of a sweep as panels of a figure: rows and columns of the best models, and their titles. Does not draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.plots.style import named

ROW, COLUMN = "_row", "_column"  # dimensions that no axis can have
WRAP = 5  # panels per row if there is only one axis


def placed(dataset: xr.Dataset, axes: dict[str, str | None]) -> xr.Dataset:
    """Renames the dimension of each axis to `dim`; for None adds a dimension of length 1."""
    for dim, axis in axes.items():
        dataset = dataset.expand_dims(dim) if axis is None else dataset.rename_dims({axis: dim})
    return dataset


def best_of(every: xr.Dataset) -> tuple[list[xr.Dataset], int]:
    """The best model of every cell in row-major order, and the number of columns."""
    best = analysis.best(every)
    shape = best.sizes[ROW], best.sizes[COLUMN]
    return [best.isel({ROW: i, COLUMN: j}) for i, j in np.ndindex(shape)], shape[1]


def panels_per_row(cells: list, columns: int) -> int:
    """The number of panels per row. Wraps a single row of many cells."""
    return WRAP if len(cells) == columns > WRAP else columns


def set_size(spec: Any) -> int | None:
    """The number of features in a set, for a spec whose activity has sets; None for other activities."""
    return dict(spec.data.options).get("size")


def cell_name(cell: xr.Dataset, axis: str | None) -> str:
    """The name of a cell's value along an axis, such as "p = 0.1"; empty for None."""
    return "" if axis is None else named(axis, cell[axis].item())


def title(cell: xr.Dataset, text: str) -> str:
    """The title of a panel; says "diverged" if every model of the cell diverged."""
    return text if int(cell["status"]) == 0 else f"{text} diverged".strip()
