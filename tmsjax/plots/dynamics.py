"""Figures of training: records over steps -> W at several steps, an animation, levels of dimensionality; with the loss.

For m = 2, columns of W are vectors in the plane, for m = 3 in an orthographic view of space; for larger m, and for
m = 1, a model is shown as W^T W.

Examples:
    >>> step, W = np.array([1, 10, 100]), np.linspace(0, 1, 3)[:, None, None] * np.array([[1.0, -1.0], [0.0, 0.5]])
    >>> path = tmsjax.plots.dynamics.Path("a model", step, np.array([1.0, 0.5, 0.1]), W)
    >>> type(tmsjax.plots.dynamics.steps([path], "training")).__name__
    'Figure'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch

from tmsjax.analysis import dynamics
from tmsjax.plots import curves, style
from tmsjax.plots.animation import Animation

PANELS = 8  # steps in a row of the figure
ANIMATED = 3  # cells in an animation, the first ones
FRAMES = 80  # of an animation; of more recorded steps a sample is shown
PANEL = 1.45  # inches
LATE = 3.0  # height of the losses after the initial phase that is shown
TURN, TILT = np.deg2rad(25.0), np.deg2rad(20.0)  # of the view of three dimensions


@dataclass(frozen=True)
class Path:
    """One model during training.

    title; step and loss (step,), as recorded; values: W (step, m, n) or dimensionalities (step, n).
    """

    title: str
    step: np.ndarray
    loss: np.ndarray
    values: np.ndarray


def steps(paths: Sequence[Path], title: str, size: int | None = None) -> Figure:
    """One row of panels per path, at equal parts of the way of W^T W, and their losses below with these steps marked.

    `size`: features per set, which have one colour.
    """
    with rc_context(style.STYLE):
        figure = Figure(figsize=(PANEL * PANELS + 0.6, (PANEL + 0.35) * len(paths) + 2.8), layout="constrained")
        grid = figure.add_gridspec(len(paths) + 1, PANELS, height_ratios=[*[PANEL + 0.35] * len(paths), 2.2])
        below, reach = figure.add_subplot(grid[-1, :]), reach_of(paths)
        for row, path in enumerate(paths):
            some = dynamics.spread_steps(path.values, PANELS)
            for column, k in enumerate(some):
                axes = figure.add_subplot(grid[row, column])
                _Model(axes, path.values[0].shape, reach, size).show(path.values[k])
                axes.set_title(f"{chr(97 + column)}: step {path.step[k]:,}", fontsize=8.5)
                if column == 0 and len(paths) > 1:
                    axes.set_ylabel(style.wrapped(path.title, PANEL), fontsize=8)
            _draw_loss(below, path, style.TONES[row], some)
        _finish(figure, below, paths, title, size)
    return figure


def levels(paths: Sequence[Path], title: str) -> Figure:
    """Dimensionalities of all features over the steps, one column per path, and the losses below.

    Jumps after the initial phase (analysis.dynamics) are shaded. The losses of the initial phase are cut off, so that
    later drops show.
    """
    with rc_context(style.STYLE):
        figure = Figure(figsize=(max(6.5, 4.2 * len(paths)), 5.2), layout="constrained")
        every = figure.subplots(2, len(paths), squeeze=False, sharex=True, sharey="row", height_ratios=[1.6, 1])
        for (top, below), path in zip(every.T, paths, strict=True):
            first = dynamics.settled(path.loss)
            for jump in dynamics.jumps(path.values):
                for axes in (top, below) if jump.start >= first else ():
                    axes.axvspan(path.step[jump.start], path.step[jump.stop], color="#e69f00", alpha=0.25, linewidth=0)
            shades = colormaps["viridis"](path.values[-1].argsort().argsort() / max(path.values.shape[1] - 1, 1))
            for curve, shade in zip(path.values.T, shades, strict=True):
                top.plot(path.step, curve, color=shade, linewidth=0.6, alpha=0.8)
            below.plot(path.step, path.loss, color=style.TONES[0], linewidth=1.3)
            top.grid(axis="y", alpha=0.3)
            below.grid(alpha=0.3)
            if len(paths) > 1:
                top.set_title(style.wrapped(path.title, 4.0), fontsize=9)
            if is_even(path.step):
                below.set_xlabel("training step")
            else:
                curves.scale_steps(below, path.step)
        late = max(path.loss[dynamics.settled(path.loss)] for path in paths)
        low = min(path.loss.min() for path in paths)
        if late > low:
            every[1, 0].set_ylim(low - 0.3 * (late - low), low + LATE * (late - low))
        every[0, 0].set_ylabel(r"dimensionality $D_i$")
        every[1, 0].set_ylabel("noise-free loss")
        figure.suptitle(style.wrapped(title, figure.get_figwidth() - 0.5), fontsize=10)
        label = f"jumps of at least {dynamics.JUMP:g} within {dynamics.WINDOW} records, after the initial phase"
        style.legend_below(figure, [Patch(color="#e69f00", alpha=0.25, label=label)])
    return figure


def is_even(step: np.ndarray) -> bool:
    """Whether recorded steps are spread evenly rather than logarithmically."""
    return bool(step[-1] < 4 * np.median(step))


def animation(paths: Sequence[Path], title: str, size: int | None = None) -> Animation:
    """The first paths side by side over the recorded steps, with their losses up to the shown step below."""
    shown = list(paths[:ANIMATED])
    step = shown[0].step
    some = np.unique(np.linspace(0, len(step) - 1, min(FRAMES, len(step))).round().astype(int))
    with rc_context(style.STYLE):
        figure = Figure(figsize=(max(2.6 * len(shown), 3.6) + 0.4, 5.0), layout="constrained")
        grid = figure.add_gridspec(2, len(shown), height_ratios=[2.6, 1.7])
        below = figure.add_subplot(grid[1, :])
        models, dots = [], []
        for column, path in enumerate(shown):
            axes = figure.add_subplot(grid[0, column])
            if len(shown) > 1:
                axes.set_title(style.wrapped(path.title, 2.4), fontsize=8.5)
            models.append(_Model(axes, path.values[0].shape, reach_of(shown), size))
            _draw_loss(below, path, style.TONES[column], [])
            dots.append(below.plot([], [], "o", color=style.TONES[column], markersize=6)[0])
        _finish(figure, below, shown, title, size)
        head = below.set_title("step 0", fontsize=9)

    def draw(frame: int) -> None:
        k = some[frame]
        for path, model, dot in zip(shown, models, dots, strict=True):
            model.show(path.values[k])
            dot.set_data([path.step[k]], [path.loss[k]])
        head.set_text(f"step {step[k]:,}")

    return Animation(figure, draw, len(some))


class _Model:
    """A panel that shows one W after the other: vectors for m = 2 and 3, else W^T W."""

    def __init__(self, axes: Axes, shape: tuple[int, ...], reach: float, size: int | None):
        m, n = shape
        self.spatial = m == 3
        axes.set(xticks=[], yticks=[])
        if m not in (2, 3):
            self.image = axes.imshow(np.zeros((n, n)), cmap="RdBu", vmin=-1, vmax=1, interpolation="nearest")
            return
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="#bbbbbb", linewidth=0.7))
        for end in view(np.eye(3)).T if self.spatial else np.zeros((0, 2)):
            axes.plot([-end[0], end[0]], [-end[1], end[1]], color="#bbbbbb", linewidth=0.6, linestyle=":")
        self.lines = [
            axes.plot([], [], "o-", color=tone, markevery=[1], markersize=4.5, linewidth=1.6)[0]
            for tone in tones(n, size)
        ]

    def show(self, W: np.ndarray) -> None:
        """Shows W (m, n)."""
        if W.shape[0] not in (2, 3):
            self.image.set_data(W.T @ W)
            return
        for line, (x, y) in zip(self.lines, (view(W) if self.spatial else W).T, strict=True):
            line.set_data([0, x], [0, y])


def reach_of(paths: Sequence[Path]) -> float:
    """The largest coordinate to draw: a little more than 1 and than the longest column at any step."""
    lengths = np.concatenate([np.linalg.norm(path.values, axis=1).reshape(-1) for path in paths])
    return 1.12 * float(lengths[np.isfinite(lengths)].max(initial=1.0))


def view(W: np.ndarray) -> np.ndarray:
    """Columns of W (3, n) seen from the first axis, turned to the side and from above: (2, n), right and up."""
    x, y, z = W
    right = -np.sin(TURN) * x + np.cos(TURN) * y
    depth = np.cos(TURN) * x + np.sin(TURN) * y
    return np.stack([right, np.cos(TILT) * z - np.sin(TILT) * depth])


def tones(n: int, size: int | None) -> list[Any]:
    """A colour for each of n features: that of its set of `size` features, or its own."""
    every = style.tones(n if size is None else n // size)
    return [every[k // (size or 1)] for k in range(n)]


def _draw_loss(axes: Axes, path: Path, tone: str, marked: Sequence[int] | np.ndarray) -> None:
    axes.plot(path.step, path.loss, "-", color=tone, linewidth=1.3, label=path.title)
    for letter, k in enumerate(marked):
        axes.plot(path.step[k], path.loss[k], "o", color=tone, markersize=4)
        axes.annotate(
            chr(97 + letter), (path.step[k], path.loss[k]), (2, 3), textcoords="offset points", fontsize=8, color=tone
        )


def _finish(figure: Figure, below: Axes, paths: Sequence[Path], title: str, size: int | None) -> None:
    """Scales and labels of the losses, the title, and the legends."""
    figure.suptitle(style.wrapped(title, figure.get_figwidth() - 0.5), fontsize=10)
    below.set_ylabel("noise-free loss")
    below.set_yscale("log")
    below.margins(y=0.12)
    below.grid(alpha=0.3)
    curves.scale_steps(below, paths[0].step)
    n, m = paths[0].values.shape[-1], paths[0].values.shape[-2]
    if len(paths) > 1:
        below.legend(frameon=False, fontsize=8)
    if m in (2, 3) and n <= 20:
        name, step = ("feature", 1) if size is None else ("set", size)
        some = tones(n, size)[::step]
        handles = [Line2D([], [], color=tone, marker="o", label=f"{name} {k + 1}") for k, tone in enumerate(some)]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)
