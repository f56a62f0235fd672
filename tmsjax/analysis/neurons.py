"""Neurons of models with a ReLU hidden layer, h_k = ReLU(W_k . x): what each one reads, and a motif of their weights.

W has shape (..., m, n), row k is what neuron k reads. V has shape (..., n, m), column k is what neuron k writes; it is W^T
in tied models. ReLU is positively homogeneous, so a neuron that reads s W_k and writes V_k / s computes the same: nothing
here depends on s, except in tied models, where s is 1. The paper: sections "Superposition in a privileged basis" and
"Computation in superposition". No jax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.analysis import phases
from tmsjax.errors import RunError
from tmsjax.kinds import FAMILIES, VALUES

SECOND = 0.2  # a neuron is monosemantic if its second largest |weight| is at most this share of the largest
DEAD = 0.01  # a neuron is dead if its gain, max |W_k| max |V_k|, is below this
NEURON_CLASSES = ("dead", "monosemantic", "polysemantic")
DEAD_CLASS, MONOSEMANTIC, POLYSEMANTIC = range(3)

# Tolerances of the asymmetric motif. In the paper a neuron reads [2, -1/2] and writes [1/2, 2]: both ratios are 4, and
# both gains (read times write) 1.
LEAST_RATIO, LARGEST_RATIO = 1.5, 16.0
LEAST_GAIN, LARGEST_GAIN = 0.5, 2.0
INHIBITED = 0.5  # least share of the interference that a single other neuron removes
LEFT = 0.1  # largest share of the interference that all other neurons leave


@dataclass(frozen=True)
class Motif:
    """An asymmetric pair of features in one neuron, in the scale in which the product of its two reads is 1 or -1.

    model:           index of the model
    neuron, inhibitor: the asymmetric neuron, and the other neuron that removes most of its interference
    strong, weak:    the feature that it reads strongly and writes weakly, and the other one
    reads, writes:   its weights to and from (strong, weak), signed so that it reads +|W_strong|; the paper's are (2, -1/2) and
                     (1/2, 2)
    inhibition:      share of its interference that the inhibitor removes
    """

    model: int
    neuron: int
    inhibitor: int
    strong: int
    weak: int
    reads: tuple[float, float]
    writes: tuple[float, float]
    inhibition: float


def measured(results: Any) -> xr.Dataset:
    """Classes and weights of the neurons of every model of a run.

    Variables over the run's dimensions: neuron_class (..., hidden), index into NEURON_CLASSES, -1 where a model diverged;
    reads (..., hidden, feature) and writes (..., feature, hidden), which are W and V in the scale in which the largest |weight| that a neuron reads is 1 unless the model is tied. Raises
    RunError for a shard and for models without neurons.
    """
    dataset: xr.Dataset = results if isinstance(results, xr.Dataset) else results.dataset
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
    """(W, V) in the scale in which the largest |weight| that each neuron reads is 1 (the paper's footnote on rescaling).

    A neuron that reads nothing keeps its scale.
    """
    size = np.abs(W).max(-1, keepdims=True)
    size = np.where(size > 0, size, 1)
    return W / size, V * np.swapaxes(size, -1, -2)


def classify(W: np.ndarray, V: np.ndarray | None = None, signed: bool = True) -> np.ndarray:
    """Index into NEURON_CLASSES of every neuron, (..., m). V None: W^T.

    A neuron is dead if its gain is below DEAD or it never fires. `signed`: whether features can be negative; otherwise a
    neuron without a positive weight never fires. Of the others, those whose second largest |weight| of W is at most SECOND
    of the largest are monosemantic.
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
    """The neurons of a model W (m, n) in the order of figures, (m,): by the feature that they read most, with positive
    weights first; dead ones last."""
    strongest = np.abs(W).argmax(-1)
    negative = W[np.arange(len(W)), strongest] < 0
    return np.lexsort((negative, strongest, classes == DEAD_CLASS))


def shares(classes: np.ndarray) -> np.ndarray:
    """Share of each of NEURON_CLASSES among neurons (..., m) of models that did not diverge, (3,); NaN without any."""
    known = classes[classes >= 0]
    return np.array([np.mean(known == k) if known.size else np.nan for k in range(len(NEURON_CLASSES))])


def sides(W: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Number of monosemantic neurons that read each feature with a positive and with a negative weight, (..., n, 2)."""
    strongest = np.abs(W).argmax(-1)
    value = np.take_along_axis(W, strongest[..., None], -1)[..., 0]
    mine = (strongest[..., None] == np.arange(W.shape[-1])) & (classes == MONOSEMANTIC)[..., None]  # (..., m, n)
    return np.stack([(mine & (sign * value[..., None] > 0)).sum(-2) for sign in (1, -1)], axis=-1)


def motifs(W: np.ndarray, V: np.ndarray) -> list[Motif]:
    """The asymmetric superposition motifs of models W (model, m, n), V (model, n, m) (the paper, section "The asymmetric
    superposition motif").

    A motif is a neuron k with the feature i that it reads most, and another feature j, such that
      reads:  |W_ki| / |W_kj| is between LEAST_RATIO and LARGEST_RATIO;
      writes: V_ik and V_jk are positive, and V_jk / V_ik is between the same limits;
      gains:  |W_ki| V_ik and |W_kj| V_jk, are both between LEAST_GAIN and LARGEST_GAIN;
      inhibition: while i alone is active on the side on which k fires, one other neuron removes at least INHIBITED of
      |W_ki| V_jk, the interference in output j, and all other neurons leave at most LEFT of it.
    W_ki and W_kj may have equal or opposite signs.
    """
    return [found for model in range(len(W)) for found in _motifs_of(model, W[model], V[model])]


def _motifs_of(model: int, W: np.ndarray, V: np.ndarray) -> list[Motif]:
    m = len(W)
    every = np.arange(m)
    strong = np.abs(W).argmax(-1)
    read, write = np.abs(W), V.T  # (m, n)
    main_read, main_write = read[every, strong, None], write[every, strong, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        asymmetric = (
            _between(main_read / read, LEAST_RATIO, LARGEST_RATIO)
            & _between(write / main_write, LEAST_RATIO, LARGEST_RATIO)
            & (main_write > 0)
            & _between(main_read * main_write, LEAST_GAIN, LARGEST_GAIN)
            & _between(read * write, LEAST_GAIN, LARGEST_GAIN)
        )
    found = []
    for k, j in np.argwhere(asymmetric):
        i = strong[k]
        sign = np.sign(W[k, i])
        onto = np.maximum(sign * W[:, i], 0) * V[j]  # what each neuron adds to output j while x_i = sign
        inhibitor = int(onto.argmin())
        removed = -onto[inhibitor] / onto[k]
        if removed < INHIBITED or onto.sum() > LEFT * onto[k]:
            continue
        scale = 1 / np.sqrt(read[k, i] * read[k, j])
        reads = float(sign * W[k, i] * scale), float(sign * W[k, j] * scale)
        writes = float(V[i, k] / scale), float(V[j, k] / scale)
        found.append(Motif(model, int(k), inhibitor, int(i), int(j), reads, writes, float(removed)))
    return found


def _between(values: np.ndarray, least: float, largest: float) -> np.ndarray:
    return (values >= least) & (values <= largest)
