"""3. The geometry of superposition: dimensions per feature, and polytopes."""

from __future__ import annotations

import numpy as np
from reporting import Report

from gallery.study import draw, of_run
from tmsjax import features

PLATEAU = 0.03  # D* within this of 1 or 1/2 lies on a plateau


def make(report: Report) -> dict:
    """3. The geometry of superposition: dimensions per feature, and polytopes."""
    return of_study(report, "geometry")


def of_study(report: Report, name: str) -> dict:
    """Figures and numbers of one run of the study."""
    run = report.run(name)
    draw(report, name)
    measured = features.measures(run.dataset)
    best = features.best(measured)
    share = measured["dimensions_per_feature"].transpose("feature_probability", "replica").to_numpy()
    kinds = np.array([features.component_kinds(W)[1] for W in best["W"].to_numpy().astype(float)])
    at = best["dimensions_per_feature"].to_numpy()
    inverse = 1 / best["feature_probability"].to_numpy()
    return {
        **of_run(run),
        "inverse": inverse,
        "best": at,
        "low": share.min(-1),
        "high": share.max(-1),
        "frobenius": best["frobenius"].to_numpy(),
        "kinds": {name: (kinds == k).sum(-1) for k, name in enumerate(features.COMPONENTS)},
        "plateaus": {
            f"{level:g}": [inverse[near].min(), inverse[near].max(), int(near.sum())] if near.any() else None
            for level in (1.0, 0.5)
            for near in [np.abs(at - level) <= PLATEAU]
        },
    }
