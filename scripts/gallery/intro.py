"""1. Five features in two dimensions."""

from __future__ import annotations

from reporting import Report

from gallery.study import Runs, arrangement, draw, of_run
from tmsjax import analysis

RUNS: Runs = {"intro": ("intro", [], ["axes.replica.count=20", "train.batch=256"])}


def make(report: Report) -> dict:
    """1. Five features in two dimensions."""
    run = report.run("intro")
    draw(report, "intro")
    measured = analysis.measures(run.dataset)
    best = analysis.best(measured)
    rows = []
    for k, p in enumerate(best["feature_probability"].to_numpy()):
        shape = arrangement(best["W"].isel(feature_probability=k).to_numpy().astype(float))
        every = [arrangement(W.astype(float)) for W in measured["W"].isel(feature_probability=k).to_numpy()]
        rows.append(
            {
                "probability": float(p),
                "best": shape,
                "share": every.count(shape) / len(every),
                "represented": float(measured["represented"].isel(feature_probability=k).mean()),
            }
        )
    return {**of_run(run), "seeds": len(run.spec.axis["replica"]), "rows": rows}
