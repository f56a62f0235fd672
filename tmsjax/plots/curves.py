"""Figures of curves: labelled arrays (series.py) -> matplotlib Figure. Only draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from tmsjax.plots import style
from tmsjax.plots.series import HIGH, LOW, Along, Lines

COLUMNS = 3  # panels in a row
WIDTH, HEIGHT = 3.5, 2.9  # inches, of a panel
LOG_FROM = 30  # ratio of largest to smallest value above which the scale is logarithmic
DARK = "#444444"  # for lines without a colour of their own
BAND = f"{100 * LOW:g} to {100 * HIGH:g} % of models"
FEW = 40  # largest number of positions to draw with markers


def along(shown: Along, title: str) -> Figure:
    """One panel per measure along an axis: one line per series, with models as dots, or as a band if there are many."""
    with rc_context(style.STYLE):
        figure, every = _panels(len(shown.panels), title)
        ranked = shown.axis is None
        dash = "" if ranked or shown.names else "-"  # no lines between names or between models
        for axes, panel in zip(every, shown.panels, strict=True):
            for k, tone in enumerate(_tones(panel, shown.panels)):
                if panel.dots is not None:
                    at = np.repeat(shown.at, panel.dots.shape[-1])
                    axes.plot(at, panel.dots[k].reshape(-1), ".", color=tone, markersize=5, alpha=0.4, mew=0)
                elif not ranked and shown.names:
                    axes.vlines(shown.at, panel.low[k], panel.high[k], color=tone, alpha=0.4, linewidth=4)
                elif not ranked:
                    axes.fill_between(shown.at, panel.low[k], panel.high[k], color=tone, alpha=0.2, linewidth=0)
                mark = "o" if len(shown.at) <= FEW or not dash else ""
                axes.plot(shown.at, panel.middle[k], mark + dash, color=tone, markersize=4, linewidth=1.4)
            _scale_values(axes, panel)
            _scale_positions(axes, shown)
        if not ranked:
            _legend(figure, shown.panels, "lowest loss" if shown.best else "median", dash)
    return figure


def learning(step: np.ndarray, panels: Sequence[Lines], title: str) -> Figure:
    """One panel per measure over the steps of training."""
    with rc_context(style.STYLE):
        figure, every = _panels(len(panels), title)
        for axes, panel in zip(every, panels, strict=True):
            faint = 0.2 if len(panel.series) <= 3 else 0.08  # many bands overlap
            for k, tone in enumerate(_tones(panel, panels)):
                axes.fill_between(step, panel.low[k], panel.high[k], color=tone, alpha=faint, linewidth=0)
                mark = "o-" if len(step) <= FEW else "-"
                axes.plot(step, panel.middle[k], mark, color=tone, markersize=3, linewidth=1.4)
            _scale_values(axes, panel)
            scale_steps(axes, step)
        _legend(figure, panels, "median", "-")
    return figure


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    columns = 2 if count == 4 else min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH * columns + 0.3, HEIGHT * rows + 0.8), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes in every[count:]:
        axes.set_visible(False)
    figure.suptitle(style.wrapped(title, WIDTH * columns), fontsize=10)
    return figure, list(every[:count])


def _tones(panel: Lines, panels: Sequence[Lines]) -> list[Any]:
    """One colour per series. A single series beside panels with several is DARK."""
    count = len(panel.series)
    if count == 1:
        return [style.TONES[0] if all(len(other.series) == 1 for other in panels) else DARK]
    return list(colormaps["viridis"](np.linspace(0, 0.9, count))) if panel.ordered else list(style.TONES[:count])


def _scale_values(axes: Axes, panel: Lines) -> None:
    axes.set_ylabel(panel.label)
    axes.grid(alpha=0.3)
    parts = (panel.middle, panel.low, panel.high, *(() if panel.dots is None else (panel.dots,)))
    drawn = np.concatenate([part[np.isfinite(part)] for part in parts])
    if panel.scale == "count":
        axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.set_ylim(0, 1.06 * max(drawn.max(initial=0), 1))
    elif panel.scale == "log" and drawn.size and drawn.min() > 0 and drawn.max() > LOG_FROM * drawn.min():
        axes.set_yscale("log")


def _scale_positions(axes: Axes, shown: Along) -> None:
    if shown.axis is None:
        axes.set_xlabel("replica, in order of loss")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        return
    axes.set_xlabel(style.label(shown.axis))
    if shown.names is not None:
        some = range(0, len(shown.at), -(-len(shown.at) // 20))
        room = WIDTH * 0.8 / len(some)  # inches
        longest = max(len(name) for name in shown.names)
        texts = [style.wrapped(shown.names[k], max(room, 1.2)) for k in some]
        turned = max(len(line) for text in texts for line in text.split("\n")) * 0.07 > room
        axes.set_xticks(some, texts, rotation=90 if turned else 0, fontsize=8 if longest > 5 else 9)
        axes.set_xlim(-0.5, len(shown.at) - 0.5)
    elif shown.log:
        axes.set_xscale("log")
        if shown.at.max() < LOG_FROM * shown.at.min():  # few powers of ten
            style.plain_log_ticks(axes.xaxis)


def scale_steps(axes: Axes, step: np.ndarray) -> None:
    """A logarithmic scale, with a short linear part at the start if step 0 was recorded."""
    axes.set_xlabel("training step")
    after = step[step > 0]
    if not after.size:
        axes.set_xticks([0])
        return
    if after.size < len(step):
        axes.set_xscale("symlog", linthresh=float(after.min()), linscale=0.4)
        powers = [p for p in 10.0 ** np.arange(10) if after.min() <= p <= after.max()]
        axes.set_xticks([0, *(powers if len(powers) > 1 else after[[0, -1]])])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}" if v < 1e4 else f"$10^{{{np.log10(v):.3g}}}$")
        axes.set_xlim(-0.2 * after.min(), 1.2 * after.max())
        return
    axes.set_xscale("log")
    if after.max() < LOG_FROM * after.min():
        style.plain_log_ticks(axes.xaxis)


def _legend(figure: Figure, panels: Sequence[Lines], line: str, dash: str) -> None:
    """A legend for lines, dots, bands and the names of the series, each once."""
    named: dict[str, Any] = {}
    for panel in panels:
        if len(panel.series) > 1:
            named |= dict(zip(panel.series, _tones(panel, panels), strict=True))
    handles: list[Any] = [Line2D([], [], color=tone, linewidth=2, label=name) for name, tone in named.items()]
    tone = DARK if named else style.TONES[0]
    dots = any(panel.dots is not None for panel in panels)
    bands = any((panel.low < panel.high).any() for panel in panels)
    if dots or bands:  # otherwise each line is one model
        handles.append(Line2D([], [], color=tone, marker="o", linestyle="-" if dash else "", markersize=4, label=line))
    if dots:
        handles.append(Line2D([], [], color=tone, marker=".", linestyle="", alpha=0.5, label="every model"))
    elif bands:
        handles.append(Patch(facecolor=tone, alpha=0.3, label=BAND))
    if handles:
        style.legend_below(figure, handles)
