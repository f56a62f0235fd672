"""Open questions on non-uniform sparsity: what decides, why features are dropped, if all are represented."""

from __future__ import annotations

import numpy as np
import xarray as xr
from studies.nonuniform import study as nonuniform
from studies.reporting import Report, Study, Sweep
from studies.rule import figures, tables
from studies.rule.predictions import confusion, inputs_of, predicted
from studies.summaries import FEW, SHORT, of_run

from tmsjax import analysis, plots, theory

MEASURED = (
    "rule_5_2",
    "rule_80_20",
    "nonuniform_5_2",
    "nonuniform_80_20",
    "nonuniform_5_2_tied",
    "nonuniform_80_20_tied",
)
CONSTANT = "constant importance"  # a case of the sweeps
QUANTITIES = ("I", "p", "I p", "I v(p)")


def make(report: Report) -> dict:
    measured = {name: analysis.measures(report.run(name).dataset) for name in MEASURED}
    cases = {name: shares(measured[name], CONSTANT) for name in figures.TITLES}
    report.figure("dropped", figures.dropped(cases))
    return {
        "map": of_map(report),
        "tests": {name: of_test(data) for name, data in measured.items() if not name.endswith("tied")},
        "by_probability": {name: by_probability(measured[name]) for name in ("rule_5_2", "rule_80_20")},
        "runs": {name: of_run(report.run(name)) for name in measured},
        "dropped": {name: dropped(data) for name, data in measured.items() if name.startswith("nonuniform_5_2")},
        "worth": of_worth(report),
    }


def of_map(report: Report) -> dict:
    """(a) The phase map of two features over both ratios, compared with both theories."""
    run = report.run("ratios")
    facts = analysis.compare(run)
    trained, theories, _ = analysis.plotted(run, "best")
    report.figure("ratios", plots.run_figures(trained, theories, {})["phase_map"])
    phase = trained["phase"].to_numpy()
    axis = trained["phase"].dims.index("mean_probability")
    means = trained["mean_probability"].to_numpy()
    shared = analysis.TWO_FEATURE_PHASES.index("superposition")
    return {
        **of_run(run),
        "candidate": facts["candidate"]["agreement"],
        "exact": facts["exact"]["agreement"],
        "cells": facts["cells"],
        "mean": means,
        "by_mean": {
            name: [float(np.mean(phase.take(k, axis) == expected.take(k, axis))) for k in range(len(means))]
            for name, expected in theories.items()
        },
        "shared": [float(np.mean(phase.take(k, axis) == shared)) for k in range(len(means))],
    }


def of_test(measured: xr.Dataset) -> dict:
    """How often the classes of features match candidate theory, in the best model of each cell and in all models.

    Leaves out the case "random": its seeds are different problems, so a best model represents none of them.
    """
    if "case" in measured.dims:
        measured = measured.sel(case=[case for case in measured["case"].to_numpy() if case != "random"])
    best = analysis.best(measured)
    expected, found = predicted(best), classes_of(best)
    table = confusion(expected, found)
    every, all_found = predicted(measured), classes_of(measured)
    return {
        "models": int(best["loss"].size),
        "confusion": table,
        **agreement(expected, found),
        "agreement_of_all": agreement(every, all_found)["agreement"],
        "order": {name: ordered(best, name) for name in QUANTITIES},
    }


def agreement(expected: np.ndarray, found: np.ndarray) -> dict:
    """The shares of features of the expected class, and of those represented as expected; skips diverged models."""
    usable = found != analysis.MASKED
    expected, found = expected[usable], found[usable]
    return {
        "agreement": float(np.mean(expected == found)),
        "represented": float(np.mean((expected > 0) == (found > 0))),
    }


def classes_of(measured: xr.Dataset) -> np.ndarray:
    return measured["class"].transpose(*measured["loss"].dims, "feature").to_numpy()


def ordered(measured: xr.Dataset, quantity: str) -> float:
    """The share of pairs in which the represented feature has more of `quantity` than the absent one; ties count half.

    Over all pairs of a represented and an absent feature of one model. One half means no relation.
    """
    importance, p = inputs_of(measured)
    values = {"I": importance, "p": p, "I p": importance * p, "I v(p)": importance * theory.variance(p)}[quantity]
    classes = classes_of(measured)
    held = (classes > 0)[..., :, None] & (classes == 0)[..., None, :]
    rest = values[..., :, None] - values[..., None, :]
    return float(np.mean((np.sign(rest[held].round(12)) + 1) / 2)) if held.any() else np.nan


def by_probability(measured: xr.Dataset) -> dict:
    """Agreement of the best models at each mean probability."""
    best = analysis.best(measured)
    means = best["mean_probability"].to_numpy()
    rows = [best.isel(mean_probability=k) for k in range(len(means))]
    pairs = [(predicted(row), classes_of(row)) for row in rows]
    return {
        "mean": means,
        **{key: [agreement(expected, found)[key] for expected, found in pairs] for key in ("agreement", "represented")},
        "counts": [[float(np.mean((c > 0).sum(-1))) for c in pair] for pair in pairs],
    }


def shares(measured: xr.Dataset, case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one case: probability and share of seeds that represent a feature, both (least, feature), and least (least,).

    `least` is the axis least_probability.
    """
    one = measured.sel(case=case).transpose("least_probability", "replica", ...)
    p = one["instance_feature_probability"].transpose("least_probability", "replica", "feature").to_numpy()[:, 0]
    share = (one["class"].transpose("least_probability", "replica", "feature").to_numpy() > 0).mean(1)
    return p.astype(float), share, one["least_probability"].to_numpy()


def dropped(measured: xr.Dataset) -> dict:
    """(b), (c) At constant importance: the share of seeds that represent each feature, and the best model's classes."""
    p, share, least = shares(measured, CONSTANT)
    best = analysis.best(measured.sel(case=CONSTANT)).transpose("least_probability", ...)
    return {
        "least": least,
        "probability": p,
        "variance": theory.variance(p),
        "share": share,
        "best": classes_of(best),
        "theory": predicted(best),
    }


def of_worth(report: Report) -> dict:
    """(b) If dropping any feature costs the same: how often each is represented, and the classes in theory."""
    run = report.run("equal_worth")
    measured = analysis.measures(run.dataset).transpose("least_probability", "replica", ...)
    best = analysis.best(measured)
    importance, p = inputs_of(best)
    return {
        **of_run(run),
        "least": best["least_probability"].to_numpy(),
        "probability": p,
        "importance": importance,
        "cost": importance * theory.variance(p),
        "share": (classes_of(measured) > 0).mean(1),
        "best": classes_of(best),
        "theory": predicted(best),
    }


STUDY = Study(
    name="rule",
    make=make,
    runs={
        **nonuniform.RUNS,
        "nonuniform_5_2_tied": Sweep(
            nonuniform.SWEEPS["5_2"], ["data.activity=tied"], nonuniform.QUICK_5_2, nonuniform.TINY
        ),
        "nonuniform_80_20_tied": Sweep(
            nonuniform.SWEEPS["80_20"], ["data.activity=tied", "axes.replica.count=2"], SHORT, nonuniform.TINY
        ),
        "equal_worth": Sweep("equal_worth.toml", quick=nonuniform.QUICK_5_2, smallest=nonuniform.TINY),
        "ratios": Sweep(
            "ratios.toml",
            quick=("axes.probability_ratio.count=8", "axes.importance_ratio.count=12"),
            smallest=(
                "axes.probability_ratio.count=3",
                "axes.importance_ratio.count=3",
                "axes.mean_probability.values=[0.02, 0.5]",
                "train.steps=10",
            ),
        ),
        "rule_5_2": Sweep(
            "rule_5_2.toml",
            quick=("axes.order.count=4", "train.steps=2000", "train.batch=256"),
            smallest=("axes.order.count=1", *nonuniform.TINY),
        ),
        "rule_80_20": Sweep("rule_80_20.toml", quick=(*SHORT, *FEW), smallest=nonuniform.TINY),
    },
    tables=tables.TABLES,
    drawn=True,
)
