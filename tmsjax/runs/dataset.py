"""The labelled dataset of results. No jax."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tmsjax.kinds import MEASURES
from tmsjax.runs.directory import FORMAT
from tmsjax.spec import Spec, to_toml

STATUS = {"ok": 0, "non_finite": 1, "diverged": 2}


def results_dataset(
    spec: Spec,
    rows: range,
    dims: dict[str, tuple[str, ...]],
    params: dict[str, np.ndarray],
    instances: dict[str, np.ndarray],
    loss: np.ndarray,
    status: np.ndarray,
    history: dict[str, np.ndarray],
    steps: list[int],
    directions: bool = True,
) -> xr.Dataset:
    """The results as one dataset whose dimensions and coordinates are the spec's axes.

    Arrays have a leading instance axis, those of `history` (instance, step, ...). `rows`: the indices of the instances;
    if they are a part of the sweep, the dataset keeps the dimension instance (see `on_grid`). `dims`: dimensions of
    each parameter. `directions`: whether the columns of W are the features' directions. attrs["spec"] holds the spec as
    TOML.
    """

    def variable(array: np.ndarray, extra: tuple[str, ...] = (), **attrs: Any) -> xr.Variable:
        return xr.Variable(("instance", *extra), np.asarray(array), attrs)

    meanings: dict[str, Any] = {"flag_values": list(STATUS.values()), "flag_meanings": " ".join(STATUS)}
    variables = {name: variable(array, dims[name]) for name, array in params.items()}
    variables["loss"] = variable(loss, long_name="noise-free loss, sum over features")
    variables["status"] = variable(status.astype(np.int8), **meanings)
    for name, array in instances.items():
        variables[f"instance_{name}"] = variable(array, ("feature",))
    for name, array in history.items():
        variables[f"history_{name}"] = variable(array, ("step", *MEASURES[name].dims))
    coordinates: dict[str, Any] = {"instance": np.arange(rows.start, rows.stop)}
    if history:
        coordinates["step"] = steps
    attrs = {"spec": to_toml(spec), "format": FORMAT, "directions": int(directions)}
    return on_grid(xr.Dataset(variables, coordinates, attrs), spec)


def on_grid(dataset: xr.Dataset, spec: Spec) -> xr.Dataset:
    """Replaces the dimension instance by the spec's axes; returns a part of the sweep unchanged."""
    if dataset.sizes["instance"] < spec.instances:
        return dataset
    axes = tuple(a.name for a in spec.axes)

    def unfolded(variable: xr.Variable) -> xr.Variable:
        values = variable.to_numpy().reshape((*spec.shape, *variable.shape[1:]))
        return xr.Variable((*axes, *variable.dims[1:]), values, variable.attrs)

    coordinates: dict[str, Any] = {a.name: list(a.values) for a in spec.axes}
    if "step" in dataset.coords:
        coordinates["step"] = dataset["step"].to_numpy()
    variables = {name: unfolded(dataset[name].variable) for name in dataset.data_vars}
    return xr.Dataset(variables, coordinates, dataset.attrs)
