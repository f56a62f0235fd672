"""The asymmetric motif of the paper's section "Computation in superposition", and counts of neurons.

In the motif two features share a neuron, and another neuron inhibits their interference. Weights as in
tmsjax.analysis.neurons: W (..., m, n), of which neuron k reads row k, and V (..., n, m), of which it writes column k.
Nothing depends on the scale of a neuron.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmsjax.analysis.neurons import MONOSEMANTIC, NEURON_CLASSES

# Tolerances of the asymmetric motif. In the paper a neuron reads [2, -1/2] and writes [1/2, 2]: both ratios are 4, and
# both gains (read times write) 1.
LEAST_RATIO, LARGEST_RATIO = 1.5, 16.0
LEAST_GAIN, LARGEST_GAIN = 0.5, 2.0
INHIBITED = 0.5  # least share of the interference that a single other neuron removes
LEFT = 0.1  # largest share of the interference that all other neurons leave


@dataclass(frozen=True)
class Pair:
    """Two features that one neuron reads and writes asymmetrically.

    Weights are in the scale in which the product of the neuron's two reads is 1 or -1.

    Attributes:
        model: index of the model.
        neuron: the asymmetric neuron.
        strong: the feature that it reads most and writes weakly.
        weak: the other feature.
        reads: its weights from (strong, weak), signed so that the first is positive; the paper's are (2, -1/2).
        writes: its weights to (strong, weak); the paper's are (1/2, 2).
        inhibitor: the neuron that removes most of its interference, which is what it adds to output `weak` while
            `strong` alone is active, on the side on which it fires.
        inhibition: the share of the interference that the inhibitor removes.
        left: the share that all other neurons leave; negative if they more than remove it.
        elsewhere: of the other outputs, the share from which some neuron takes as much while `strong` is active, that
            is INHIBITED of the interference or more; NaN if there are no other features.
    """

    model: int
    neuron: int
    strong: int
    weak: int
    reads: tuple[float, float]
    writes: tuple[float, float]
    inhibitor: int
    inhibition: float
    left: float
    elsewhere: float

    @property
    def inhibited(self) -> bool:
        """Whether another neuron turns the interference into none, or into a negative one: the motif is complete."""
        return self.inhibition >= INHIBITED and self.left <= LEFT

    @property
    def opposite(self) -> bool:
        """Whether it reads the two features with opposite signs, as the paper's example does."""
        return self.reads[1] < 0

    def near(self, reads: tuple[float, float], writes: tuple[float, float], factor: float) -> bool:
        """Whether each of the four weights has the sign of a given one and is within `factor` of it."""
        ratios = np.array([*self.reads, *self.writes]) / np.array([*reads, *writes])
        return bool(((ratios >= 1 / factor) & (ratios <= factor)).all())


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


def asymmetric_pairs(W: np.ndarray, V: np.ndarray) -> list[Pair]:
    """Asymmetric pairs of features in the neurons of models W (model, m, n), V (model, n, m).

    Those with `inhibited` are the motif of the paper's section "The asymmetric superposition motif". For a neuron k,
    the feature i that it reads most, and another feature j:
      reads:  |W_ki| / |W_kj| is between LEAST_RATIO and LARGEST_RATIO;
      writes: V_ik and V_jk are positive, and V_jk / V_ik is between the same limits;
      gains:  |W_ki| V_ik and |W_kj| V_jk are between LEAST_GAIN and LARGEST_GAIN.
    """
    return [pair for model in range(len(W)) for pair in _pairs_of(model, W[model], V[model])]


def _pairs_of(model: int, W: np.ndarray, V: np.ndarray) -> list[Pair]:
    every, strongest = np.arange(len(W)), np.abs(W).argmax(-1)
    read, write = np.abs(W), V.T  # (m, n)
    main_read, main_write = read[every, strongest, None], write[every, strongest, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        asymmetric = (
            _between(main_read / read, LEAST_RATIO, LARGEST_RATIO)
            & _between(write / main_write, LEAST_RATIO, LARGEST_RATIO)
            & _between(main_read * main_write, LEAST_GAIN, LARGEST_GAIN)
            & _between(read * write, LEAST_GAIN, LARGEST_GAIN)
        )
    return [_pair(model, W, V, int(k), int(strongest[k]), int(j)) for k, j in np.argwhere(asymmetric)]


def _pair(model: int, W: np.ndarray, V: np.ndarray, k: int, i: int, j: int) -> Pair:
    sign = np.sign(W[k, i])
    onto = V * np.maximum(sign * W[:, i], 0)  # (n, m): what each neuron adds to each output while x_i = sign
    interference, inhibitor = onto[j, k], int(onto[j].argmin())
    others = np.delete(onto.min(-1), [i, j])
    scale = 1 / np.sqrt(abs(W[k, i] * W[k, j]))
    return Pair(
        model=model,
        neuron=k,
        strong=i,
        weak=j,
        reads=(float(sign * W[k, i] * scale), float(sign * W[k, j] * scale)),
        writes=(float(V[i, k] / scale), float(V[j, k] / scale)),
        inhibitor=inhibitor,
        inhibition=float(-onto[j, inhibitor] / interference),
        left=float(onto[j].sum() / interference),
        elsewhere=float(np.mean(-others >= INHIBITED * interference)) if others.size else np.nan,
    )


def _between(values: np.ndarray, least: float, largest: float) -> np.ndarray:
    return (values >= least) & (values <= largest)
