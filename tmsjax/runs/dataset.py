"""The labelled dataset of results, of a whole sweep or of one box of its grid. No jax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.kinds import MEASURES, REPLICA, SUCCESS
from tmsjax.runs.facts import FORMAT
from tmsjax.spec import Box, Spec, Tiling, to_toml

STATUS = {"ok": 0, "non_finite": 1, "diverged": 2}


def results_dataset(
    spec: Spec,
    box: Box,
    dims: Mapping[str, tuple[str, ...]],
    params: Mapping[str, np.ndarray],
    instances: Mapping[str, np.ndarray],
    loss: np.ndarray,
    status: np.ndarray,
    history: Mapping[str, np.ndarray],
    steps: list[int],
    directions: bool = True,
) -> xr.Dataset:
    """Results of the instances in `box` as one dataset whose dimensions and coordinates are the spec's axes.

    Arrays have a leading instance axis in C order of the box, those of `history` (instance, step, ...). `dims`:
    dimensions of each parameter. `directions`: whether the columns of W are the features' directions. attrs["spec"]
    holds the spec as TOML.
    """
    axes = tuple(spec.axis)

    def variable(array: np.ndarray, extra: tuple[str, ...] = (), **attrs: Any) -> xr.Variable:
        array = np.asarray(array)
        return xr.Variable((*axes, *extra), array.reshape((*box.shape, *array.shape[1:])), attrs)

    meanings: dict[str, Any] = {"flag_values": list(STATUS.values()), "flag_meanings": " ".join(STATUS)}
    variables = {name: variable(array, dims[name]) for name, array in params.items()}
    variables["loss"] = variable(loss, long_name="noise-free loss, sum over features")
    variables["status"] = variable(status.astype(np.int8), **meanings)
    for name, array in instances.items():
        of_outputs = name == "importance" and spec.length(name) > spec.model.features
        variables[f"instance_{name}"] = variable(array, ("output",) if of_outputs else ("feature",))
    for name, array in history.items():
        variables[f"history_{name}"] = variable(array, ("step", *MEASURES[name].dims))
    coordinates: dict[str, Any] = coordinates_of(spec, box)
    if history:
        coordinates["step"] = steps
    attrs = {"spec": to_toml(spec), "format": FORMAT, "directions": int(directions)}
    return xr.Dataset(variables, coordinates, attrs)


def coordinates_of(spec: Spec, box: Box) -> dict[str, list]:
    """The coordinates of a box by axis."""
    return {axis.name: list(axis.values[part]) for axis, part in zip(spec.axes, box.slices, strict=True)}


def with_known_features(dataset: xr.Dataset, stored: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Adds W and feature_probability of the stored models whose hidden layers were the data (see spec.Source), if any.

    `stored`: W (instances, m, n) and feature_probability (instances, n). The m hidden dimensions of those models are
    the "feature" dimension of `dataset`, their n features are "known_feature".
    """
    dims = {"W": ("feature", "known_feature"), "feature_probability": ("known_feature",)}
    cells, shape = dataset["loss"].dims, dataset["loss"].shape
    return dataset.assign(
        {
            f"known_{name}": ((*cells, *dims[name]), stored[name].reshape(*shape, *stored[name].shape[1:]))
            for name in dims
            if name in stored
        }
    )


def best_of_cells(dataset: xr.Dataset) -> xr.Dataset:
    """Reduces each cell to its replica of lowest loss among those that did not diverge (else to the first).

    Adds, per cell, `replica`: the index of that replica; `successes`: the number of replicas whose loss is at most
    SUCCESS times its loss; `diverged`: the number of replicas that diverged; `loss_mean` and `loss_spread`: mean and
    standard deviation of the loss over the other replicas.
    """
    if REPLICA not in dataset.dims:
        dataset = dataset.expand_dims({REPLICA: [0]})
    cells = [d for d in dataset["loss"].dims if d != REPLICA]
    ordered = dataset[["loss", "status"]].transpose(*cells, REPLICA)
    ok, loss = ordered["status"].to_numpy() == STATUS["ok"], ordered["loss"].to_numpy()
    ranked = np.where(ok, loss, np.inf)
    index = np.argmin(ranked, axis=-1)
    least = np.take_along_axis(ranked, index[..., None], axis=-1)
    count = np.maximum(ok.sum(-1), 1)
    hide = np.where(ok.any(-1), 1.0, np.nan)
    mean = np.where(ok, loss, 0).sum(-1, dtype=np.float64) / count
    square = (np.where(ok, loss - mean[..., None], 0) ** 2).sum(-1) / count
    per_cell = {
        "replica": index.astype(np.int32),
        "successes": ((ranked <= SUCCESS * least) & ok).sum(-1, dtype=np.int32),
        "diverged": (~ok).sum(-1, dtype=np.int32),
        "loss_mean": (mean * hide).astype(np.float32),
        "loss_spread": (np.sqrt(square) * hide).astype(np.float32),
    }
    best = dataset.isel({REPLICA: xr.DataArray(index, dims=cells)}).drop_vars(REPLICA, errors="ignore")
    best = best.map(lambda v: v.transpose(*cells, ...))
    best = best.assign({name: (cells, values) for name, values in per_cell.items()})
    return best.assign_attrs(dataset.attrs, keep="best", replicas=dataset.sizes[REPLICA])


def assembled(parts: Sequence[xr.Dataset], units: Tiling) -> xr.Dataset:
    """One dataset from those of all units, in their order."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    dims = [str(d) for d in first["loss"].dims]
    variables = {}
    for name, variable in first.variables.items():
        if name in dims:
            continue
        if not set(dims) <= set(variable.dims):
            variables[name] = variable
            continue
        whole = np.empty((*units.grid, *variable.shape[len(dims) :]), variable.dtype)
        for part, box in zip(parts, units, strict=True):
            whole[box.slices] = part[name].to_numpy()
        variables[name] = xr.Variable(variable.dims, whole, variable.attrs)
    for dim, length in zip(dims, units.grid, strict=True):
        values = dict.fromkeys(v for part in parts for v in part[dim].to_numpy().tolist())
        assert len(values) == length
        variables[dim] = xr.Variable(dim, list(values))
    coordinates = {name: variables.pop(name) for name in first.coords}
    return xr.Dataset(variables, coordinates, first.attrs)
