"""4. Non-uniform sparsity: four cases and, for comparison, uniform probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from reporting import Report

from gallery.study import FEW, SHORT, Runs, draw, of_run
from tmsjax import analysis

SIZES = ("5_2", "80_20")
RUNS: Runs = {
    "nonuniform_5_2": ("nonuniform_5_2", [], [*SHORT, "train.learning_rate=5e-3", "axes.replica.count=20"]),
    "nonuniform_80_20": ("nonuniform_80_20", [], [*SHORT, *FEW]),
}


def make(report: Report) -> dict:
    """4. Non-uniform sparsity: four cases and, for comparison, uniform probabilities."""
    out: dict[str, Any] = {}
    for size in SIZES:
        run = report.run(f"nonuniform_{size}")
        draw(report, f"nonuniform_{size}")
        measured = analysis.measures(run.dataset).transpose("case", "least_probability", "replica", ...)
        best = analysis.best(measured)
        every = measured["represented"].to_numpy()
        frobenius = measured["frobenius"].to_numpy()
        out[f"n{size}"] = {
            **of_run(run),
            "seeds": every.shape[-1],
            "cases": measured["case"].to_numpy(),
            "least": measured["least_probability"].to_numpy(),
            "represented": np.nanmean(every, axis=-1),
            "represented_most": np.nanmax(every, axis=-1),
            "all": (every == run.spec.model.features).mean(-1),
            "all_most": (every == run.spec.model.features).mean(-1)[:-1].max(),  # without the uniform case
            "best": [
                None if case == "random" else best["represented"].sel(case=case).to_numpy()
                for case in measured["case"].to_numpy()  # seeds of "random" are different problems
            ],
            "frobenius_mean": np.nanmean(frobenius, axis=-1),
            "frobenius_max": np.nanmax(frobenius, axis=-1),
        }
    return out
