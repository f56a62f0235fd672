"""6. Memorization and double descent: a finite training set."""

from __future__ import annotations

from typing import Any

import numpy as np
from gallery.study import Runs, of_run
from reporting import Report, Rows, Tables, table

import tmsjax
from tmsjax import plots
from tmsjax.engine import training_set

SIZES = [8, 30, 60, 100, 200, 400, 1000, 2000, 5000, 10_000]  # numbers of samples of the map
WIDTHS = (4, 6, 8, 12, 16, 32)  # hidden dimensions of the map beside 2
RATES = [1e-3, 2e-2]  # learning rates beside that of the sweep
FAILED = [60, 100, 200, 400, 1000, 2000]  # numbers of samples for these rates
QUICK = ["train.steps=200", "train.batch=32", "model.features=200", "instance.feature_probability=0.05"]


def _sizes(values: list[int]) -> str:
    return f"axes.samples.values={values}"


RUNS: Runs = {
    "memorization": ("memorization", [], [*QUICK, _sizes([3, 30, 400, 0]), "axes.replica.count=2"]),
    **{
        f"memorization_{m}": (
            "memorization",
            [f"model.hidden={m}", _sizes(SIZES), "axes.replica.count=1"],
            [*QUICK, _sizes([30, 400])],
        )
        for m in WIDTHS
    },
    "memorization_rates": (
        "memorization",
        [
            _sizes(FAILED),
            "axes.replica.count=1",
            f"axes.learning_rate.values={RATES}",
            'train.learning_rate="learning_rate"',
        ],
        [*QUICK, _sizes([30, 400])],
    ),
}
