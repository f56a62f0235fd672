"""3b. The geometry at (400, 30): slow, made only by `--only large`."""

from __future__ import annotations

from reporting import Report

from gallery.geometry import of_study
from gallery.study import FEW, Runs

RUNS: Runs = {"geometry_400_30_slow": ("geometry_400_30_slow", [], ["train.steps=300", "train.batch=256", *FEW])}


def make(report: Report) -> dict:
    """3b. The geometry at (400, 30): slow, made only by `--only large`."""
    return of_study(report, "geometry_400_30_slow")
