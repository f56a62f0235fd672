"""Neurons of models with a ReLU hidden layer, h_k = ReLU(W_k . x): what each one reads, and their classes.

W has shape (..., m, n); neuron k reads row k. V has shape (..., n, m); neuron k writes column k. In tied models V is
W^T. ReLU is positively homogeneous: a neuron that reads s W_k and writes V_k / s, for s > 0, computes the same.
Nothing here depends on s. The paper: sections "Superposition in a privileged basis" and "Computation in
superposition". No jax.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tmsjax.analysis import phases
from tmsjax.errors import RunError
from tmsjax.kinds import FAMILIES, VALUES
from tmsjax.runs import results_of

SECOND = 0.2  # a neuron is monosemantic if its second largest |weight| is at most this share of the largest
DEAD = 0.01  # a neuron is dead if its gain, max |W_k| max |V_k|, is below this
NEURON_CLASSES = ("dead", "monosemantic", "polysemantic")
DEAD_CLASS, MONOSEMANTIC, POLYSEMANTIC = range(3)


def measured(results: Any) -> xr.Dataset:
    """Classes and weights of the neurons of every model of a run.

    Variables over the run's dimensions: neuron_class (..., hidden), index into NEURON_CLASSES, -1 where a model
    diverged; reads (..., hidden, feature) and writes (..., feature, hidden), which are W and V in the scale in which
    the largest `|weight|` that a neuron reads is 1 unless the model is tied. Raises RunError for models without
    neurons.
    """
    dataset = results_of(results)
    spec = phases.spec_of(dataset)
    family, values = FAMILIES.get(spec.model.family), VALUES.get(spec.data.values)
    if family is None or values is None or not family.neurons:
        raise RunError(f"the family {spec.model.family!r} has no hidden layer of neurons, h = ReLU(W x)")
    dims = [str(d) for d in dataset["loss"].dims]
    ok = dataset["status"].to_numpy() == 0
    W = _weights(dataset["W"].transpose(*dims, "hidden", "feature"), ok)
    V = None if family.writes is None else _weights(dataset[family.writes].transpose(*dims, "feature", "hidden"), ok)
    classes = np.where(ok[..., None], classify(W, V, signed=values.least is None), phases.MASKED)
    reads, writes = (W, np.swapaxes(W, -1, -2)) if V is None else scaled(W, V)
    return dataset.drop_dims("step", errors="ignore").assign(
        neuron_class=([*dims, "hidden"], classes.astype(np.int8)),
        reads=([*dims, "hidden", "feature"], reads),
        writes=([*dims, "feature", "hidden"], writes),
    )


def _weights(array: xr.DataArray, ok: np.ndarray) -> np.ndarray:
    """float64 weights of the models; 0 for those that diverged."""
    return np.where(ok[..., None, None], array.to_numpy().astype(np.float64), 0)


def scaled(W: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(W, V) in the scale in which the largest `|weight|` that each neuron reads is 1.

    The paper's footnote on rescaling. A neuron that reads nothing keeps its scale.
    """
    size = np.abs(W).max(-1, keepdims=True)
    size = np.where(size > 0, size, 1)
    return W / size, V * np.swapaxes(size, -1, -2)


def classify(W: np.ndarray, V: np.ndarray | None = None, signed: bool = True) -> np.ndarray:
    """Index into NEURON_CLASSES of every neuron, (..., m). V None: W^T.

    A neuron is dead if its gain is below DEAD or it never fires. `signed`: whether features can be negative;
    otherwise a neuron without a positive weight never fires. Of the others, those whose second largest `|weight|` of W
    is at most SECOND of the largest are monosemantic.
    """
    size = np.sort(np.abs(W), axis=-1)
    largest = size[..., -1]
    second = size[..., -2] if W.shape[-1] > 1 else np.zeros_like(largest)
    writes = largest if V is None else np.abs(V).max(-2)
    dead = largest * writes < DEAD
    if not signed:
        dead |= ~(W > 0).any(-1)
    mono = second <= SECOND * largest
    return np.where(dead, DEAD_CLASS, np.where(mono, MONOSEMANTIC, POLYSEMANTIC)).astype(np.int8)


def order(W: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The neurons of a model W (m, n) in the order of figures, (m,).

    By the feature that they read most, with positive weights first; dead neurons last.
    """
    strongest = np.abs(W).argmax(-1)
    negative = W[np.arange(len(W)), strongest] < 0
    return np.lexsort((negative, strongest, classes == DEAD_CLASS))
