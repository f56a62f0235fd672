"""Bars that are divided into named intervals. Only draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tmsjax.plots import style

PALE = ("#d9d9d9", "#fdae61", "#fee090", "#f4a582", "#8c96c6", "#d9c2e3", "#66c2a5", "#abd9e9")
CHARACTER = 0.058  # inches, width of a character in a segment


@dataclass(frozen=True)
class Segment:
    """An interval of a bar: its ends, its name, and whether what comes after it begins continuously."""

    low: float
    high: float
    name: str
    continuous: bool = False


def intervals(rows: Mapping[str, Sequence[Segment]], families: Mapping[str, str], *, x: str, split: float) -> Figure:
    """One bar per row, first row on top: segments with their names where they fit.

    `x`: its label; logarithmic up to `split`, linear beyond. `families`: part of a name -> name in the legend; the
    first that fits gives a segment's colour.
    """
    tones = dict(zip(families, PALE, strict=False))
    family = {seg.name: next(part for part in families if part in seg.name) for row in rows.values() for seg in row}
    low, high = (f(s for row in rows.values() for seg in row for s in (seg.low, seg.high)) for f in (min, max))
    with rc_context(style.STYLE):
        figure = Figure(figsize=(12.5, 0.46 * len(rows) + 1.5), layout="constrained")
        parts = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.9])
        for axes, (left, right) in zip(parts, ((low, split), (split, high)), strict=True):
            axes.set_xlim(left, right)
            if axes is parts[0]:
                axes.set_xscale("log")
            for k, row in enumerate(rows.values()):
                for seg in row:
                    if seg.high > left and seg.low < right:
                        _segment(axes, k, seg, tones[family[seg.name]])
        parts[0].set_yticks(range(len(rows)), list(rows))
        parts[0].set_ylim(len(rows) - 0.4, -0.6)
        style.plain_log_ticks(parts[0].xaxis)
        parts[0].set(xlabel=f"{x}, logarithmic", ylabel="(n, m)")
        parts[1].set(xlabel=f"{x}, linear")
        shown = [part for part in families if part in family.values()]
        keys: list = [Patch(facecolor=tones[part], edgecolor="#444444", label=families[part]) for part in shown]
        keys += [
            Line2D([], [], color="black", linestyle="-", label="first-order"),
            Line2D([], [], color="black", linestyle=":", label="continuous"),
        ]
        style.legend_below(figure, keys)
    return figure


def _segment(axes: Axes, row: int, seg: Segment, colour: str) -> None:
    """One segment, cut at the limits of the axes; a solid line at its end, or a dotted one if `continuous`."""
    left, right = (float(v) for v in np.clip((seg.low, seg.high), *axes.get_xlim()))
    axes.barh(row, right - left, left=left, height=0.8, color=colour, edgecolor="none")
    if seg.high <= axes.get_xlim()[1]:
        dash, width = (":", 1.4) if seg.continuous else ("-", 1.4)
        axes.plot([right, right], [row - 0.4, row + 0.4], dash, color="black", linewidth=width, solid_capstyle="butt")
    ends = axes.transScale.transform([(left, row), (right, row)])[:, 0]
    limits = axes.transScale.transform([(v, row) for v in axes.get_xlim()])[:, 0]
    share = (ends[1] - ends[0]) / (limits[1] - limits[0])
    room = share * (3.9 if axes.get_xscale() == "log" else 7.4) / CHARACTER
    lines = wrapped_to(seg.name, room)
    if lines:
        middle = axes.transScale.inverted().transform([(ends.mean(), row)])[0, 0]
        axes.text(middle, row, lines, ha="center", va="center", fontsize=6.5, linespacing=0.95)


def wrapped_to(name: str, room: float) -> str:
    """`name` in at most 3 lines of `room` characters, or "" if it does not fit."""
    lines: list[str] = []
    for word in name.split():
        if lines and len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines) if len(lines) <= 3 and max(map(len, lines)) <= room else ""
