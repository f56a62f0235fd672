"""Figures of phase maps and of speed: Dataset -> matplotlib Figure. Nothing is computed or shown here.

Colours of a map, as in the paper: light grey where the mapped feature is not represented, blue where it has a
dimension of its own, red where it shares one; norm sets how far from grey, superposition how far from blue to red.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tmsjax import analysis, metrics
from tmsjax.files import RunError

GREY, BLUE, RED, HIDDEN = (np.array(to_rgb(c)) for c in ("#e6e6e6", "#2166ac", "#c0392b", "#000000"))
LABELS = {"feature_probability": "feature probability", "extra_importance": "importance of the extra feature"}
SYMBOLS = {"feature_probability": "p", "least_probability": "least p", "mean_probability": "mean p"}
LINES: dict[str, tuple[str, Any]] = {"candidate": ("#000000", "--"), "exact": ("#000000", "-")}
TONES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # of series
MARKS = "osD^vP*"
STYLE: Any = {"svg.hashsalt": "tmsjax", "font.size": 9, "axes.titlesize": 10, "savefig.dpi": 160}


def colours(norm: np.ndarray, superposition: np.ndarray) -> np.ndarray:
    """RGB (..., 3) of norm and superposition, each clipped to [0, 1]; black where NaN."""
    strength = np.clip(norm, 0, 1)[..., None]
    hue = (1 - np.clip(superposition, 0, 1)[..., None]) * BLUE + np.clip(superposition, 0, 1)[..., None] * RED
    return np.where(np.isnan(strength), HIDDEN, (1 - strength) * GREY + strength * hue)


def phase_map(trained: xr.Dataset, theories: dict[str, np.ndarray] | None = None) -> Figure:
    """The trained map of one feature's norm and superposition, with theory's boundaries drawn over it.

    `trained`: of analysis.phase_map, over two axes of numbers (RunError else; a third axis: `facets`); `theories`:
    phases by name, as comparison.theory_phases gives them.
    """
    if not analysis.is_map(trained):
        have = ", ".join(map(str, trained["phase"].dims)) or "none"
        raise RunError(f"a phase map needs two axes of numbers in rising or falling order; it has: {have}")
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes, key = figure.subplots(1, 2, width_ratios=[4.2, 1])
        _draw_colours(axes, trained, _norm(trained), _superposition(trained))
        _draw_boundaries(axes, trained, theories or {})
        spec = analysis.spec_of(trained)
        axes.set_title(f"{spec.name}: trained, {_selection(trained)}")
        colour_key(key)
    return figure


def facets(trained: xr.Dataset, theories: dict[str, np.ndarray], axis: str) -> Figure:
    """The map of each value of a third axis, with theory's boundaries."""
    values = trained[axis].to_numpy()
    columns = min(3, len(values))
    rows = -(-len(values) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.3 * columns + 1.4, 3.1 * rows), layout="constrained")
        parts: Any = figure.subfigures(1, 2, width_ratios=[3.3 * columns, 1.4])
        left, right = parts
        every = left.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for k, (axes, value) in enumerate(zip(every.reshape(-1), values.tolist(), strict=False)):
            one = trained.isel({axis: k})
            _draw_colours(axes, one, _norm(one), _superposition(one))
            cut = {name: t.take(k, trained["phase"].dims.index(axis)) for name, t in theories.items()}
            _draw_boundaries(axes, one, cut, legend=False)
            axes.set_title(named(axis, value))
        outer_labels(every, len(values))
        handles = [Line2D([], [], color=LINES[t][0], linestyle=LINES[t][1], label=f"{t} theory") for t in theories]
        if handles:
            every[0, 0].legend(handles=handles, loc="lower right", framealpha=0.9)
        colour_key(right.subplots())
    return figure


def plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten, written out."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def outer_labels(every: np.ndarray, count: int) -> None:
    """Of a grid of axes keeps the first `count`, with labels at the left and below the lowest of each column only."""
    columns = every.shape[1]
    for k, axes in enumerate(every.reshape(-1)):
        axes.set_visible(k < count)
        lowest = k + columns >= count
        axes.tick_params(labelbottom=lowest, labelleft=k % columns == 0)
        if not lowest:
            axes.set_xlabel("")
        if k % columns:
            axes.set_ylabel("")


def panels(trained: xr.Dataset, theories: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> Figure:
    """The same map from each theory's weights W (y, x, m, n) and from training, side by side."""
    shown = analysis.layout(analysis.spec_of(trained))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * (len(weights) + 1) + 1.4, 3.9), layout="constrained")
        count = len(weights) + 1
        parts = figure.subplots(1, count + 1, width_ratios=[4.2] * count + [1])
        for axes, (name, W) in zip(parts, weights.items(), strict=False):
            norm, superposition = (
                metrics.norms(W)[..., shown.feature],
                metrics.superposition(W)[..., shown.feature],
            )
            _draw_colours(axes, trained, norm, superposition)
            axes.set_title(f"{name} theory")
        _draw_colours(parts[count - 1], trained, _norm(trained), _superposition(trained))
        _draw_boundaries(parts[count - 1], trained, theories)
        parts[count - 1].set_title(f"trained, {_selection(trained)}")
        for axes in parts[1:count]:
            axes.set_ylabel("")
        colour_key(parts[count])
    return figure


def failures(trained: xr.Dataset) -> Figure:
    """The share of inits whose loss stays more than 1 % above the best of their cell."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 4.6), layout="constrained")
        axes = figure.subplots()
        share = 1 - _oriented(trained, trained["success"].to_numpy())
        mesh = axes.pcolormesh(*_edges(trained), share, cmap="cividis", vmin=0, vmax=1, rasterized=True)
        _label(axes, trained)
        figure.colorbar(mesh, ax=axes, label="share of inits that fail")
        axes.set_title("Inits that end more than 1 % above the best of their cell")
    return figure


def agreement(trained: xr.Dataset, theories: dict[str, np.ndarray]) -> Figure:
    """Where the trained phase is that of each theory, and where it is not."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.3 * len(theories) + 0.3, 4.6), layout="constrained")
        phase = trained["phase"].to_numpy()
        palette = ListedColormap(["#f0f0f0", "#d55e00", "#0072b2", "#000000"])
        names = ["same phase", "theory: superposition, trained: not", "other difference", "masked"]
        shared = len(analysis.layout(analysis.spec_of(trained)).phases) - 1
        for axes, (name, expected) in zip(
            figure.subplots(1, len(theories), squeeze=False)[0], theories.items(), strict=True
        ):
            kind = np.where(phase == expected, 0, np.where(expected == shared, 1, 2))
            kind = np.where(phase == analysis.MASKED, 3, kind)
            norm = BoundaryNorm(np.arange(5) - 0.5, 4)
            axes.pcolormesh(*_edges(trained), _oriented(trained, kind), cmap=palette, norm=norm, rasterized=True)
            _label(axes, trained)
            same = (phase == expected)[phase != analysis.MASKED]
            axes.set_title(
                f"{name} theory: " + (f"{same.mean():.2%} of cells agree" if same.size else "no usable cells")
            )
        present = [0, 1, 2] + [3] * bool((phase == analysis.MASKED).any())
        handles = [Patch(facecolor=palette(k), edgecolor="#888888", label=names[k]) for k in present]
        legend_below(figure, handles)
    return figure


def models(dataset: xr.Dataset, cell: dict[str, float]) -> Figure:
    """W of every replica of one cell as bars by feature, best first; `cell` gives the nearest axis values."""
    one = dataset.sel(cell, method="nearest")
    one = one if "replica" in one.dims else one.expand_dims("replica")
    order = np.argsort(one["loss"].to_numpy())
    W = one["W"].to_numpy()[order]
    b = one["b"].to_numpy()[order] if "b" in one else np.zeros((len(order), W.shape[-1]))
    with rc_context(STYLE):
        count = len(order)
        figure = Figure(figsize=(max(4, 1.1 * count + 1), 3), layout="constrained")
        position = np.arange(W.shape[-1])
        rows = W.shape[1] + 1
        for axes, weights, bias, loss in zip(
            figure.subplots(1, count, sharey=True, squeeze=False)[0],
            W,
            b,
            one["loss"].to_numpy()[order],
            strict=True,
        ):
            for k in range(W.shape[1]):
                label = f"W, hidden {k}" if rows > 2 else "W"
                axes.bar(
                    position + k / (rows + 1),
                    weights[k],
                    1 / (rows + 1),
                    color=BLUE,
                    alpha=1 - k / rows,
                    label=label,
                )
            axes.bar(position + (rows - 1) / (rows + 1), bias, 1 / (rows + 1), color="#e69f00", label="b")
            axes.axhline(0, color="black", linewidth=0.5)
            axes.set_title(f"{loss:.3g}", fontsize=8)
            axes.set_xticks(position + (rows - 1) / (rows + 1) / 2, position + 1)
        figure.supxlabel("feature")
        figure.supylabel("value")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        where = ", ".join(f"{k} = {float(one[k]):.3g}" for k in cell)
        figure.suptitle(f"Models at {where}, by noise-free loss", fontsize=9)
    return figure


def throughput(measured: xr.Dataset) -> Figure:
    """The engine's rate over the number of models and over the batch (see throughput.curve)."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, name, along, text in (
            (axes[0], "rate_of_models", "models", f"models, batch {measured.attrs['batch_of_models']}"),
            (axes[1], "rate_of_batch", "batch", f"batch, {measured.attrs['models_of_batch']:,} models"),
        ):
            ax.loglog(measured[along], measured[name], "o-", color="#0072b2")
            if along == "batch":
                _label_batches(ax, measured)
            ax.set_xlabel(text)
            ax.grid(alpha=0.3)
        axes[0].set_ylabel(measured.attrs["unit"])
        axes[0].set_ylim(bottom=10 ** np.floor(np.log10(min(measured[v].min() for v in measured))))
        figure.suptitle("Training throughput, n = 2, m = 1")
    return figure


def stream_noise(measured: xr.Dataset) -> Figure:
    """Gradient noise of streams beside independent ones, and the phase maps that each reaches at smaller batches.

    `measured`: variance_ratio (batch, feature_probability), disagreement (stream, batch) and success (stream, batch).
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        axes = figure.subplots(1, 3)
        for batch, tone, mark in zip(measured["batch"].to_numpy(), TONES, MARKS, strict=False):
            ratio = measured["variance_ratio"].sel(batch=batch)
            axes[0].loglog(measured["feature_probability"], ratio, mark + "-", color=tone, label=f"batch {batch}")
        axes[0].axhline(1, color="black", linewidth=0.8)
        axes[0].set_xlabel("feature probability")
        axes[0].set_ylabel("variance: independent / sobol")
        for stream, tone, mark in zip(measured["stream"].to_numpy(), TONES, MARKS, strict=False):
            rows = measured.sel(stream=stream)
            axes[1].semilogx(measured["batch"], 100 * rows["disagreement"], mark + "-", color=tone, label=str(stream))
            axes[2].semilogx(measured["batch"], rows["success"], mark + "-", color=tone, label=str(stream))
        axes[1].set_ylabel("cells unlike exact theory, %")
        axes[2].set_ylabel("share of inits within 1 % of the best")
        for ax in axes[1:]:
            ax.set_xlabel("batch")
            _label_batches(ax, measured)
        for ax in axes:
            ax.legend(frameon=False, fontsize=8)
            ax.grid(alpha=0.3)
    return figure


def _label_batches(axes: Axes, measured: xr.Dataset) -> None:
    batches = measured["batch"].to_numpy()
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xticks([], minor=True)


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes `path`.png and `path`.svg, the same bytes every time."""
    written = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context(STYLE):
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                written.append(path.with_suffix(f".{kind}"))
                figure.savefig(written[-1], metadata=metadata)
    except OSError as error:
        raise RunError(f"{written[-1] if written else path.parent}: cannot be written: {error.strerror}") from error
    return written


def label(axis: str) -> str:
    """What a sweep's axis is called."""
    return LABELS.get(axis, axis.replace("_", " "))


def named(axis: str, value: Any) -> str:
    """One value of a sweep's axis: "p = 0.1", or the name that stands there."""
    return tick(value) if isinstance(value, str) else f"{SYMBOLS.get(axis, label(axis))} = {tick(value)}"


def tick(value: Any) -> str:
    """A value of an axis: a number to three digits, or a name, in which $ is no mathematics."""
    return value.replace("$", r"\$") if isinstance(value, str) else f"{value:.3g}"


def wrapped(text: str, inches: float) -> str:
    """A title in lines that fit the width of its panel."""
    return "\n".join(textwrap.fill(line, max(8, int(13 * inches))) for line in text.split("\n"))


def legend_below(figure: Figure, handles: list) -> None:
    """A legend under all panels, in as many columns as the figure has room for."""
    widths = [0.066 * len(handle.get_label()) + 0.55 for handle in handles]  # inches
    room = figure.get_figwidth()
    columns = len(handles) if sum(widths) <= room else max(1, int(room / max(widths)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def _norm(trained: xr.Dataset) -> np.ndarray:
    return trained["norm"].to_numpy()[..., analysis.layout(analysis.spec_of(trained)).feature]


def _superposition(trained: xr.Dataset) -> np.ndarray:
    return trained["superposition"].to_numpy()[..., analysis.layout(analysis.spec_of(trained)).feature]


def _selection(trained: xr.Dataset) -> str:
    names = {
        "best": "best of its replicas",
        "paper": "mean without the worst",
        "vote": "vote of its replicas",
        "single": "one model",
    }
    return names[trained.attrs["select"]]


def _oriented(trained: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """`values` over the map's cells as (y, x, ...)."""
    shown = analysis.layout(analysis.spec_of(trained))
    return values if trained["phase"].dims == (shown.y, shown.x) else np.swapaxes(values, 0, 1)


def _edges(trained: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Borders of the cells along x and y, half-way between coordinates (in the logarithm on log axes)."""
    spec = analysis.spec_of(trained)
    shown = analysis.layout(spec)
    return tuple(borders(trained[a].to_numpy().astype(float), analysis.is_log(spec, a)) for a in (shown.x, shown.y))  # type: ignore[return-value]


def borders(values: np.ndarray, log: bool) -> np.ndarray:
    """Borders of cells around `values`, half-way between them (in the logarithm with `log`)."""
    v = np.log(values) if log else values
    if len(v) == 1:
        out = np.array([v[0] - 0.5, v[0] + 0.5])
    else:
        middle = (v[1:] + v[:-1]) / 2
        out = np.concatenate([[2 * v[0] - middle[0]], middle, [2 * v[-1] - middle[-1]]])
    return np.exp(out) if log else out


def _label(axes: Axes, trained: xr.Dataset) -> None:
    spec = analysis.spec_of(trained)
    shown = analysis.layout(spec)
    for name, scale, set_label, ticks in (
        (shown.x, axes.set_xscale, axes.set_xlabel, axes.xaxis),
        (shown.y, axes.set_yscale, axes.set_ylabel, axes.yaxis),
    ):
        assert name is not None
        if analysis.is_log(spec, name):
            scale("log")
            values = trained[name].to_numpy()
            if values.max() / values.min() < 30:  # few powers of ten
                plain_log_ticks(ticks)
        set_label(label(name))
    x, y = _edges(trained)
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(y.min(), y.max())


def _draw_colours(axes: Axes, trained: xr.Dataset, norm: np.ndarray, superposition: np.ndarray) -> None:
    rgb = _oriented(trained, colours(norm, superposition))
    axes.pcolormesh(*_edges(trained), rgb, rasterized=True)
    _label(axes, trained)


def _draw_boundaries(axes: Axes, trained: xr.Dataset, theories: dict[str, np.ndarray], legend: bool = True) -> None:
    shown = analysis.layout(analysis.spec_of(trained))
    x, y = (trained[a].to_numpy().astype(float) for a in (shown.x, shown.y))
    logs = [analysis.is_log(analysis.spec_of(trained), a) for a in (shown.x, shown.y)]
    u, v = (np.log(values) if log else values for values, log in zip((x, y), logs, strict=True))
    for name, expected in theories.items():
        colour, dash = LINES[name]
        for k, line in enumerate(analysis.boundaries(u, v, _oriented(trained, expected))):
            points = [np.exp(c) if log else c for c, log in zip(line.T, logs, strict=True)]
            called = f"{name} theory" if k == 0 else None
            axes.plot(*points, color=colour, linestyle=dash, linewidth=1.1, label=called)
    if theories and legend:
        axes.legend(loc="lower right", framealpha=0.9)


def colour_key(axes: Axes) -> None:
    """The two-dimensional legend: norm upwards, superposition to the right."""
    steps = np.linspace(0, 1, 40)
    superposition, norm = np.meshgrid(steps, steps)
    axes.imshow(colours(norm, superposition), origin="lower", extent=(0, 1, 0, 1), interpolation="nearest")
    axes.set_xlabel("superposition\n" + r"$\sum_{j\neq i}(\hat w_i\cdot W_j)^2$")
    axes.set_ylabel(r"norm $|W_i|$")
    axes.set_xticks([0, 1], ["0", "≥ 1"])
    axes.set_yticks([0, 1], ["0", "≥ 1"])
    axes.set_title("extra feature", fontsize=9)


def run_figures(trained: xr.Dataset, theories: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """The figures of a phase-map study, by file name. A map with a third axis is one figure with a panel a value."""
    if len(third := analysis.other_axes(trained)) == 1:
        return {"phase_map": facets(trained, theories, third[0])}
    figures = {"phase_map": phase_map(trained, theories), "failures": failures(trained)}
    if theories:
        figures["agreement"] = agreement(trained, theories)
    if weights:
        figures["panels"] = panels(trained, theories, weights)
    return figures
