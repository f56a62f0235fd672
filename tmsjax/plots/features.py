"""Figures of features: weights and measures -> matplotlib Figure. Computes only W^T W and the cosines of graph edges.

Sequential colour maps are cividis and viridis, the diverging one is RdBu. Colours of classes and polytopes differ in
lightness as well as in hue.

Examples:
    >>> W = np.array([[[0.0, 0.9, -0.9], [1.0, -0.5, -0.5]]])  # one cell: m = 2, n = 3
    >>> figure = tmsjax.plots.features.vectors(W, np.ones((1, 3)), ["triangle"], columns=1)
    >>> figure.axes[0].get_title()
    'triangle'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

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
from matplotlib.ticker import NullFormatter

from tmsjax.analysis import COMPONENTS, polytopes
from tmsjax.plots import style
from tmsjax.theory import INTERFERENCE

CLASS_COLOURS = ("#c8c8c8", "#2166ac", "#e08214")  # of pairs.INTERFERENCE
KIND_COLOURS = ("#ffffff", "#000000", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#bdbdbd")  # of COMPONENTS
PANEL = 1.75  # inches


def vectors(
    W: np.ndarray, importance: np.ndarray, titles: Sequence[str], columns: int, size: int | None = None
) -> Figure:
    """Columns of W (cell, 2, n) as vectors in the plane. One panel per cell, `columns` panels per row.

    Coloured by importance (cell, n); if it is the same for all features, by their sets of `size` consecutive features.
    """
    rows = -(-len(W) // columns)
    reach = 1.15 * max(1.0, float(np.nanmax(np.abs(W), initial=0)))
    scale = Normalize(importance.min(), importance.max())
    several = importance.min() < importance.max()
    sets = 1 if several or size is None else W.shape[-1] // size
    tones = np.repeat(style.TONES[:sets], size or 1, axis=0) if 1 < sets <= len(style.TONES) else None
    with rc_context(style.STYLE):
        figure = Figure(figsize=(PANEL * columns + 0.9, (PANEL + 0.25) * rows), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, weights, worth, title in zip(every.reshape(-1), W, importance, titles, strict=False):
            axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="#bbbbbb", linewidth=0.7))
            for column, tone in zip(
                weights.T, colormaps["viridis"](scale(worth)) if tones is None else tones, strict=True
            ):
                axes.plot([0, column[0]], [0, column[1]], color=tone, linewidth=1.6, solid_capstyle="round")
                axes.plot(*column, "o", color=tone, markersize=4)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
            axes.set_title(style.wrapped(title, PANEL), fontsize=8.5)
        style.outer_labels(every, len(W))
        if several:
            figure.colorbar(_mappable("viridis", scale), ax=every, label="importance", shrink=0.8)
        if tones is not None:
            handles = [
                Line2D([], [], color=tone, marker="o", label=f"set {k + 1}")
                for k, tone in enumerate(style.TONES[:sets])
            ]
            figure.legend(handles=handles, loc="outside right upper", frameon=False)
        figure.supxlabel("first hidden dimension", fontsize=9)
        figure.supylabel("second hidden dimension", fontsize=9)
    return figure


def gram(panels: Sequence[tuple[str, xr.Dataset]]) -> Figure:
    """W^T W and the bias of each model, and below them its norms as bars coloured by superposition.

    `panels`: a title and W, b, norm and superposition of each model. Source: the paper, section "Basic results".
    """
    red_to_blue, light = Normalize(-1, 1), Normalize(0, 1)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(1.9 * len(panels) + 1.3, 4.2), layout="constrained")
        every = figure.subplots(2, len(panels), squeeze=False, sharey="row", height_ratios=[1.25, 1])
        for (top, bars), (title, model) in zip(every.T, panels, strict=True):
            W = model["W"].transpose("hidden", "feature").to_numpy().astype(float)
            n = W.shape[-1]
            top.imshow(
                W.T @ W, cmap="RdBu", norm=red_to_blue, interpolation="nearest", extent=(0.5, n + 0.5, n + 0.5, 0.5)
            )
            top.set_title(style.wrapped(title, 1.5))
            if "b" in model:
                beside = top.inset_axes((1.07, 0, 0.09, 1))
                beside.imshow(model["b"].to_numpy()[:, None], cmap="RdBu", norm=red_to_blue, aspect="auto")
                beside.set(xticks=[0], yticks=[], xticklabels=["b"])
            tones = colormaps["cividis"](light(np.clip(model["superposition"].to_numpy(), 0, 1)))
            bars.bar(np.arange(1, n + 1), model["norm"].to_numpy(), _width(n), color=tones)
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


def dimensions(share: np.ndarray, best_share: np.ndarray, values: np.ndarray, probability: np.ndarray) -> Figure:
    """D* against 1/p, and dimensionalities of the best models with their histogram.

    `share` (cell, seed): D* of every model. `best_share` (cell,): that of the best models. `values` (cell, feature):
    dimensionalities of the best models. `probability`: (cell,).
    """
    inverse = 1 / probability
    with rc_context(style.STYLE):
        figure = Figure(figsize=(10.5, 4.0), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.45, 0.5])
        _draw_share(left, inverse, share, best_share)
        n = values.shape[-1]
        jitter = np.exp(np.log(inverse[-1] / inverse[0]) / max(len(inverse) - 1, 1) * np.linspace(-0.35, 0.35, n))
        middle.plot((inverse[:, None] * jitter).reshape(-1), values.reshape(-1), ".", color="#0072b2", markersize=1.5)
        middle.set_ylabel(r"dimensionality $D_i$ of a feature")
        for axes in (left, middle):
            axes.set_xscale("log")
            axes.set_xlabel("1 / feature probability")
            style.plain_log_ticks(axes.xaxis)
            beyond = max(1.15, 1.03 * jitter.max())
            axes.set_xlim(inverse.min() / beyond, inverse.max() * beyond)
        finite = values[np.isfinite(values)]
        right.hist(finite, np.linspace(0, 1.02, 103), orientation="horizontal", color="#0072b2", log=bool(finite.size))
        right.xaxis.set_minor_formatter(NullFormatter())
        right.set_xlabel("features")
        _draw_fractions(middle, right)
    return figure


def _draw_share(axes: Axes, inverse: np.ndarray, share: np.ndarray, best_share: np.ndarray) -> None:
    for column in share.T:
        (dots,) = axes.plot(inverse, column, ".", color="#888888", markersize=5, label="every seed")
    (line,) = axes.plot(inverse, best_share, "o-", color="#0072b2", markersize=4, label="lowest loss")
    for level in (0.5, 1):
        axes.axhline(level, color="black", linewidth=0.6, linestyle="--")
    axes.set_ylabel(r"dimensions per feature $D^* = m / \|W\|_F^2$")
    axes.set_ylim(0, 1.1 * np.clip(share[np.isfinite(share)], 1, 2).max(initial=1))
    axes.legend(handles=[line, dots], frameon=False)


def _draw_fractions(middle: Axes, right: Axes) -> None:
    """Lines at the dimensionalities of polytopes, with names on the right."""
    for name, fraction in (*polytopes.FRACTIONS.items(), ("not represented", "0")):
        level = float(Fraction(fraction))
        for axes in (middle, right):
            axes.axhline(level, color="black", linewidth=0.6, linestyle="--")
        at = (1.03, level - (0.012 if name == "square antiprism" else -0.012 if name == "pentagon" else 0))  # apart
        right.annotate(f"{fraction} {name}", at, xycoords=("axes fraction", "data"), va="center", fontsize=7.5)
    for axes in (middle, right):
        axes.set_ylim(-0.03, 1.05)
    right.tick_params(labelleft=False)


def graphs(models: Sequence[tuple[str, np.ndarray, list[np.ndarray], np.ndarray]]) -> Figure:
    """Feature graphs. Each model: title, W (m, n), and components and kinds from analysis.component_kinds.

    The features of a component are drawn as a ring. Edges join features that are not orthogonal; darker edges have
    larger `|cosines|`.
    """
    columns = min(4, len(models))
    rows = -(-len(models) // columns)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(1.85 * columns, 2.0 * rows + 0.4), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for axes in every[len(models) :]:
            axes.set_visible(False)
        present: set[int] = set()
        for axes, (title, W, parts, kinds) in zip(every, models, strict=False):
            _draw_graph(axes, W, parts, kinds)
            axes.set_title(title)
            present |= set(kinds[kinds > 0].tolist())
        handles = [
            Line2D(
                [], [], marker="o", linestyle="", color=KIND_COLOURS[k], markeredgecolor="#555555", label=COMPONENTS[k]
            )
            for k in sorted(present)
        ]
        style.legend_below(figure, handles)
    return figure


def norms(
    norm: np.ndarray, classes: np.ndarray, titles: Sequence[str], columns: int, rows: Sequence[str] = ()
) -> Figure:
    """Norms of features as bars, coloured by interference (absent, dedicated, shared). One panel per cell.

    `norm`, `classes`: (cell, feature), NaN if all models diverged. `columns`: panels per row. `rows`: names of rows.
    """
    lines = -(-len(norm) // columns)
    position = np.arange(1, norm.shape[-1] + 1)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(2.1 * columns + 0.9, 1.4 * lines + 0.9), layout="constrained")
        every = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes, heights, kinds, title in zip(every.reshape(-1), norm, classes, titles, strict=False):
            axes.bar(position, heights, _width(len(position)), color=np.array(CLASS_COLOURS)[np.maximum(kinds, 0)])
            axes.set_title(style.wrapped(title, 2.0), fontsize=8)
            axes.set_xlabel("feature", fontsize=8)
            axes.set_xticks(_ticks(len(position)))
            axes.set_xlim(0.3, len(position) + 0.7)
        every[0, 0].set_ylim(0, None if np.isfinite(norm).any() else 1)
        for axes, name in zip(every[:, 0], rows, strict=False):
            axes.set_ylabel(style.wrapped(name, 1.3), fontsize=8)
        style.outer_labels(every, len(norm))
        figure.supylabel(r"norm $|W_i|$", fontsize=9)
        handles = [Patch(facecolor=c, label=name) for c, name in zip(CLASS_COLOURS, INTERFERENCE, strict=True)]
        style.legend_below(figure, handles)
    return figure


def spreads(
    values: Mapping[str, np.ndarray], columns: Sequence[str], x: str, series: Sequence[str], label: str
) -> Figure:
    """One panel per measure (series, column, model): every model as a dot, their mean as a bar.

    `columns`: tick labels along the axis labelled `x`. `series`: names of the series, under the legend title `label`.
    """
    count = len(series)
    tones = style.tones(count)
    width = min(12.0, max(4.0, 0.95 * len(columns) + 1.2))
    step = 0.8 / count
    with rc_context(style.STYLE):
        figure = Figure(figsize=(width * len(values) + 1, 3.4), layout="constrained")
        every = figure.subplots(1, len(values), squeeze=False)[0]
        for axes, (name, table) in zip(every, values.items(), strict=True):
            for k, tone in enumerate(tones):
                at = np.arange(len(columns)) + (k - (count - 1) / 2) * step
                many = np.ma.masked_invalid(table[k])
                axes.plot(np.repeat(at, many.shape[1]), many.reshape(-1), ".", color=tone, markersize=4, alpha=0.5)
                axes.hlines(many.mean(axis=1).filled(np.nan), at - step / 2.4, at + step / 2.4, color=tone, linewidth=2)
            some = range(0, len(columns), -(-len(columns) // 12))
            room = (width - 0.8) / min(len(columns), 12)
            axes.set_xticks(some, [style.wrapped(columns[k], room) for k in some], fontsize=8)
            axes.set_xlabel(x)
            axes.set_ylabel(name)
            axes.set_ylim(0, 1.06 * float(np.nanmax(table, initial=0)) or 1)
            axes.grid(axis="y", alpha=0.3)
        if count > 1:
            named = range(0, count, -(-count // 12))
            handles = [Line2D([], [], color=tones[k], label=series[k]) for k in named]
            figure.legend(handles=handles, loc="outside right upper", frameon=False, title=label)
    return figure


def _mappable(name: str, scale: Normalize) -> ScalarMappable:
    return ScalarMappable(scale, name)


def _width(n: int) -> float:
    """The width of bars. Many bars have no gaps, since gaps narrower than a pixel are drawn unevenly."""
    return 0.85 if n <= 40 else 1.0


def _ticks(n: int) -> list[int]:
    """Numbers of some features, counted from 1, including the first and the last."""
    return list(range(1, n + 1)) if n <= 5 else sorted({1, (n + 1) // 2, n})


def _draw_graph(axes: Axes, W: np.ndarray, parts: list[np.ndarray], kinds: np.ndarray) -> None:
    near = np.abs(polytopes.cosines(W))
    place = _rings([len(part) for part in parts])
    for part, corners in zip(parts, place, strict=True):
        i, j = np.triu_indices(len(part), 1)
        strength = near[part[i], part[j]]
        strong = strength >= polytopes.EDGE
        lines = np.stack([corners[i[strong]], corners[j[strong]]], axis=1)
        faint = min(1.0, 60 / max(len(lines), 1))  # keeps large components from turning black
        shades = np.zeros((len(lines), 4))
        shades[:, 3] = strength[strong] * faint
        axes.add_collection(LineCollection(list(lines), colors=shades, linewidths=0.9, zorder=1))
        tones = [KIND_COLOURS[kind] for kind in kinds[part]]
        axes.scatter(corners[:, 0], corners[:, 1], s=11, c=tones, edgecolors="#555555", linewidths=0.4, zorder=2)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.margins(0.03)


def _rings(sizes: Sequence[int]) -> list[np.ndarray]:
    """Corners (k, 2) of a regular polygon for each component; polygons are arranged in rows."""
    radius = [0.0 if k == 1 else max(0.5, 0.134 * k) for k in sizes]  # large ones have 0.84 between adjacent corners
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
