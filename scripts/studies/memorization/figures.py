"""Figures of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from studies import figures
from studies.memorization.measures import mean, training

from tmsjax.plots import features, style

VECTORS = (5, 8, 30, 200, 20_000)  # numbers of samples whose models are drawn
MOST_DRAWN = 60  # vectors in a panel
T = "training samples T"


def drawn(numbers: dict) -> Any:
    line = numbers["line"]
    finite = [k for k, size in enumerate(line["samples"]) if size]
    sizes = np.array(line["samples"])[finite]

    def curve(name: str) -> tuple[Any, Any]:
        return sizes, mean(line, name)[finite]

    panel, share, zero = figures.Panel, "typical dimensionality", {"output 0": 1}
    shares = {"hidden vectors of samples": curve("sample"), "features": curve("feature")}
    ideal = sizes[sizes <= 60]
    shares["2 / T"] = (ideal, 2 / np.maximum(ideal, 2))
    levels = {"2/3": 2 / 3, "2/5": 2 / 5}
    losses = {"fresh samples (test)": curve("test"), "training set": curve("train")}
    rates = numbers["rates"]
    by_rate = {f"rate {rate}": (rates["sizes"], found["test"]) for rate, found in rates["by_rate"].items()}
    marks = {"peak": numbers["regimes"]["peak_at"]}
    return figures.panels(
        [
            panel("whose dimensions", T, share, shares, levels=levels, log=(True, True)),
            panel("loss", T, "loss", losses, marks=marks, levels=zero, limits=(0, None)),
            panel("other learning rates", T, "test loss", by_rate, levels=zero, limits=(0, None)),
        ]
    )


def drawn_map(numbers: dict) -> Any:
    grid = np.array(numbers["sizes"], float), np.array(numbers["widths"], float)
    return loss_map(
        np.array(numbers["test"]),
        grid,
        x=T,
        y="hidden dimensions m",
        label="test loss; 1: output 0",
        peaks={f"largest {name}": cells for name, cells in numbers["peaks"].items()},
        limits=(0.8, 1.2),
    )


def loss_map(
    values: np.ndarray,
    grid: figures.Grid,
    *,
    x: str,
    y: str,
    label: str,
    peaks: Mapping[str, list],
    limits: tuple[float, float],
) -> Figure:
    """A map (y, x) of losses around 1, with the value in every cell. `peaks`: name -> cells (row, column) to frame."""
    with rc_context(style.STYLE):
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        axes = figure.subplots()
        edges = [style.borders(v, True) for v in grid]
        norm = TwoSlopeNorm(1.0, *limits)
        mesh = axes.pcolormesh(*edges, values, cmap="RdBu_r", norm=norm, rasterized=True)
        for (row, column), value in np.ndenumerate(values):
            dark = abs(norm(value) - 0.5) > 0.35
            text = f"{value:.3f}" if value < 2 else f"{value:.1f}"
            at = (grid[0][column], grid[1][row])
            axes.annotate(text, at, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        handles = []
        for k, (name, cells) in enumerate(peaks.items()):
            for row, column in cells:
                (left, right), (low, high) = edges[0][column : column + 2], edges[1][row : row + 2]
                axes.plot(
                    [left, right, right, left, left], [low, low, high, high, low], "--" if k else "-", color="black"
                )
            handles.append(Line2D([], [], color="black", linestyle="--" if k else "-", label=name))
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.set_yticks(grid[1], [f"{v:g}" for v in grid[1]])
        axes.set_yticks([], minor=True)
        style.plain_log_ticks(axes.xaxis)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        figure.colorbar(mesh, ax=axes, label=label, extend="both")
    return figure


def drawn_vectors(run: Any) -> Any:
    """Top: hidden vectors of the training samples; bottom: features, the longest of each. First seed."""
    dataset = run.dataset.isel(replica=0).transpose("samples", "hidden", "feature", ...)
    sizes = [int(size) for size in run.spec.axis["samples"].values]
    shown = [size for size in VECTORS if size in sizes]
    parts, titles = [], []
    for kind in ("samples", "features"):
        for size in shown:
            W = dataset["W"].to_numpy()[sizes.index(size)].astype(float)
            vectors = W.T if kind == "features" else training(run.spec, sizes.index(size), "replica", 0) @ W.T
            parts.append(longest(vectors))
            titles.append(f"T = {size:,}: {kind}")
    return features.vectors(np.array(parts), np.ones((len(parts), MOST_DRAWN)), titles, columns=len(shown))


def longest(vectors: np.ndarray) -> np.ndarray:
    """The longest vectors of (k, 2) as columns (2, MOST_DRAWN), in units of the longest; zeros if there are fewer."""
    out = np.zeros((2, MOST_DRAWN))
    order = np.argsort(-np.linalg.norm(vectors, axis=1))[:MOST_DRAWN]
    if len(order):
        out[:, : len(order)] = vectors[order].T / max(np.linalg.norm(vectors[order[0]]), 1e-12)
    return out
