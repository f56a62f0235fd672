"""Figures of neurons: the weights of each one as a stack of rectangles. Arrays -> matplotlib Figure; computes nothing.

As in the paper's section "Superposition in a privileged basis".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tmsjax.analysis import neurons
from tmsjax.plots import style

SHADES = {"monosemantic": "#dfe9f5", "polysemantic": "#ffffff", "dead": "#d0d0d0"}  # behind each neuron
WIDTH = 11.0  # inches of a row of panels
SMALL = 0.01  # share of a row's height below which weights are drawn as one rectangle
REST = "#9a9a9a"


def stacks(
    weights: np.ndarray, kinds: Sequence[np.ndarray], titles: Sequence[str], columns: int, wrap: bool, verb: str
) -> Figure:
    """One panel per model (cell, m, n) and one stack per neuron.

    A stack is the |weights| that a neuron reads or writes (`verb`), positive ones upwards, negative ones downwards,
    coloured by feature. `kinds`: classes of its neurons (analysis.neurons), shown as shades behind them and counted in
    the titles.

    `columns` panels per row; `wrap`: as many as fit instead.
    """
    m, n = weights.shape[1:]
    width = float(np.clip(0.6 + 0.13 * m, 1.9, 5.2))
    columns = max(1, min(len(weights), int(WIDTH / width))) if wrap else columns
    rows = -(-len(weights) // columns)
    tones = style.tones(n)
    with rc_context(style.STYLE):
        figure = Figure(figsize=(width * columns + 0.9, 1.95 * rows + 0.5), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
        merged = False
        for k, (axes, model, classes, title) in enumerate(zip(every.reshape(-1), weights, kinds, titles, strict=False)):
            row = weights[k - k % columns : k - k % columns + columns]
            high, low = (np.clip(sign * row, 0, None).sum(-1).max(initial=0) for sign in (1, -1))
            room = max(high + low, 1e-9)
            merged |= _draw_stacks(axes, model, tones, SMALL * room)
            _shade(axes, classes)
            axes.set(xlim=(0.5, m + 0.5), ylim=(-low - 0.05 * room, high + 0.05 * room), xlabel="neuron")
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
            count = int((classes == neurons.MONOSEMANTIC).sum())
            axes.set_title(style.wrapped(f"{title}\n{count} of {m} monosemantic".strip(), width), fontsize=8.5)
        style.outer_labels(every, len(weights))
        text = f"|weights| that a neuron {verb},", "downwards if negative"
        figure.supylabel((" " if len(every) > 1 else "\n").join(text), fontsize=9)
        _explain(figure, every, tones, {int(kind) for one in kinds for kind in one}, merged)
    return figure


def _draw_stacks(axes: Axes, model: np.ndarray, tones: Sequence, least: float) -> bool:
    """Draws one rectangle per weight of `model` (m, n), and a grey one for a neuron's weights smaller than `least`.

    Returns whether any are drawn in grey.
    """
    corners, colours = [], []
    merged = False
    for sign in (1, -1):
        heights = np.clip(sign * model, 0, None)
        rest = np.where(heights < least, heights, 0).sum(-1, keepdims=True)
        heights = np.concatenate([np.where(heights < least, 0, heights), rest], axis=-1)
        tops = heights.cumsum(-1)
        merged |= bool((rest >= least).any())
        for k, i in np.argwhere(heights > 0):
            top, bottom = sign * tops[k, i], sign * (tops[k, i] - heights[k, i])
            left, right = k + 0.6, k + 1.4
            corners.append([(left, bottom), (right, bottom), (right, top), (left, top)])
            colours.append(tones[i] if i < len(tones) else REST)
    edge = 0.4 if len(model) <= 20 else 0.0
    axes.add_collection(PolyCollection(corners, facecolors=colours, edgecolors="white", linewidths=edge, zorder=2))
    axes.axhline(0, color="black", linewidth=0.6, zorder=3)
    return merged


def _shade(axes: Axes, classes: np.ndarray) -> None:
    for k, kind in enumerate(classes):
        if kind >= 0:
            axes.axvspan(k + 0.5, k + 1.5, color=SHADES[neurons.NEURON_CLASSES[kind]], linewidth=0, zorder=0)


def _explain(figure: Figure, every: np.ndarray, tones: Sequence, present: set[int], merged: bool) -> None:
    """Adds a legend of features, or a colour bar if there are many, and of the shades of neurons."""
    n = len(tones)
    shades = [
        Patch(facecolor=SHADES[name], edgecolor="#999999", label=f"{name} neuron")
        for k, name in enumerate(neurons.NEURON_CLASSES)
        if k in present
    ]
    if merged:
        shades.append(Patch(facecolor=REST, label="smaller weights"))
    features = [Patch(facecolor=tone, label=f"feature {i + 1}") for i, tone in enumerate(tones)]
    if n > len(style.TONES):
        features = []
        scale = ScalarMappable(Normalize(0.5, n + 0.5), ListedColormap(tones))
        figure.colorbar(scale, ax=every, label="feature", ticks=MaxNLocator(8, integer=True), shrink=0.8)
    style.legend_below(figure, [*features, *shades])
