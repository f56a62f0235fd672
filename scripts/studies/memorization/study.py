"""Memorization and double descent: a finite training set."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.memorization.figures import drawn, drawn_map, drawn_vectors
from studies.memorization.measures import EXACT, mean, measured, of_size
from studies.reporting import Report, Rows, Runs, Study, Sweep, table
from studies.summaries import of_run

SIZES = [30, 60, 100, 200, 400, 1000, 2000, 5000]  # numbers of samples of the map
WIDTHS = (4, 8, 32)  # hidden dimensions of the map beside 2
RATES = [1e-3, 2e-2]  # learning rates beside that of the sweep
FAILED = [100, 400, 1000]  # numbers of samples for these rates
QUICK = ["train.steps=200", "train.batch=32", "model.features=200", "instance.feature_probability=0.05"]
FEWEST = ["model.features=40", "train.steps=20"]


def _sizes(values: list[int]) -> str:
    return f"axes.samples.values={values}"


RUNS: Runs = {
    "memorization": Sweep(
        "sweeps/memorization.toml", [], [*QUICK, _sizes([3, 30, 400, 0]), "axes.replica.count=2"], FEWEST
    ),
    **{
        f"memorization_{m}": Sweep(
            "sweeps/memorization.toml",
            [f"model.hidden={m}", _sizes(SIZES), "axes.replica.count=1"],
            [*QUICK, _sizes([30, 400])],
            "memorization",
        )
        for m in WIDTHS
    },
    "memorization_rates": Sweep(
        "sweeps/memorization.toml",
        [
            _sizes(FAILED),
            "axes.replica.count=1",
            f"axes.learning_rate.values={RATES}",
            'train.learning_rate="learning_rate"',
        ],
        [*QUICK, _sizes([30, 400])],
        FEWEST,
    ),
}


def make(report: Report) -> dict:
    """Memorization and double descent: a finite training set."""
    line = measured(report.run("memorization"))
    widths = {2: line} | {m: measured(report.run(f"memorization_{m}")) for m in WIDTHS}
    rates = measured(report.run("memorization_rates"))
    sizes = [size for size in widths[WIDTHS[0]]["samples"] if size]
    test = np.array([[of_size(found, size, "test").mean() for size in sizes] for found in widths.values()])
    spec = report.run("memorization").spec
    numbers = {
        "runs": {name: of_run(report.run(name)) for name in RUNS},
        "models": sum(report.run(name).spec.instances for name in RUNS),
        "seconds_of_sweeps": sum(of_run(report.run(name))["seconds"] for name in RUNS),
        "features": spec.model.features,
        "active": spec.model.features * float(spec.instance.feature_probability),
        "probability": float(spec.instance.feature_probability),
        "common": spec.model.features * float(spec.instance.feature_probability) ** 2,
        "exact_limit": EXACT,
        "steps": spec.train.steps,
        "spread": float(np.ptp(of_size(line, 400, "train"))) if 400 in line["samples"] else None,
        "batch": spec.train.batch,
        "line": line,
        "at": {str(size): at(line, size) for size in line["samples"]},
        "between": neither(line),
        "epochs": spec.train.steps / np.ceil(max(line["samples"]) / spec.train.batch),
        "regimes": regimes(line),
        "sizes": sizes,
        "widths": list(widths),
        "test": test,
        "peaks": {"along T": inner_peaks(test), "along m": [(i, j) for j, i in inner_peaks(test.T)]},
        "reproduced": [last_reproduced(found) for found in widths.values()],
        "rates": of_rates(line, rates, spec),
    }
    report.figure("memorization_line", drawn(numbers))
    report.figure("memorization_map", drawn_map(numbers))
    report.figure("memorization_vectors", drawn_vectors(report.run("memorization")))
    return numbers


def inner_peaks(values: np.ndarray) -> list[tuple[int, int]]:
    """The largest value of every row (row, column), where it is neither the first nor the last."""
    best = values.argmax(1)
    return [(row, int(column)) for row, column in enumerate(best) if 0 < column < values.shape[1] - 1]


def regimes(found: dict) -> dict:
    """Sizes of the regimes, from means over seeds.

    samples: up to the last size at which samples have a larger typical dimensionality than features; exact: at which
    90% of them are reproduced; features: from the first size after the peak of the test loss at which this is below the
    loss of a model whose output is 0.
    """
    finite = np.array([size > 0 for size in found["samples"]])
    sizes = np.array(found["samples"])[finite]
    test, sample, feature, reproduced, train = (
        mean(found, name)[finite] for name in ("test", "sample", "feature", "reproduced", "train")
    )
    peak = int(test.argmax())
    ahead = np.flatnonzero(sample > feature)
    useful = [k for k in range(peak, len(sizes)) if test[k] < 1]
    exact = np.flatnonzero(reproduced >= 0.9)
    return {
        "samples_until": int(sizes[ahead[-1]]) if len(ahead) else None,
        "exact_until": int(sizes[exact[-1]]) if len(exact) else None,
        "features_from": int(sizes[useful[0]]) if useful else None,
        "peak_at": int(sizes[peak]),
        "peak": test[peak],
        "peak_spread": np.array(found["test"])[finite][peak].tolist(),
        "first": test[0],
        "last": test[-1],
        "fresh": mean(found, "test")[~finite][0] if not finite.all() else None,
        "lowest_train": train.min(),
    }


def at(found: dict, size: int) -> dict[str, float]:
    """Means over seeds for one size; fresh samples have no training set."""
    names = ("test", "feature", "many", "norm", *(("train", "reproduced", "sample") if size else ()))
    return {name: float(of_size(found, size, name).mean()) for name in names}


def neither(found: dict) -> float:
    """The largest mean dimensionality, of samples or features, for 60 to 200 samples."""
    shown = [at(found, size) for size in found["samples"] if 60 <= size <= 200]
    return max((max(one["sample"], one["feature"]) for one in shown), default=float("inf"))


def last_reproduced(found: dict) -> int:
    """The largest training set of which a mean of 90% of the samples are reproduced; 0 for none."""
    good = [size for size, share in zip(found["samples"], mean(found, "reproduced"), strict=True) if share >= 0.9]
    return max(good, default=0)


def of_rates(line: dict, rates: dict, spec: Any) -> dict:
    """Losses by learning rate, on the sizes of `rates`: of one model each, and of the best seed for the own rate."""
    sizes = [size for size in rates["samples"] if size in line["samples"]]
    own = {name: [of_size(line, size, name) for size in sizes] for name in ("train", "test", "sample", "feature")}
    best = [int(np.argmin(train)) for train in own["train"]]
    rows = {name: [row[k] for row, k in zip(values, best, strict=True)] for name, values in own.items()}
    by_rate = {f"{float(spec.train.learning_rate):g}": rows}
    for j, rate in enumerate(RATES):
        by_rate[f"{rate:g}"] = {name: [of_size(rates, size, name)[j] for size in sizes] for name in own}
    ordered = dict(sorted(by_rate.items(), key=lambda item: float(item[0])))
    ends = list(ordered.values())
    return {"sizes": sizes, "by_rate": ordered, "smallest": ends[0], "largest": ends[-1]}


def by_size(numbers: dict) -> str:
    """Losses and dimensionalities of the models with two hidden dimensions."""
    line = numbers["line"]
    rows: Rows = []
    for k, size in enumerate(line["samples"]):
        named = {
            name: mean(line, name)[k] for name in ("train", "test", "reproduced", "sample", "feature", "norm", "many")
        }
        dash = "-"
        rows.append(
            [
                f"{size:,}" if size else "fresh",
                f"{named['train']:.3f}" if size else dash,
                f"{named['test']:.3f}",
                f"{named['reproduced']:.0%}" if size else dash,
                f"{named['sample']:.3f}" if size else dash,
                f"{named['feature']:.3f}",
                f"{named['norm']:.2f}",
                f"{named['many']:g}",
            ]
        )
    head = ["T", "training loss", "test loss", "reproduced", "dimensionality of samples", "of features"]
    return table([*head, "largest norm of a feature", "large features"], rows)


def by_rate(numbers: dict) -> str:
    """Training and test loss by learning rate."""
    found = numbers["rates"]
    rows: Rows = []
    for k, size in enumerate(found["sizes"]):
        cells = [f"{one['train'][k]:.3f} / {one['test'][k]:.3f}" for one in found["by_rate"].values()]
        rows.append([f"{size:,}", *cells])
    return table(["T", *[f"rate {rate}" for rate in found["by_rate"]]], rows)


STUDY = Study("memorization", make, RUNS, {"sizes": by_size, "rates": by_rate}, drawn=True)
