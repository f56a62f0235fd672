"""The geometry of superposition: dimensions per feature, and polytopes."""

from __future__ import annotations

import numpy as np
from studies.reporting import Report, Study, Sweep, table
from studies.summaries import FEW, draw, of_run

from tmsjax import analysis
from tmsjax.kinds import REPRESENTED, measures

PLATEAU = 0.03  # a D* this close to 1 or 1/2 counts as on a plateau
RUN = Sweep(
    "sweeps/geometry.toml",
    quick=("train.steps=1000", "train.batch=256", "train.learning_rate=5e-3", *FEW),
    smallest=("axes.feature_probability.count=2", "train.steps=10", "train.batch=16"),
)


def make(report: Report) -> dict:
    return of_study(report, "geometry")


def of_study(report: Report, name: str) -> dict:
    """Draws the figures and returns the numbers of one geometry run."""
    run = report.run(name)
    draw(report, name)
    measured = analysis.measures(run.dataset)
    best = analysis.best(measured)
    share = measured["dimensions_per_feature"].transpose("feature_probability", "replica").to_numpy()
    kinds = np.array([analysis.component_kinds(W)[1] for W in best["W"].to_numpy().astype(float)])
    at = best["dimensions_per_feature"].to_numpy()
    digon = analysis.COMPONENTS.index("digon")
    paired = np.array([set(row[row > 0]) == {digon} for row in kinds])  # models with antipodal pairs only
    left = np.array([leftover(W) for W in best["W"].to_numpy().astype(float)[paired]]).reshape(-1, 2)
    inverse = 1 / best["feature_probability"].to_numpy()
    return {
        **of_run(run),
        "inverse": inverse,
        "best": at,
        "low": share.min(-1),
        "high": share.max(-1),
        "frobenius": best["frobenius"].to_numpy(),
        "paired": [inverse[paired].min(initial=np.inf), inverse[paired].max(initial=0)],
        "leftover_one_sign": left[:, 0].min(initial=1),
        "leftover_length": [left[:, 1].min(initial=np.inf), left[:, 1].max(initial=0)],
        "kinds": {name: (kinds == k).sum(-1) for k, name in enumerate(analysis.COMPONENTS)},
        "plateaus": {
            name: [inverse[near].min(), inverse[near].max(), int(near.sum())] if near.any() else None
            for name, level in (("one", 1.0), ("half", 0.5))
            for near in [np.abs(at - level) <= PLATEAU]
        },
    }


def leftover(W: np.ndarray) -> tuple[float, float]:
    """Two facts about the features of a model W (m, n) that are not represented; NaN if there are none.

    The share that points to one side along their principal direction, and their joint length along it (their largest
    singular value, 1 for a dimension of their own).
    """
    rest = W[:, measures.norms(W) < REPRESENTED]
    if not rest.size:
        return np.nan, np.nan
    _, size, along = np.linalg.svd(rest, full_matrices=False)
    positive = float(np.mean(along[0] > 0))
    return max(positive, 1 - positive), float(size[0])


def polytopes(numbers: dict) -> str:
    """D* and the components of the best models by 1/p."""
    some = [name for name, counts in numbers["kinds"].items() if any(counts)]
    rows = []
    for k, inverse in enumerate(numbers["inverse"]):
        spread = f"{numbers['low'][k]:.3f} to {numbers['high'][k]:.3f}"
        counts = [str(numbers["kinds"][name][k]) for name in some]
        rows.append([f"{inverse:.3g}", f"{numbers['best'][k]:.3f}", spread, *counts])
    return table(["1/p", "D\\*", "D\\* of all seeds", *some], rows)


STUDY = Study(name="geometry", make=make, runs={"geometry": RUN}, tables={"polytopes": polytopes}, drawn=True)
