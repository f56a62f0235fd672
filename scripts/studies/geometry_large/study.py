"""The geometry at (400, 30): slow, made only if it is named."""

from __future__ import annotations

from studies.geometry.study import of_study, polytopes
from studies.reporting import Report, Study, Sweep
from studies.summaries import FEW


def make(report: Report) -> dict:
    return of_study(report, "geometry_400_30_slow")


STUDY = Study(
    name="geometry_large",
    make=make,
    runs={
        "geometry_400_30_slow": Sweep(
            "geometry_400_30_slow.toml",
            quick=("train.steps=300", "train.batch=256", *FEW),
            smallest=("axes.feature_probability.count=2", "train.steps=5", "train.batch=8"),
        )
    },
    tables={"polytopes": polytopes},
    by_request=True,
    drawn=True,
)
