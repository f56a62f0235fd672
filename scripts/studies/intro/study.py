"""Five features in two dimensions."""

from __future__ import annotations

from studies.reporting import Report, Study, Sweep, table
from studies.summaries import arrangement, draw, of_run

from tmsjax import analysis


def make(report: Report) -> dict:
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


def kinds(numbers: dict) -> str:
    """The best model of each probability, and how many seeds are of that kind."""
    rows = [
        [f"{row['probability']:.3g}", row["best"], f"{row['share']:.0%}", f"{row['represented']:.2f}"]
        for row in numbers["rows"]
    ]
    return table(["feature probability", "best model", "seeds of that kind", "features represented, mean"], rows)


STUDY = Study(
    name="intro",
    make=make,
    runs={
        "intro": Sweep(
            "sweeps/intro.toml",
            quick=("axes.replica.count=20", "train.batch=256"),
            smallest=("axes.replica.count=2", "axes.feature_probability.count=2", "train.steps=20"),
        )
    },
    tables={"kinds": kinds},
    drawn=True,
)
