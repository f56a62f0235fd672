"""Builds the results of a unit from the states after its last step."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tmsjax.engine import directions, train
from tmsjax.kinds import FAMILIES
from tmsjax.models import inputs
from tmsjax.runs.dataset import STATUS, best_of_cells, results_dataset, with_known_features
from tmsjax.runs.training import Training
from tmsjax.spec import Source

DIVERGED = 10.0  # times the zero model's loss
WHAT_DIVERGED = f"not finite, or with more than {DIVERGED:g} times the loss of a model whose output is 0"


def results(training: Training) -> tuple[xr.Dataset, int]:
    """The labelled dataset of a trained unit, as much as the spec keeps, and the number of its diverged models."""
    ensemble, spec, history = training.ensemble, training.spec, training.history
    gathered = ensemble.gather([state.params for state in training.states])
    params = {name: np.asarray(values) for name, values in gathered.items()}
    losses = history.last("loss", training.step)
    losses = ensemble.noise_free_loss(training.states) if losses is None else losses
    given = inputs(spec, ensemble.box)
    stored = spec.source.of(ensemble.box) if isinstance(spec.source, Source) else {}
    status = _status(params, losses, np.asarray(ensemble.zero_model_loss(training.states), np.float32))
    dims = FAMILIES[spec.model.family].dims
    W = directions(params, ensemble.problem)
    if W is not None and "W" not in params:
        params, dims = params | {"W": W}, dims | {"W": ("hidden", "feature")}
    dataset = results_dataset(
        spec, ensemble.box, dims, params, given, losses, status, history.variables(), history.steps, W is not None
    )
    dataset = with_known_features(dataset, stored)
    sampled = f"the mean over {train.EVALUATION_SAMPLES:,} samples"
    dataset["loss"].attrs["comment"] = sampled if spec.exact_loss is None else "exact"
    diverged = int((status != STATUS["ok"]).sum())
    return best_of_cells(dataset) if spec.store.keep == "best" else dataset, diverged


def _status(params: dict[str, np.ndarray], losses: np.ndarray, of_zero: np.ndarray) -> np.ndarray:
    """STATUS of every instance: non-finite, diverged (loss above DIVERGED times the zero model's) or ok."""
    finite = np.isfinite(losses)
    for array in params.values():
        finite &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    with np.errstate(invalid="ignore"):
        diverged = losses > DIVERGED * of_zero
    return np.where(~finite, STATUS["non_finite"], np.where(diverged, STATUS["diverged"], STATUS["ok"]))
