"""Builds the results of a run from the states after its last step."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tmsjax.engine import TrainState, directions
from tmsjax.kinds import FAMILIES
from tmsjax.models import inputs
from tmsjax.runs.dataset import STATUS, results_dataset
from tmsjax.runs.history import History
from tmsjax.runs.part import Part

DIVERGED = 10.0  # times the zero model's loss


def results(part: Part, states: list[TrainState], history: History) -> xr.Dataset:
    """The labelled dataset of all instances of the run. Collective: all processes call it."""
    spec = part.ensemble.spec
    params = part.gather([state.params for state in states])
    losses = part.losses(states)
    given = inputs(spec, part.rows)
    status = _status(params, losses, part.zero_model_losses())
    dims = dict(FAMILIES[spec.model.family].parameters)
    W = directions(params, spec)
    if W is not None and "W" not in params:
        params, dims = params | {"W": W}, dims | {"W": ("hidden", "feature")}
    return results_dataset(
        spec, part.rows, dims, params, given, losses, status, history.variables(), history.steps, W is not None
    )


def diverged_models(dataset: xr.Dataset) -> int:
    """The number of models that are marked as diverged or non-finite."""
    return int((dataset["status"] != STATUS["ok"]).sum())


def _status(params: dict[str, np.ndarray], losses: np.ndarray, of_zero: np.ndarray) -> np.ndarray:
    """STATUS of every instance: non-finite, diverged (loss above DIVERGED times the zero model's) or ok."""
    finite = np.isfinite(losses)
    for array in params.values():
        finite &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    with np.errstate(invalid="ignore"):
        diverged = losses > DIVERGED * of_zero
    return np.where(~finite, STATUS["non_finite"], np.where(diverged, STATUS["diverged"], STATUS["ok"]))
