"""The 1,000,000-model replication, with independent data and with its accidental data."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies import figures
from studies.phase_changes.cells import grid_of, of_map
from studies.reporting import Report
from studies.summaries import SIGNED_PHASES, signed_phases

from tmsjax import analysis, theory

# Losses per sample in the replication's logs: the last epoch of each of its ten ReLU runs, and of the linear one.
# Each is a total over 100,000 models and over two columns per sample.
PUBLISHED_RELU = (
    29573.837,
    30166.458,
    29744.956,
    30021.857,
    29715.832,
    30079.181,
    29789.046,
    29765.594,
    29861.227,
    29568.698,
)
PUBLISHED_LINEAR = 13163.802
COLUMNS = 2 * 100_000


def make(report: Report) -> dict:
    """The 1,000,000-model replication, with independent data and with its accidental data."""
    runs = {name: report.run(f"zroe1-{name}") for name in ("relu", "relu-tied", "linear", "linear-tied")}
    out: dict[str, Any] = {
        "published": {"relu": np.mean(PUBLISHED_RELU) / COLUMNS, "linear": PUBLISHED_LINEAR / COLUMNS}
    }
    grid = grid_of(runs["relu"].dataset)
    importance, probability = analysis.cell_inputs(runs["relu"].dataset)
    candidate = theory.candidate_weights(importance, probability)
    expected = zroe1_class(candidate)
    # the replication's averages are over 1000 x 100 cells, with importance 0 and probability 0, where trained loss is 0
    cells = len(grid[0]) * len(grid[1])
    share = cells / ((len(grid[0]) + 1) * (len(grid[1]) + 1))
    more_important = np.broadcast_to(np.where(grid[0] < 1, 1, -1), expected.shape)  # linear models keep this one
    maps = {"candidate theory": expected}
    for name, run in runs.items():
        dataset = run.dataset
        ok = dataset["status"].to_numpy() == 0
        loss = float(dataset["loss"].to_numpy()[ok].mean())
        kind = zroe1_class(dataset["W"].to_numpy())
        if "replica" in dataset.dims:
            net = kind.sum(-1)
            kind = np.where(net > 5, 1, np.where(net < -5, -1, 0))
        facts = {
            "models": run.spec.instances,
            "seconds": run.directory.info().seconds_of_training,
            "diverged": int((~ok).sum()),
            "mean_loss": loss,
            "mean_loss_with_zeros": loss * share,
            "agreement": agreement_of(kind, expected if name.startswith("relu") else more_important, grid),
            "neither": np.mean(kind == 0),
        }
        if name.startswith("relu"):
            facts["compare"] = of_map(run)
            facts["by_class"] = {str(k): np.mean(kind[expected == k] == k) for k in (1, 0, -1)}
            maps["replication's vote, independent" if name == "relu" else "replication's vote and data"] = kind
        out[name] = facts
    stored = analysis.stored_exact_map(runs["relu-tied"])
    assert stored is not None
    optimal = signed_phases(stored["W"].to_numpy())
    W, b = stored["W"].to_numpy()[..., 0, :], stored["b"].to_numpy()
    bound = importance.sum(-1) * probability[..., 0] / 6
    dropped = importance.min(-1) * theory.variance(probability[..., 0])
    at_one = int(np.abs(grid[0] - 1).argmin())
    out["tied_optimum"] = {
        "antipodal_cells": int((W[..., 0] * W[..., 1] < -1e-6).sum()),
        "same_sign": np.mean(optimal == SIGNED_PHASES.index("same sign")),
        "least_excess_of_antipodal": np.min(bound / dropped),
        "at_ratio_one": [*np.abs(W[len(grid[1]) // 2, at_one]), *b[len(grid[1]) // 2, at_one]],
    }
    coloured = {name: np.select([v == 1, v == -1], [1, 2], 0) for name, v in maps.items()}
    coloured["exact optimum, replication's data"] = optimal
    coloured["best of 10, independent"] = signed_phases(
        analysis.best(analysis.measures(runs["relu"].dataset))["W"].to_numpy()
    )
    curve = theory.candidate_boundary(grid[0])
    drawn = figures.class_maps(coloured, grid, log=False, curve=curve, names={0: "neither alone"})
    report.figure("zroe1_maps", drawn)
    for name in ("relu", "relu-tied"):
        W = runs[name].dataset["W"].to_numpy()
        antipodal = signed_phases(W) == SIGNED_PHASES.index("antipodal")
        by_importance = antipodal.mean((0, 2))
        out[name]["antipodal_models"] = antipodal.mean()
        out[name]["antipodal_by_importance"] = by_importance
        out[name]["antipodal_at_one"] = by_importance[at_one]
    shares = {
        text: (grid[0], 100 * np.array(out[name]["antipodal_by_importance"]))
        for name, text in (("relu", "independent features"), ("relu-tied", "replication's data"))
    }
    report.figure(
        "zroe1_antipodal",
        figures.lines(
            {"": shares},
            x=figures.IMPORTANCE,
            y="models that end antipodal, %",
            ticks=(0.1, 0.3, 1, 3, 10),
            floor=0,
        ),
    )
    return out


def zroe1_class(W: np.ndarray) -> np.ndarray:
    """1 if |w1| > 0.8 and |w2| < 0.2, -1 for the reverse, else 0: the replication's thresholds."""
    first, second = np.abs(W[..., 0, 0]), np.abs(W[..., 0, 1])
    return ((first > 0.8) & (second < 0.2)).astype(int) - ((first < 0.2) & (second > 0.8))


def agreement_of(kind: np.ndarray, expected: np.ndarray, grid: tuple[np.ndarray, np.ndarray]) -> float:
    """The share of cells of the expected class, without importance 1, where the directions of linear models tie."""
    there = ~np.isclose(grid[0], 1)
    return float(np.mean(kind[:, there] == expected[:, there]))
