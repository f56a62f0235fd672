"""Figures of the study: maps of the shift, and the shift by its causes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from studies import figures
from studies.training import branches

from tmsjax.plots import style

SCHEDULES = ("constant", "cosine")
SHOWN_RATE = {"adam": 0.02, "adamw": 0.02, "rmsprop": 0.02, "sgd": 0.3}  # at which steps and replicas are compared
SHIFT = "shift in decades of p"


def numbers_of(values: Any) -> np.ndarray:
    """The array of `rounded` numbers, NaN for None."""
    return np.array(values, float)


def nearest(row: dict, value: float) -> int:
    return int(np.abs(np.log(numbers_of(row["value"]) / value)).argmin())


def signed_maps(
    maps: Mapping[str, np.ndarray], grid: figures.Grid, *, columns: int, x: str, y: str, label: str, limit: float
) -> Figure:
    """Maps (y, x) over logarithmic axes, `columns` per row: blue below zero, red above, grey where NaN.

    Clipped at +- `limit`. Cells show their values in thousandths. `label`: of the colours.
    """
    rows = -(-len(maps) // columns)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(3.3 * columns + 0.8, 2.0 * rows + 0.3), layout="constrained")
        every = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        edges = [style.borders(v, True) for v in grid]
        for axes, (name, values) in zip(every.reshape(-1), maps.items(), strict=False):
            axes.set_facecolor("#bbbbbb")
            mesh = axes.pcolormesh(*edges, values, cmap="RdBu_r", vmin=-limit, vmax=limit)
            for (row, column), value in np.ndenumerate(values):
                at = [np.sqrt(edge[k] * edge[k + 1]) for edge, k in zip(edges, (column, row), strict=True)]
                tone = "white" if abs(value) > 0.7 * limit else "black"
                text = "-" if np.isnan(value) else f"{round(1000 * value)}"
                axes.text(*at, text, ha="center", va="center", fontsize=6, color=tone)
            axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=name)
            axes.set_yticks(grid[1], [f"{v:g}" for v in grid[1]])
            axes.set_yticks([], minor=True)
        for axes in every.reshape(-1):
            axes.label_outer()
        figure.colorbar(mesh, ax=every, label=label, extend="both")
    return figure


def drawn_map(numbers: dict) -> Any:
    rows = numbers["groups"]["map"]
    maps: dict[str, np.ndarray] = {}
    for schedule in SCHEDULES:
        for name in dict.fromkeys(row["optimizer"] for row in rows):
            of = [row for row in rows if (row["optimizer"], row["schedule"]) == (name, schedule)]
            maps[f"{name}, {schedule}"] = np.stack([numbers_of(row["shift"]) for row in of])
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    rates = numbers_of(rows[0]["value"])
    return signed_maps(
        maps,
        (rates, np.array(batches, float)),
        columns=len(maps) // 2,
        x="learning rate",
        y="batch",
        label=SHIFT,
        limit=0.03,
    )


def drawn_causes(numbers: dict) -> Any:
    groups, panel = numbers["groups"], figures.Panel
    parts = [
        drawn_decay(panel, groups["decay"], numbers["ratio"]),
        *drawn_noise(panel, [*groups["noise"], *groups["map"]]),
    ]
    parts.insert(1, drawn_decoupled(panel, groups["decay"]))
    parts += [drawn_steps(panel, groups), drawn_replicas(panel, numbers)]
    return figures.panels([part for part in parts if part is not None], columns=3)


def drawn_decay(panel: Callable, rows: list[dict], ratio: Any) -> Any:
    row = next(row for row in rows if row["optimizer"] == "sgd")
    lines, dots = {}, {}
    for k in sorted({0, len(ratio) // 2, len(ratio) - 1}):
        name = f"r = {ratio[k]:.2g}"
        lines[name] = row["value"], numbers_of(row["predicted_penalised"])[:, k]
        dots[name] = row["value"], numbers_of(row["penalised_by_ratio"])[:, k]
    title = "gradient descent with L2 decay, by loss + penalty"
    return panel(title, "weight decay", SHIFT, lines, dots, limits=(-0.2, 0.01), legend="lower left")


def drawn_decoupled(panel: Callable, rows: list[dict]) -> Any:
    lines, dots = {}, {}
    for row in rows:
        word = "exact loss" if row["noise"] == "exact" else f"batch {row['batch']}"
        name = f"{row['optimizer']}, {word}"
        lines[name] = row["value"], numbers_of(row["predicted"]).mean(-1)
        dots[name] = row["value"], numbers_of(row["shift"])
    return panel(
        "decay, by the loss alone", "weight decay", SHIFT, lines, dots, limits=(-0.08, 0.01), legend="lower left"
    )


def drawn_noise(panel: Callable, rows: list[dict]) -> list:
    excess: tuple[dict, dict] = {}, {}
    moved: tuple[dict, dict] = {}, {}
    for row in (row for row in rows if "excess" in row):
        if row["steps"] == rows[0]["steps"]:
            for name in branches.STARTS:
                label = f"{row['optimizer']}, {name}"
                for part, key in zip(excess, ("predicted_excess", "excess"), strict=True):
                    part[label] = row["value"], np.exp(np.log(numbers_of(row[key][name])).mean(-1))
        label = f"{row['optimizer']}, batch {row['batch']}"
        if label not in moved[0] and row["batch"] in (4, 64):
            for part, key in zip(moved, ("predicted_shift", "shift"), strict=True):
                part[label] = row["value"], numbers_of(row[key])
    batch, steps = rows[0]["batch"], rows[0]["steps"]
    return [
        panel(
            f"median excess loss, batch {batch}, {steps} steps",
            "constant learning rate",
            "loss above the minimum",
            *excess,
            log=(True, True),
            limits=(1e-7, 0.1),
        ),
        panel("shift by noise", "constant learning rate", SHIFT, *moved, limits=(-0.08, 0.01), legend="lower left"),
    ]


def drawn_steps(panel: Callable, groups: dict[str, list[dict]]) -> Any:
    curves = {}
    every = [row for row in [*groups["map"], *groups["steps"]] if row["batch"] == 16 and row["schedule"] == "cosine"]
    for name in dict.fromkeys(row["optimizer"] for row in every):
        of = sorted((row for row in every if row["optimizer"] == name), key=lambda row: row["steps"])
        a = nearest(of[0], SHOWN_RATE[name])
        label = f"{name}, rate {of[0]['value'][a]:.2g}"
        curves[label] = [row["steps"] for row in of], numbers_of([row["shift"][a] for row in of])
    return panel("finite training, cosine, batch 16", "steps", SHIFT, curves, curves, legend="lower right")


def drawn_replicas(panel: Callable, numbers: dict) -> Any:
    counts = [*numbers["fewer"], numbers["group"]]
    curves = {}
    for row in numbers["groups"]["map"]:
        if row["batch"] == 16 and row["schedule"] == "cosine":
            a = nearest(row, SHOWN_RATE[row["optimizer"]])
            label = f"{row['optimizer']}, rate {row['value'][a]:.2g}"
            curves[label] = counts, numbers_of([*row["by_count"][a], row["shift"][a]])
    return panel("local minima: best of K, stratified signs", "K", SHIFT, curves, curves, legend="lower right")
