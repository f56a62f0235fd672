"""Shared by all figures: colours, labels of axes and values, ticks, legends, and saving.

Maps use the paper's colours: light grey if the mapped feature is not represented, blue if it has its own dimension, red
if it shares one. Colours interpolate from grey by norm, and from blue to red by superposition.

Examples:
    >>> tmsjax.plots.style.label("init_scale")
    'init scale'
"""

from __future__ import annotations

import io
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tmsjax.errors import RunError
from tmsjax.plots.animation import Animation
from tmsjax.runs import write_whole

GREY, BLUE, RED, HIDDEN = (np.array(to_rgb(c)) for c in ("#e6e6e6", "#2166ac", "#c0392b", "#000000"))
LABELS = {"feature_probability": "feature probability", "extra_importance": "importance of the extra feature"}
SYMBOLS = {"feature_probability": "p", "least_probability": "least p", "mean_probability": "mean p"}
LINES: dict[str, tuple[str, Any]] = {"candidate": ("#000000", "--"), "exact": ("#000000", "-")}
TONES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # colours of series
PHASE_TONES = ("#e1e1e1", "#56b4e9", "#0072b2", "#d55e00")  # none, first only, second only, superposition
DIFFERENCE_TONES = ("#f0f0f0", "#d55e00", "#0072b2", "#000000")  # of analysis.DIFFERENCES
MARKS = "osD^vP*"
STYLE: Any = {"svg.hashsalt": "tmsjax", "font.size": 9, "axes.titlesize": 10, "savefig.dpi": 160}


def colours(norm: np.ndarray, superposition: np.ndarray) -> np.ndarray:
    """RGB (..., 3) for norm and superposition, both clipped to [0, 1]; black for NaN.

    Examples:
        >>> tmsjax.plots.style.colours(np.array([1.0, np.nan]), np.array([0.0, 0.0])).round(2)
        array([[0.13, 0.4 , 0.67],
               [0.  , 0.  , 0.  ]])
    """
    strength = np.clip(norm, 0, 1)[..., None]
    hue = (1 - np.clip(superposition, 0, 1)[..., None]) * BLUE + np.clip(superposition, 0, 1)[..., None] * RED
    return np.where(np.isnan(strength), HIDDEN, (1 - strength) * GREY + strength * hue)


def tones(count: int) -> list[Any]:
    """Colours of `count` series: TONES, or viridis if there are more."""
    if count <= len(TONES):
        return list(TONES[:count])
    return list(colormaps["viridis"](np.linspace(0, 0.95, count)))


def ramp(name: str, count: int = 64) -> list[str]:
    """`count` equally spaced colours of a colour map of matplotlib, as "#rrggbb"."""
    return [to_hex(colour) for colour in colormaps[name](np.linspace(0, 1, count))]


def plain_log_ticks(axis: Axis, values: np.ndarray | None = None, *, wide: bool = False) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, in plain numbers.

    At other round numbers if the range of `values` has fewer than two of them. `wide`: only at powers of ten.
    """
    locator: LogLocator | MaxNLocator = LogLocator(subs=(1,) if wide else (1, 2, 5))
    if values is not None:
        low, high = values.min(), values.max()
        if sum(low <= tick <= high for tick in locator.tick_values(low, high)) < 2:
            locator = MaxNLocator(5)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def outer_labels(every: np.ndarray, count: int) -> None:
    """Hides all but the first `count` axes of a grid; keeps labels only at the left and bottom of the grid."""
    columns = every.shape[1]
    for k, axes in enumerate(every.reshape(-1)):
        axes.set_visible(k < count)
        lowest = k + columns >= count
        axes.tick_params(labelbottom=lowest, labelleft=k % columns == 0)
        if not lowest:
            axes.set_xlabel("")
        if k % columns:
            axes.set_ylabel("")


def save(drawn: Figure | Animation, path: Path) -> list[Path]:
    """Writes `path`.png and `path`.svg, or `path`.gif for an animation, reproducibly, byte for byte.

    `drawn`: the figure or animation. Returns the paths. Raises RunError if one cannot be written.

    Examples:
        >>> [path.name for path in tmsjax.plots.save(tmsjax.plots.phase_map(tmsjax.phase_map(run)), folder / "map")]
        ['map.png', 'map.svg']
    """
    writers: dict[str, Any]
    if isinstance(drawn, Animation):
        writers = {"gif": drawn.write}
    else:
        metadata = {"png": {"Software": None}, "svg": {"Date": None}}
        writers = {kind: partial(drawn.savefig, format=kind, metadata=facts) for kind, facts in metadata.items()}
    written = []
    try:
        with rc_context(STYLE):
            for kind, writer in writers.items():
                written.append(path.with_suffix(f".{kind}"))
                write_whole(written[-1], writer)
    except OSError as error:
        raise RunError(f"{written[-1] if written else path.parent}: cannot be written: {error.strerror}") from error
    return written


def is_figure(value: Any) -> bool:
    """Whether `value` is a matplotlib Figure."""
    return isinstance(value, Figure)


def small_png(figure: Figure, most: int = 100_000) -> bytes:
    """The figure as a PNG, at the highest resolution that fits `most` bytes; the lowest resolution may exceed it."""
    for dpi in (90, 70, 50, 35):
        with rc_context(STYLE), io.BytesIO() as file:
            figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
            data = file.getvalue()
        if len(data) <= most:
            break
    return data


def label(axis: str) -> str:
    """The label of an axis of the sweep.

    Examples:
        >>> tmsjax.plots.style.label("extra_importance"), tmsjax.plots.style.label("init_scale")
        ('importance of the extra feature', 'init scale')
    """
    return LABELS.get(axis, axis.replace("_", " "))


def named(axis: str, value: Any) -> str:
    """The label of one value along an axis: "p = 0.1", or the value itself if it is a name.

    Examples:
        >>> tmsjax.plots.style.named("feature_probability", 0.1)
        'p = 0.1'
    """
    return tick(value) if isinstance(value, str) else f"{SYMBOLS.get(axis, label(axis))} = {tick(value)}"


def tick(value: Any) -> str:
    """The tick label of a value: a number to three digits, or a name with "$" escaped."""
    return value.replace("$", r"\$") if isinstance(value, str) else f"{value:.3g}"


def wrapped(text: str, inches: float) -> str:
    """Wraps a title to a width in inches."""
    return "\n".join(textwrap.fill(line, max(8, int(13 * inches))) for line in text.split("\n"))


def legend_below(figure: Figure, handles: list) -> None:
    """Adds a legend below all panels, in as many columns as fit."""
    widths = [0.07 * len(handle.get_label()) + 0.65 for handle in handles]  # inches
    room = figure.get_figwidth()
    columns = len(handles) if sum(widths) <= room else max(1, int(room / max(widths)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def borders(values: np.ndarray, log: bool) -> np.ndarray:
    """Borders of cells around `values`, halfway between them (in log space if `log`)."""
    v = np.log(values) if log else values
    if len(v) == 1:
        out = np.array([v[0] - 0.5, v[0] + 0.5])
    else:
        middle = (v[1:] + v[:-1]) / 2
        out = np.concatenate([[2 * v[0] - middle[0]], middle, [2 * v[-1] - middle[-1]]])
    return np.exp(out) if log else out


def colour_key(axes: Axes) -> None:
    """Draws the two-dimensional colour legend: norm along y, superposition along x."""
    steps = np.linspace(0, 1, 40)
    superposition, norm = np.meshgrid(steps, steps)
    axes.imshow(colours(norm, superposition), origin="lower", extent=(0, 1, 0, 1), interpolation="nearest")
    axes.set_xlabel("superposition\n" + r"$\sum_{j\neq i}(\hat w_i\cdot W_j)^2$")
    axes.set_ylabel(r"norm $|W_i|$")
    axes.set_xticks([0, 1], ["0", "≥ 1"])
    axes.set_yticks([0, 1], ["0", "≥ 1"])
    axes.set_title("extra feature", fontsize=9)
