"""Figures of the reports: arrays and labels -> matplotlib Figure. Only draws.

Maps of classes and colours show feature probability (y) against the importance of the extra feature (x); their arrays
are (probability, importance). The colours of classes differ in lightness as well as in hue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from studies.summaries import SIGNED_PHASES
from tmsjax.plots import style

CLASS_COLOURS = ("#f2f2f2", "#9ecae1", "#2166ac", "#c0392b", "#fdae61")  # of SIGNED_PHASES
PROBABILITY, IMPORTANCE = "feature probability", "importance of the extra feature"

Grid = tuple[np.ndarray, np.ndarray]  # importance (x) and probability (y), both monotonic


def class_maps(
    maps: Mapping[str, np.ndarray],
    grid: Grid,
    *,
    log: bool = True,
    curve: np.ndarray | None = None,
    names: Mapping[int, str] | None = None,
    x: str = IMPORTANCE,
) -> Figure:
    """Maps of SIGNED_PHASES, side by side.

    `curve`: probability of a boundary at every importance, drawn dashed. `names`: replaces the names of some classes.
    `x`: label of the horizontal axis.
    """
    called = dict(enumerate(SIGNED_PHASES)) | dict(names or {})
    with rc_context(style.STYLE):
        figure = Figure(figsize=(3.1 * len(maps) + 0.4, 3.9), layout="constrained")
        present: set[int] = set()
        norm = BoundaryNorm(np.arange(len(SIGNED_PHASES) + 1) - 0.5, len(SIGNED_PHASES))
        for axes, (name, phases) in zip(_row(figure, len(maps)), maps.items(), strict=True):
            _mesh(axes, grid, phases, log, cmap=ListedColormap(CLASS_COLOURS), norm=norm)
            _boundary(axes, grid, curve)
            axes.set_title(name)
            axes.set_xlabel(x)
            present |= set(np.unique(phases).tolist())
        patches = [Patch(facecolor=CLASS_COLOURS[k], edgecolor="#888888", label=called[k]) for k in sorted(present)]
        figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    return figure


def colour_maps(
    maps: Mapping[str, tuple[np.ndarray, np.ndarray]], grids: Mapping[str, Grid], curves: Mapping[str, np.ndarray]
) -> Figure:
    """Maps of the extra feature's (norm, superposition) in the paper's colours, side by side, some with a curve."""
    with rc_context(style.STYLE):
        figure = Figure(figsize=(3.0 * len(maps) + 1.3, 3.6), layout="constrained")
        parts = figure.subplots(1, len(maps) + 1, width_ratios=[4.0] * len(maps) + [1])
        for k, (axes, (name, (norm, superposition))) in enumerate(zip(parts, maps.items(), strict=False)):
            _mesh(axes, grids[name], style.colours(norm, superposition), True)
            _boundary(axes, grids[name], curves.get(name))
            axes.set_title(name)
            if k:
                axes.set_ylabel("")
        style.colour_key(parts[-1])
    return figure


def share_maps(
    maps: Mapping[str, np.ndarray],
    grid: Grid,
    label: str,
    *,
    columns: int,
    x: str = IMPORTANCE,
    y: str = PROBABILITY,
    ticks: Sequence[float] | None = None,
) -> Figure:
    """Maps of shares in [0, 1], `columns` panels per row. `x`, `y`: labels of the axes. `ticks`: of y."""
    rows = -(-len(maps) // columns)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(2.7 * columns + 1, 2.7 * rows), layout="constrained")
        every = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (name, share) in zip(every.reshape(-1), maps.items(), strict=False):
            mesh = _mesh(axes, grid, share, True, cmap="cividis", vmin=0, vmax=1)
            axes.set(title=name, xlabel=x, ylabel=y)
            if ticks is not None:
                axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
                axes.set_yticks([], minor=True)
        style.outer_labels(every, len(maps))
        figure.colorbar(mesh, ax=every, label=label)
    return figure


def lines(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    *,
    x: str,
    y: str,
    ticks: Sequence[float],
    floor: float | None = None,
    reference: tuple[str, Any, Any] | Mapping[str, tuple[str, Any, Any]] | None = None,
) -> Figure:
    """Curves (x values, y values) by name, in panels with shared axes and logarithmic x.

    `floor`: lower limit of y. `reference`: name, x and y of a dashed line in every panel, or of each panel's own line
    by title.
    """
    dashed = reference if isinstance(reference, Mapping) else dict.fromkeys(panels, reference)
    shared = len({tuple(curves) for curves in panels.values()}) == 1
    with rc_context(style.STYLE):
        figure = Figure(figsize=(3.4 * len(panels) + 0.6, 3.5), layout="constrained")
        every = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (title, curves) in zip(every, panels.items(), strict=True):
            for (name, (at, values)), tone, mark in zip(curves.items(), style.TONES, style.MARKS, strict=False):
                axes.plot(at, values, mark + "-", color=tone, label=name, markersize=3.5)
            if (line := dashed[title]) is not None:
                axes.plot(*line[1:], "--", color="#777777", label=line[0])
            axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.set_xlabel(x)
            axes.set_title(title)
            axes.grid(alpha=0.3)
        every[0].set_ylabel(y)
        every[0].set_ylim(bottom=floor)
        if len(panels) > 3:  # too narrow for a legend
            figure.legend(*every[0].get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False)
        else:
            for axes in every[-1:] if shared else every:
                axes.legend(frameon=True, fontsize=8)
    return figure


@dataclass(frozen=True)
class Panel:
    """Curves over one x axis: name -> (x values, y values).

    `dots`: likewise, drawn without lines; a third array is half the length of error bars. A name in both has one colour
    and the label of its curve.

    `marks`: values of x to mark with a vertical line, by name. `levels`: values of y with a thin line, by name.
    """

    title: str
    x: str
    y: str
    curves: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    dots: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    log: tuple[bool, bool] = (True, False)  # of x and y
    limits: tuple[float | None, float | None] = (None, None)  # of y
    legend: Any = "best"  # its place


def panels(parts: Sequence[Panel], columns: int = 3) -> Figure:
    """Panels side by side, each with its own axes and legend."""
    rows = -(-len(parts) // columns)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(4.0 * min(columns, len(parts)) + 0.3, 3.9 * rows), layout="constrained")
        every = figure.subplots(rows, min(columns, len(parts)), squeeze=False).reshape(-1)
        for axes in every[len(parts) :]:
            axes.set_visible(False)
        for axes, part in zip(every, parts, strict=False):
            _draw_panel(axes, part)
    return figure


def _draw_panel(axes: Axes, part: Panel) -> None:
    names = list(dict.fromkeys([*part.curves, *part.dots]))
    tones = dict(zip(names, style.tones(len(names)), strict=True))
    for k, (name, (at, values)) in enumerate(part.curves.items()):
        axes.plot(at, values, ("-", "--", "-.", ":")[k % 4], color=tones[name], label=name, linewidth=1.6)
    for k, (name, (at, values, *half)) in enumerate(part.dots.items()):
        label = "_" + name if name in part.curves else name  # matplotlib leaves out labels with "_"
        axes.plot(at, values, style.MARKS[k % 7], color=tones[name], label=label, markersize=4, zorder=3)
        if half:
            axes.errorbar(at, values, yerr=half[0], fmt="none", ecolor=tones[name], elinewidth=1, capsize=2)
    for set_scale, log in ((axes.set_xscale, part.log[0]), (axes.set_yscale, part.log[1])):
        if log:
            set_scale("log")
    axes.set_ylim(*part.limits)
    for name, value in part.marks.items():
        axes.axvline(value, color="#777777", linewidth=0.8, linestyle=":")
        axes.annotate(
            name,
            (value, 0.98),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=7,
            ha="right",
            va="top",
            color="#444444",
        )
    for name, value in part.levels.items():
        axes.axhline(value, color="#999999", linewidth=0.7)
        axes.annotate(name, (0.01, value), xycoords=("axes fraction", "data"), fontsize=7, va="bottom", color="#444444")
    if part.log[0]:
        low, high = axes.get_xlim()
        style.plain_log_ticks(axes.xaxis, wide=high > 500 * low)
    axes.set(xlabel=part.x, ylabel=part.y, title=part.title)
    axes.grid(alpha=0.25)
    if part.curves or part.dots:
        axes.legend(frameon=True, framealpha=0.85, fontsize=7, loc=part.legend)


def _row(figure: Figure, count: int) -> Any:
    return figure.subplots(1, count, sharey=True, squeeze=False)[0]


def _mesh(axes: Axes, grid: Grid, values: np.ndarray, log: bool, **options: Any) -> Any:
    x, y = (style.borders(v, log) for v in grid)
    mesh = axes.pcolormesh(x, y, values, rasterized=True, **options)
    if log:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(max(y.min(), 0.0 if not log else y.min()), y.max())
    axes.set_xlabel(IMPORTANCE)
    if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axes.set_ylabel(PROBABILITY)
    return mesh


def _boundary(axes: Axes, grid: Grid, curve: np.ndarray | None) -> None:
    if curve is not None:
        axes.plot(grid[0], curve, color="black", linestyle="--", linewidth=1.1)
