"""Adversarial examples: superposition makes models vulnerable, and training against attacks removes it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from studies.adversarial import attacks, figures
from studies.geometry import study as geometry
from studies.reporting import Report, Rows, Study, Sweep, table
from studies.summaries import SHORT, of_run

from tmsjax import analysis
from tmsjax.kinds import REPRESENTED

BUDGET = 0.1  # of the mean norm of a sample, as in the paper
SAMPLES = 2048  # of (200, 20)
MANY = 2**14  # of (8, 2), where they select among seeds
ALONE = 0.1  # superposition below which a represented feature counts as alone in its dimensions


def make(report: Report) -> dict:
    numbers = {
        "budget": BUDGET,
        "samples": SAMPLES,
        "geometry": vulnerabilities(analysis.best(analysis.measures(report.run("geometry").dataset))),
        "run": of_run(report.run("adversarial")),
        "training": of_training(report.run("adversarial").dataset),
    }
    report.figure("vulnerability", figures.vulnerability(numbers))
    return numbers


def vulnerabilities(best: xr.Dataset) -> dict:
    """Of the best model at each probability: vulnerability by both attacks, features per dimension, correlation.

    Vulnerability is the rise of the loss under attack, over that of the best model without superposition.
    """
    p = best["feature_probability"].to_numpy()
    rows = np.array([vulnerability(best.isel(feature_probability=k), float(q)) for k, q in enumerate(p)])
    per_dimension = 1 / best["dimensions_per_feature"].to_numpy()
    analytic, ascent = rows.T
    return {
        "inverse": 1 / p,
        "analytic": analytic,
        "ascent": ascent,
        "ratio": ascent / analytic,
        "per_dimension": per_dimension,
        "correlation": float(np.corrcoef(analytic, per_dimension)[0, 1]),
        "correlation_ascent": float(np.corrcoef(ascent, per_dimension)[0, 1]),
        "rise": float(analytic.max() / analytic.min()),
        "models": len(p),
        "ratio_most": float((ascent / analytic).max() - 1),
    }


def samples(n: int, p: float, count: int) -> np.ndarray:
    """`count` samples of n features, (count, n), always the same."""
    rng = np.random.default_rng(0)
    return (rng.random((count, n)) < p) * rng.random((count, n))


def vulnerability(model: xr.Dataset, p: float) -> tuple[float, float]:
    """The vulnerability of one model to the analytic attack, and to gradient ascent that starts from it."""
    W = model["W"].transpose("hidden", "feature").to_numpy().astype(float)
    b, importance = (model[name].to_numpy().astype(float) for name in ("b", "instance_importance"))
    m, n = W.shape
    x = samples(n, p, SAMPLES)
    radius = BUDGET * np.linalg.norm(x, axis=1).mean()
    found = []
    for weights, bias in ((W, b), attacks.without_superposition(n, m, p / 2)):
        seen = attacks.analytic(weights, bias, x, importance, radius)
        climbed = attacks.ascent(weights, bias, x, importance, radius, seen)
        plain, *harmed = (attacks.losses(weights, bias, x, importance, s).mean() for s in (x, seen, climbed))
        found.append([harm - plain for harm in harmed])
    return found[0][0] / found[1][0], found[0][1] / found[1][1]


def of_training(dataset: xr.Dataset) -> dict:
    """What the model of lowest attacked loss represents, by probability and budget.

    Returns numbers of features that share dimensions, of features represented, and D*; and the least budget at which
    no represented feature shares dimensions.
    """
    measured = analysis.measures(dataset).transpose("feature_probability", "budget", "replica", ...)
    harmed = xr.DataArray(attacked_losses(measured), dims=("feature_probability", "budget", "replica"))
    best = measured.isel(replica=harmed.argmin("replica"))
    shared = ((best["norm"] >= REPRESENTED) & (best["superposition"] >= ALONE)).sum("feature").to_numpy()
    budget = best["budget"].to_numpy()
    return {
        "p": best["feature_probability"].to_numpy(),
        "budget": budget,
        "shared": shared,
        "represented": best["represented"].to_numpy(),
        "loss": best["loss"].to_numpy(),
        "least": [next((float(b) for b, count in zip(budget, row, strict=True) if not count), None) for row in shared],
    }


def attacked_losses(measured: xr.Dataset) -> np.ndarray:
    """The mean loss of every model under the attack that it was trained against; infinite where it diverged."""
    out = np.full(measured["loss"].shape, np.inf)
    W, b = measured["W"].to_numpy().astype(float), measured["b"].to_numpy().astype(float)
    n = W.shape[-1]
    for cell in np.ndindex(out.shape):
        p, budget = (float(measured[axis][k]) for axis, k in zip(("feature_probability", "budget"), cell, strict=False))
        x = samples(n, p, MANY)
        if np.isfinite(W[cell]).all():
            seen = attacks.analytic(W[cell], b[cell], x, np.ones(n), budget * np.sqrt(n * p / 3))
            out[cell] = attacks.losses(W[cell], b[cell], x, np.ones(n), seen).mean()
    return out


def ratios(numbers: dict) -> str:
    """Attack ratios at each sparsity."""
    found = numbers["geometry"]
    keys = ("inverse", "per_dimension", "analytic", "ascent", "ratio")
    rows: Rows = [[f"{found[key][k]:.3g}" for key in keys] for k in range(len(found["inverse"]))]
    head = ["1/p", "features per dimension, 1/D\\*", "vulnerability", "by gradient ascent", "ascent / analytic"]
    return table(head, rows)


def budgets(numbers: dict) -> str:
    """The least budget of training without shared dimensions."""
    found = numbers["training"]
    rows: Rows = [
        [
            f"{p:.3g}",
            "none of these" if least is None else f"{least:g}",
            f"{found['shared'][k][0]:g}",
            f"{found['represented'][k][0]:g}",
            f"{found['represented'][k][-1]:g}",
        ]
        for k, (p, least) in enumerate(zip(found["p"], found["least"], strict=True))
    ]
    head = ["p", "least budget without superposition", "features that share: no attack", "represented: no attack"]
    return table([*head, "represented: largest budget"], rows)


STUDY = Study(
    name="adversarial",
    make=make,
    runs={
        "geometry": geometry.RUN,
        "adversarial": Sweep(
            "adversarial.toml",
            quick=(
                *SHORT,
                "train.steps=500",
                "axes.replica.count=1",
                "axes.budget.values=[0, 0.05, 0.2, 0.6, 1.5]",
            ),
            smallest=(
                "axes.budget.values=[0, 0.2]",
                "axes.feature_probability.count=2",
                "train.steps=20",
                "train.batch=16",
            ),
        ),
    },
    tables={"ratios": ratios, "budgets": budgets},
    drawn=True,
)
