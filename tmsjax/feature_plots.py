"""Figures of features: Dataset -> matplotlib Figure. Nothing is computed or shown here.

Sequential colours are cividis and viridis, diverging ones RdBu; classes and polytopes have colours that differ in
lightness as well as in hue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch

from tmsjax import plots, polytopes
from tmsjax.features import COMPONENTS

CLASS_COLOURS = ("#c8c8c8", "#2166ac", "#e08214")  # of analysis.FEATURE_CLASSES
CLASS_NAMES = ("absent", "dedicated", "shared")
KIND_COLOURS = ("#ffffff", "#000000", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#bdbdbd")  # of COMPONENTS
TONES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKS = "osD^vP*"
PANEL = 1.75  # inches


def vectors(W: np.ndarray, importance: np.ndarray, titles: Sequence[Sequence[str]]) -> Figure:
    """Columns of W (rows, columns, 2, n) as vectors in the plane, one panel each, coloured by importance (..., n)."""
    rows, columns = W.shape[:2]
    wrap = 5 if rows == 1 and columns > 6 else columns
    lines = rows * -(-columns // wrap)
    reach = 1.15 * max(1.0, float(np.abs(W).max()))
    scale = Normalize(min(importance.min(), importance.max() - 1e-3), importance.max())
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(PANEL * wrap + 0.9, (PANEL + 0.25) * lines), layout="constrained")
        every = figure.subplots(lines, wrap, squeeze=False, sharex=True, sharey=True).reshape(-1)
        for axes in every[rows * columns :]:
            axes.set_visible(False)
        flat = zip(every, W.reshape(-1, *W.shape[2:]), importance.reshape(rows * columns, -1), strict=False)
        for (axes, weights, worth), title in zip(flat, [t for row in titles for t in row], strict=True):
            axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="#bbbbbb", linewidth=0.7))
            for column, tone in zip(weights.T, colormaps["viridis"](scale(worth)), strict=True):
                axes.plot([0, column[0]], [0, column[1]], color=tone, linewidth=1.6, solid_capstyle="round")
                axes.plot(*column, "o", color=tone, markersize=4)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
            axes.set_title(title, fontsize=8.5)
        figure.colorbar(_mappable("viridis", scale), ax=every, label="importance", shrink=0.8)
        figure.supxlabel("first hidden dimension", fontsize=9)
        figure.supylabel("second hidden dimension", fontsize=9)
    return figure


def gram(panels: Mapping[str, xr.Dataset]) -> Figure:
    """For each model (W, b, norm, superposition): W^T W with the bias beside it, under it the norms as bars coloured by
    superposition (the paper, section "Basic results")."""
    red_to_blue, light = Normalize(-1, 1), Normalize(0, 1)
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(1.9 * len(panels) + 1.3, 4.2), layout="constrained")
        every = figure.subplots(2, len(panels), squeeze=False, sharey="row", height_ratios=[1.25, 1])
        for (top, bars), (title, model) in zip(every.T, panels.items(), strict=True):
            W = model["W"].to_numpy().astype(float)
            n = W.shape[-1]
            top.imshow(
                W.T @ W, cmap="RdBu", norm=red_to_blue, interpolation="nearest", extent=(0.5, n + 0.5, n + 0.5, 0.5)
            )
            top.set_title(title)
            if "b" in model:
                beside = top.inset_axes((1.04, 0, 0.09, 1))
                beside.imshow(model["b"].to_numpy()[:, None], cmap="RdBu", norm=red_to_blue, aspect="auto")
                beside.set(xticks=[0], yticks=[], xticklabels=["b"])
            tones = colormaps["cividis"](light(np.clip(model["superposition"].to_numpy(), 0, 1)))
            bars.bar(np.arange(1, n + 1), model["norm"].to_numpy(), 0.85, color=tones)
            bars.set_xlabel("feature")
            for axes in (top, bars):
                axes.set_xticks(_ticks(n))
        every[0, 0].set_yticks(_ticks(n))
        every[0, 0].set_ylabel("feature")
        every[1, 0].set_ylabel(r"norm $|W_i|$")
        figure.colorbar(_mappable("RdBu", red_to_blue), ax=every[0].tolist(), label=r"$W^T W$, b", shrink=0.9)
        text = "superposition\n" + r"$\sum_{j\neq i}(\hat w_i\cdot W_j)^2$"
        figure.colorbar(_mappable("cividis", light), ax=every[1].tolist(), label=text, extend="max")
    return figure


def dimensions(measured: xr.Dataset, best: xr.Dataset, probability: np.ndarray) -> Figure:
    """D* over 1/p for every model; dimensionality of every feature of the best models, and its histogram.

    `measured`: of features.measures over (axis[, replica]); `best`: the same without replica; `probability`: (axis,).
    """
    inverse = 1 / probability
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(10.5, 4.0), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.45, 0.5])
        every = measured["dimensions_per_feature"].to_numpy().reshape(len(inverse), -1)
        for column in every.T:
            left.plot(inverse, column, ".", color="#888888", markersize=5)
        left.plot(inverse, best["dimensions_per_feature"], "o-", color="#0072b2", markersize=4)
        for level in (0.5, 1):
            left.axhline(level, color="black", linewidth=0.6, linestyle="--")
        left.set_ylabel(r"dimensions per feature $D^* = m / \|W\|_F^2$")
        left.set_ylim(0, 1.1 * np.nanmax(np.append(every, 1)))
        left.legend(
            handles=[
                Line2D([], [], marker="o", color="#0072b2", markersize=4, label="lowest loss"),
                Line2D([], [], marker=".", color="#888888", linestyle="", label="every seed"),
            ],
            frameon=False,
        )
        values = best["dimensionality"].to_numpy()
        n = values.shape[-1]
        jitter = np.exp(np.log(inverse[-1] / inverse[0]) / max(len(inverse) - 1, 1) * np.linspace(-0.35, 0.35, n))
        middle.plot((inverse[:, None] * jitter).reshape(-1), values.reshape(-1), ".", color="#0072b2", markersize=1.5)
        middle.set_ylabel(r"dimensionality $D_i$ of a feature")
        for axes in (left, middle):
            axes.set_xscale("log")
            axes.set_xlabel("1 / feature probability")
            axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
            axes.set_xticks([], minor=True)
            axes.set_xlim(inverse.min() / 1.15, inverse.max() * 1.15)
        right.hist(
            values[np.isfinite(values)], bins=np.linspace(0, 1.02, 103), orientation="horizontal", color="#0072b2"
        )
        right.set_xscale("log")
        right.set_xlabel("features")
        for axes in (middle, right):
            axes.set_ylim(-0.03, 1.05)
            for name, fraction in (*polytopes.FRACTIONS.items(), ("not represented", "0")):
                axes.axhline(_fraction(fraction), color="black", linewidth=0.6, linestyle="--")
                if axes is right:
                    text = f"{fraction} {name}"
                    axes.annotate(
                        text, (1.03, _fraction(fraction)), xycoords=("axes fraction", "data"), va="center", fontsize=7.5
                    )
        right.tick_params(labelleft=False)
    return figure


def graphs(models: Mapping[str, tuple[np.ndarray, list[np.ndarray], np.ndarray]]) -> Figure:
    """Feature graphs. Each: W (m, n), its components and every feature's kind, of features.component_kinds.

    A component is a ring of its features; edges join features that are not orthogonal, darker the less they are.
    """
    columns = min(4, len(models))
    rows = -(-len(models) // columns)
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(2.7 * columns, 2.8 * rows + 0.4), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for axes in every[len(models) :]:
            axes.set_visible(False)
        present: set[int] = set()
        for axes, (title, (W, parts, kinds)) in zip(every, models.items(), strict=False):
            _draw_graph(axes, W, parts, kinds)
            axes.set_title(title)
            present |= set(kinds[kinds > 0].tolist())
        handles = [
            Line2D(
                [], [], marker="o", linestyle="", color=KIND_COLOURS[k], markeredgecolor="#555555", label=COMPONENTS[k]
            )
            for k in sorted(present)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def norms(best: xr.Dataset, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Norm of every feature as a bar, coloured by interference: absent, dedicated, shared; one panel for each cell.

    `best`: norm, class (row, column, feature) and represented (row, column); names of the rows and columns.
    """
    shape = best["represented"].shape
    position = np.arange(1, best.sizes["feature"] + 1)
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(2.1 * shape[1] + 0.9, 1.35 * shape[0] + 0.9), layout="constrained")
        every = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
        for (i, j), axes in np.ndenumerate(every):
            cell = best.isel(row=i, column=j)
            tones = np.array(CLASS_COLOURS)[np.maximum(cell["class"].to_numpy(), 0)]
            axes.bar(position, cell["norm"].to_numpy(), 0.85, color=tones)
            count = f"{cell['represented'].item():g} represented"
            axes.set_title(f"{columns[j]}\n{count}" if i == 0 and columns[j] else count, fontsize=8)
            if j == 0:
                axes.set_ylabel(rows[i], fontsize=8)
        for axes in every[-1]:
            axes.set_xlabel("feature", fontsize=8)
            axes.set_xticks(_ticks(len(position)))
        figure.supylabel(r"norm $|W_i|$", fontsize=9)
        handles = [Patch(facecolor=c, label=name) for c, name in zip(CLASS_COLOURS, CLASS_NAMES, strict=True)]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def spreads(values: Mapping[str, np.ndarray], columns: Sequence[str], series: Sequence[str]) -> Figure:
    """Of each measure (series, column, model): every model as a dot, their mean as a bar; a panel for each measure.

    `columns`: names along x; `series`: names of what has one colour each.
    """
    with rc_context(plots.STYLE):
        figure = Figure(figsize=(max(4.0, 0.95 * len(columns) + 1.2) * len(values), 3.4), layout="constrained")
        every = figure.subplots(1, len(values), squeeze=False)[0]
        step = 0.8 / len(series)
        for axes, (name, table) in zip(every, values.items(), strict=True):
            for k in range(len(series)):
                tone = TONES[k % len(TONES)]
                at = np.arange(len(columns)) + (k - (len(series) - 1) / 2) * step
                many = table[k]
                axes.plot(np.repeat(at, many.shape[1]), many.reshape(-1), ".", color=tone, markersize=4, alpha=0.5)
                axes.hlines(np.nanmean(many, axis=1), at - step / 2.4, at + step / 2.4, color=tone, linewidth=2)
            axes.set_xticks(np.arange(len(columns)), [c.replace(" ", "\n") for c in columns], fontsize=8)
            axes.set_ylabel(name)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y", alpha=0.3)
        if len(series) > 1:
            handles = [Line2D([], [], color=TONES[k % len(TONES)], label=text) for k, text in enumerate(series)]
            figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _mappable(name: str, scale: Normalize) -> ScalarMappable:
    return ScalarMappable(scale, name)


def _ticks(n: int) -> list[int]:
    """Some features, the first and the last among them, counted from 1."""
    return list(range(1, n + 1)) if n <= 5 else sorted({1, (n + 1) // 2, n})


def _fraction(text: str) -> float:
    above, _, below = text.partition("/")
    return int(above) / int(below or 1)


def _draw_graph(axes: Axes, W: np.ndarray, parts: list[np.ndarray], kinds: np.ndarray) -> None:
    near = np.abs(polytopes.cosines(W))
    place = _rings([len(part) for part in parts])
    for part, corners in zip(parts, place, strict=True):
        i, j = np.triu_indices(len(part), 1)
        strength = near[part[i], part[j]]
        strong = strength >= polytopes.EDGE
        lines = np.stack([corners[i[strong]], corners[j[strong]]], axis=1)
        faint = min(1.0, 60 / max(len(lines), 1))  # so that a large component does not turn black
        shades = np.zeros((len(lines), 4))
        shades[:, 3] = strength[strong] * faint
        axes.add_collection(LineCollection(list(lines), colors=shades, linewidths=0.9, zorder=1))
        tones = [KIND_COLOURS[kind] for kind in kinds[part]]
        axes.scatter(corners[:, 0], corners[:, 1], s=11, c=tones, edgecolors="#555555", linewidths=0.4, zorder=2)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.margins(0.03)


def _rings(sizes: Sequence[int]) -> list[np.ndarray]:
    """Corners (k, 2) of a regular polygon for each component, set in rows beside and under each other."""
    radius = [0.0 if k == 1 else 0.5 * max(1.0, 0.42 * k / np.pi * 2) for k in sizes]
    width = max(np.sqrt(sum((2 * r + 0.9) ** 2 for r in radius)) * 1.05, max((2 * r + 0.9 for r in radius), default=1))
    x = y = height = 0.0
    out = []
    for k, r in zip(sizes, radius, strict=True):
        size = 2 * r + 0.9
        if x + size > width + 1e-9:
            x, y, height = 0.0, y - height, 0.0
        height = max(height, size)
        angle = 2 * np.pi * np.arange(k) / k
        out.append(np.stack([x + size / 2 + r * np.cos(angle), y - size / 2 + r * np.sin(angle)], axis=1))
        x += size
    return out
