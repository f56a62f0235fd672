"""Neurons: a privileged basis, the absolute value, the asymmetric motif."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from studies.neurons import motif, tables
from studies.reporting import Report, Study, Sweep
from studies.summaries import FEW, draw, of_run

from tmsjax import analysis
from tmsjax.analysis import neurons
from tmsjax.kinds import REPLICA, REPRESENTED, SUCCESS, measures

QUICK = ("train.steps=1000", "train.batch=128", "axes.replica.count=40")
TINY = ("train.steps=20", "train.batch=16", "axes.replica.count=2")
ABSOLUTE = {"n3_6": "absolute_value_3_6", "n6_10": "absolute_value_6_10", "n100_40": "absolute_value_100_40"}
PAPER = ((2.0, -0.5), (0.5, 2.0))  # reads and writes of the paper's example of the motif
NEAR = 1.5  # the factor by which each of the four weights may differ from it


def make(report: Report) -> dict:
    out: dict[str, Any] = {"privileged": of_models(report, "privileged_basis") | codes(report)}
    for key, name in ABSOLUTE.items():
        out[key] = of_models(report, name) | absolute(report, name)
    out["motif_models"] = sum(sum(out[key]["with_motif"]) for key in ABSOLUTE)
    return out


def placed(report: Report, name: str) -> xr.Dataset:
    """The neurons of a run over (feature_probability, replica, ...)."""
    return neurons.measured(report.run(name)).transpose("feature_probability", REPLICA, ...)


def of_models(report: Report, name: str) -> dict:
    """Draws the figures; classes of neurons by probability, of the best model and of all."""
    run = report.run(name)
    draw(report, name)
    every = placed(report, name)
    best = analysis.best(every)
    loss = every["loss"].where(every["status"] == 0).to_numpy()
    classes = best["neuron_class"].to_numpy()
    return {
        **of_run(run),
        "seeds": every.sizes[REPLICA],
        "probability": every["feature_probability"].to_numpy(),
        "loss": best["loss"].to_numpy(),
        "reach": (loss <= SUCCESS * np.nanmin(loss, axis=1, keepdims=True)).mean(1),
        "classes": {kind: (classes == k).sum(-1) for k, kind in enumerate(neurons.NEURON_CLASSES)},
        "shares": [motif.shares(one) for one in every["neuron_class"].to_numpy()],
    }


def codes(report: Report) -> dict:
    """Which features polysemantic neurons represent in the best models, and how common such models are.

    Of all models: how many have as many monosemantic neurons as the best, and by how much the lowest loss with each
    number of them exceeds the best.
    """
    every = placed(report, "privileged_basis")
    best = analysis.best(every)
    W, classes = best["reads"].to_numpy(), best["neuron_class"].to_numpy()
    mono = classes == neurons.MONOSEMANTIC
    represented = (measures.norms(W) >= REPRESENTED).sum(-1)
    counts = (every["neuron_class"].to_numpy() == neurons.MONOSEMANTIC).sum(-1)
    loss = every["loss"].where(every["status"] == 0).to_numpy()
    best_loss = np.nanmin(loss, axis=1)
    excess = [
        [float(np.nanmin(row[number == k]) / low - 1) if (number == k).any() else None for k in range(W.shape[-2] + 1)]
        for row, number, low in zip(loss, counts, best_loss, strict=True)
    ]
    return {
        "represented": represented,
        "coded": represented - mono.sum(-1),
        "as_best": (counts == mono.sum(-1)[:, None]).mean(1),
        "excess": excess,  # by number of monosemantic neurons
    }


def absolute(report: Report, name: str) -> dict:
    """Features that have one neuron for either side and no other, and asymmetric motifs.

    dense_floor: the loss at p = 1 if m / 2 features have no loss and the others are their mean; |x| has variance 1/12.
    """
    every = placed(report, name)
    best = analysis.best(every)
    n = every.sizes["feature"]
    both = (motif.sides(every["reads"].to_numpy(), every["neuron_class"].to_numpy()) == 1).all(-1)
    two = (motif.sides(best["reads"].to_numpy(), best["neuron_class"].to_numpy()) == 1).all(-1)
    cells = [every.isel(feature_probability=k) for k in range(every.sizes["feature_probability"])]
    found = [
        motif.asymmetric_pairs(cell["reads"].to_numpy(), cell["writes"].transpose(..., "feature", "hidden").to_numpy())
        for cell in cells
    ]
    return {
        "features": n,
        "dense_floor": best["instance_importance"].to_numpy()[0, every.sizes["hidden"] // 2 :].sum() / 12,
        "two_sided": both.sum(-1).mean(1),
        "complete": (both.sum(-1) == min(n, every.sizes["hidden"] // 2)).mean(1),
        "best_two_sided": two.sum(-1),
    } | motif_numbers(found, every)


def motif_numbers(found: list, every: xr.Dataset) -> dict:
    """Counts of motifs by probability and the weights of all of them together and by probability."""
    loss = every["loss"].where(every["status"] == 0).to_numpy()
    motifs = [[pair for pair in pairs if pair.inhibited] for pairs in found]
    together = [pair for one in motifs for pair in one]
    return {
        "pairs": [len(pairs) for pairs in found],
        "motifs": [len(one) for one in motifs],
        "with_motif": [len({pair.model for pair in one}) for one in motifs],
        "in_best": [
            sum(pair.model == best for pair in one)
            for one, best in zip(motifs, np.nanargmin(loss, axis=1), strict=True)
        ],
        "weights": [weights(one) for one in motifs],
        "together": weights(together),
        "all_pairs": sum(map(len, found)),
        "all_motifs": len(together),
        "not_inhibited": sum(map(len, found)) - len(together),
    }


def weights(motifs: list) -> dict | None:
    """Means and standard deviations of |reads| and writes, and other properties of motifs; None if there are none."""
    if not motifs:
        return None
    reads, writes = np.abs([one.reads for one in motifs]), np.array([one.writes for one in motifs])
    return {
        "reads": reads.mean(0),
        "reads_spread": reads.std(0),
        "writes": writes.mean(0),
        "writes_spread": writes.std(0),
        "opposite": np.mean([one.opposite for one in motifs]),
        "near": np.mean([near_paper(one) for one in motifs]),
        "inhibition": np.mean([one.inhibition for one in motifs]),
        "elsewhere": np.mean([one.elsewhere for one in motifs]),
    }


def near_paper(pair: motif.Pair) -> bool:
    """Whether the four weights are within NEAR of the paper's, apart from the relative sign of the two reads."""
    sign = -1 if pair.opposite else 1
    return pair.near((PAPER[0][0], sign * abs(PAPER[0][1])), PAPER[1], NEAR)


STUDY = Study(
    name="neurons",
    make=make,
    runs={
        "privileged_basis": Sweep(
            "privileged_basis.toml", quick=QUICK, smallest=("axes.feature_probability.values=[0.6, 0.1]", *TINY)
        ),
        "absolute_value_3_6": Sweep("absolute_value_3_6.toml", quick=QUICK, smallest=TINY),
        "absolute_value_6_10": Sweep("sweeps/absolute_value_6_10.toml", quick=QUICK, smallest=TINY),
        "absolute_value_100_40": Sweep(
            "absolute_value_100_40.toml", quick=("train.steps=400", "train.batch=256", *FEW), smallest=TINY
        ),
    },
    tables=tables.TABLES,
    drawn=True,
)
