"""Non-uniform sparsity: four cases and, for comparison, uniform probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.reporting import Report, Study, Sweep, table
from studies.summaries import FEW, SHORT, draw, of_run

from tmsjax import analysis

SIZES = ("5_2", "80_20")
SWEEPS = {"5_2": "sweeps/nonuniform_5_2.toml", "80_20": "scripts/studies/nonuniform/nonuniform_80_20.toml"}
QUICK_5_2 = (*SHORT, "train.learning_rate=5e-3", "axes.replica.count=20")
TINY = ("train.steps=10", "train.batch=16", "axes.replica.count=2")
RUNS = {
    "nonuniform_5_2": Sweep(SWEEPS["5_2"], quick=QUICK_5_2, smallest=TINY),
    "nonuniform_80_20": Sweep(SWEEPS["80_20"], quick=(*SHORT, *FEW), smallest=TINY),
}


def make(report: Report) -> dict:
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


def frobenius(numbers: dict) -> str:
    return of_cases(numbers["n80_20"], [("frobenius_mean", "mean", ".3f"), ("frobenius_max", "max", ".3f")])


def represented(numbers: dict) -> str:
    every = [("represented", "mean", ".1f"), ("represented_most", "max", ".0f"), ("best", "lowest loss", ".0f")]
    return of_cases(numbers["n80_20"], every)


def five(numbers: dict) -> str:
    every = [("represented", "mean", ".2f"), ("best", "lowest loss", ".0f"), ("all", "all five", ".0%")]
    return of_cases(numbers["n5_2"], every)


def of_cases(found: dict, columns: list[tuple[str, str, str]]) -> str:
    """One row per case, with the columns (key, name, format) for each least probability."""
    head = ["case", *(f"p >= {least:g}: {name}" for least in found["least"] for _, name, _ in columns)]

    def shown(key: str, c: int, k: int, form: str) -> str:
        values = found[key][c]
        return "" if values is None else format(values[k], form)

    rows = [
        [case, *(shown(key, c, k, form) for k in range(len(found["least"])) for key, _, form in columns)]
        for c, case in enumerate(found["cases"])
    ]
    return table(head, rows)


STUDY = Study(
    name="nonuniform",
    make=make,
    runs=RUNS,
    tables={"represented": represented, "frobenius": frobenius, "five": five},
    drawn=True,
)
