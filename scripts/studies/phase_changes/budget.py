"""Agreement with exact theory against steps, batch, schedule and learning rate."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path

import numpy as np
from studies import figures
from studies.phase_changes.cells import cells_of, grid_of
from studies.reporting import Report

import tmsjax
from tmsjax import analysis, theory
from tmsjax.runs import write_json
from tmsjax.spec import json_copy

COARSE = ["axes.feature_probability.count=12", "axes.extra_importance.count=12", "train.steps=2000"]
FEWEST = ["axes.feature_probability.count=4", "axes.extra_importance.count=4", "axes.replica.count=2"]
STEPS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (4, 16, 64, 256)
SCHEDULES = ("constant", "linear", "cosine")
TWO_FEATURES = analysis.Layout("feature_probability", "extra_importance", 1, analysis.TWO_FEATURE_PHASES)


def make(report: Report) -> dict:
    """Agreement with exact theory against steps, batch, schedule and learning rate."""
    steps, batches = report.choose((STEPS, BATCHES), (STEPS[2:4], BATCHES[1:3]), (STEPS[:1], BATCHES[1:2]))
    schedules = report.choose(SCHEDULES, SCHEDULES, SCHEDULES[-1:])
    rows: list[dict] = []
    start = time.monotonic()
    for schedule in schedules:
        for batch in batches:
            for count in steps:
                found = one_budget(report, schedule, batch, count)
                at = {"schedule": schedule, "batch": batch, "steps": count, "samples": batch * count}
                rows += [{**at, **row} for row in found]
                text = ", ".join(f"{row['agreement']:.1%} at {row['rate']:g}" for row in found)
                print(
                    f"  {schedule}, batch {batch}, {count} steps: {text}  ({time.monotonic() - start:.0f} s)",
                    flush=True,
                )

    def best(schedule: str, batch: int) -> list[float]:
        of = [row for row in rows if (row["schedule"], row["batch"]) == (schedule, batch)]
        return [100 * max(row["agreement"] for row in of if row["steps"] == count) for count in steps]

    panels = {f"{s} schedule": {f"batch {b}": (steps, best(s, b)) for b in batches} for s in schedules}
    drawn = figures.lines(panels, x="steps", y="cells as in exact theory, %", ticks=steps[::2])
    report.figure("budget", drawn)
    least = {}
    for schedule in schedules:
        enough = [row for row in rows if row["schedule"] == schedule and row["agreement"] >= 0.99]
        least[schedule] = {
            "samples": min(enough, key=lambda row: (row["samples"], row["steps"]), default=None),
            "steps": min(enough, key=lambda row: (row["steps"], row["samples"]), default=None),
        }
    training = sum(row["seconds"] for row in rows) / len({row["rate"] for row in rows})
    sizes = {"cells": rows[0]["cells"], "replicas": rows[0]["replicas"]}
    return {"rows": rows, "least": least, **sizes, "seconds_of_training": training}


def one_budget(report: Report, schedule: str, batch: int, steps: int) -> list[dict]:
    """Agreement at every learning rate; cached in the folder budgets by the spec's hash."""
    changes = [*(report.choose([], COARSE[:2], [*COARSE[:2], *FEWEST])), f"train.steps={steps}", f"train.batch={batch}"]
    spec = tmsjax.load_spec(Path(__file__).with_name("budget.toml"), [*changes, f"train.schedule={schedule}"])
    path = report.folder / "budgets" / f"{spec.hash[:16]}.json"
    if path.exists():
        return json.loads(path.read_text())
    start = time.monotonic()
    dataset = tmsjax.run_sweep(spec).dataset
    seconds = time.monotonic() - start
    phase = analysis.phase_map(dataset)["phase"].to_numpy()
    expected = exact_phases(*(v.tobytes() for v in grid_of(dataset)))
    shape = {"cells": phase[0].size, "replicas": len(spec.axis["replica"]), "seconds": seconds}
    rates = dataset["learning_rate"].to_numpy()
    rows = [{"rate": r, "agreement": np.mean(phase[k] == expected), **shape} for k, r in enumerate(rates)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, json_copy(rows))
    return rows


@cache
def exact_phases(importance: bytes, probability: bytes) -> np.ndarray:
    """The exact phases of a grid, given as the bytes of its float64 coordinates."""
    grid = np.frombuffer(importance), np.frombuffer(probability)
    W = theory.exact_optimum(*cells_of(grid)).W.reshape(len(grid[1]), len(grid[0]), 1, 2)
    return analysis.phases_of(W, TWO_FEATURES)
