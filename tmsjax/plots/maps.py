"""Figures of phase maps: Dataset -> matplotlib Figure. Only draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.kinds import measures
from tmsjax.plots.style import (
    BLUE,
    DIFFERENCE_TONES,
    LINES,
    STYLE,
    borders,
    colour_key,
    colours,
    label,
    legend_below,
    named,
    outer_labels,
    plain_log_ticks,
)


def phase_map(trained: xr.Dataset, theories: dict[str, np.ndarray] | None = None) -> Figure:
    """The trained map of one feature's norm and superposition, with theory's boundaries drawn over it.

    `trained`: from analysis.phase_map, over two numeric axes (see `facets` for a third axis). `theories`: phases by
    name, from comparison.theory_phases. Raises RunError for other axes.

    Examples:
        >>> tmsjax.plots.phase_map(tmsjax.phase_map(run)).axes[0].get_title()
        'small: trained, best of its replicas'
    """
    if not analysis.is_map(trained):
        have = ", ".join(map(str, trained["phase"].dims)) or "none"
        raise RunError(f"a phase map needs two axes of numbers in ascending or descending order; it has: {have}")
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes, key = figure.subplots(1, 2, width_ratios=[4.2, 1])
        _draw_colours(axes, trained, _norm(trained), _superposition(trained))
        _draw_boundaries(axes, trained, theories or {})
        spec = analysis.spec_of(trained)
        axes.set_title(_noted(f"{spec.name}: trained, {_selection(trained)}", trained))
        colour_key(key)
    return figure


def facets(trained: xr.Dataset, theories: dict[str, np.ndarray], axis: str) -> Figure:
    """One map per value of a third axis, with theory's boundaries.

    `trained`, `theories`: as for `phase_map`, over three axes. `axis`: the third.

    Examples:
        >>> wide = spec | {"axes": spec["axes"] | {"width": {"values": [0.5, 1.0]}}}
        >>> wide["instance"] = spec["instance"] | {"init_scale": "width"}
        >>> mapped = tmsjax.phase_map(tmsjax.run_sweep(wide, overrides=["train.steps=5"], progress=False))
        >>> [axes.get_title() for axes in tmsjax.plots.maps.facets(mapped, {}, "width").subfigs[0].axes]
        ['width = 0.5', 'width = 1']
    """
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
        _add_note(left, _pixel_note(trained))
        handles = [Line2D([], [], color=LINES[t][0], linestyle=LINES[t][1], label=f"{t} theory") for t in theories]
        if handles:
            every[0, 0].legend(handles=handles, loc="lower right", framealpha=0.9)
        colour_key(right.subplots())
    return figure


def panels(trained: xr.Dataset, theories: dict[str, np.ndarray], weights: dict[str, Any]) -> Figure:
    """Maps from each theory and from training, side by side.

    `trained`, `theories`: as for `phase_map`. `weights`: each theory's W (y, x, m, n), or norm and superposition (y, x)
    of the mapped feature.

    Examples:
        >>> from tmsjax.analysis import candidate_weights, theory_phases
        >>> W = candidate_weights(run.dataset)
        >>> figure = tmsjax.plots.panels(tmsjax.phase_map(run), theory_phases(run.dataset, None), {"candidate": W})
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['candidate theory', 'trained, best of its replicas']
    """
    shown = analysis.layout(analysis.spec_of(trained))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * (len(weights) + 1) + 1.4, 3.9), layout="constrained")
        count = len(weights) + 1
        parts = figure.subplots(1, count + 1, width_ratios=[4.2] * count + [1])
        for axes, (name, W) in zip(parts, weights.items(), strict=False):
            if not isinstance(W, tuple):
                W = tuple(measure(W)[..., shown.feature] for measure in (measures.norms, measures.superposition))
            _draw_colours(axes, trained, *W)
            axes.set_title(f"{name} theory")
        _draw_colours(parts[count - 1], trained, _norm(trained), _superposition(trained))
        _draw_boundaries(parts[count - 1], trained, theories)
        parts[count - 1].set_title(f"trained, {_selection(trained)}")
        for axes in parts[1:count]:
            axes.set_ylabel("")
        _add_note(figure, _pixel_note(trained))
        colour_key(parts[count])
    return figure


def failures(trained: xr.Dataset) -> Figure:
    """The share of inits whose loss stays more than 1 % above the best of their cell.

    `trained`: from analysis.phase_map.

    Examples:
        >>> tmsjax.plots.maps.failures(tmsjax.phase_map(run)).axes[0].get_xlabel()
        'importance of the extra feature'
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 4.6), layout="constrained")
        axes = figure.subplots()
        share = 1 - _oriented(trained, trained["success"].to_numpy())
        mesh = axes.pcolormesh(*_edges(trained), share, cmap="cividis", vmin=0, vmax=1, rasterized=True)
        _label(axes, trained)
        figure.colorbar(mesh, ax=axes, label="share of inits that fail")
        axes.set_title(_noted("Inits that end more than 1 % above the best of their cell", trained))
    return figure


def agreement(trained: xr.Dataset, theories: dict[str, np.ndarray]) -> Figure:
    """Where the trained phase agrees with each theory.

    `trained`, `theories`: as for `phase_map`.

    Examples:
        >>> candidate = tmsjax.analysis.theory_phases(run.dataset, None)
        >>> figure = tmsjax.plots.agreement(tmsjax.phase_map(run), candidate)
        >>> list(candidate), type(figure).__name__
        (['candidate'], 'Figure')
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(4.3 * len(theories) + 0.3, 4.6), layout="constrained")
        palette = ListedColormap(DIFFERENCE_TONES)
        present = {0, 1, 2}
        for axes, (name, expected) in zip(
            figure.subplots(1, len(theories), squeeze=False)[0], theories.items(), strict=True
        ):
            kind, share = _differences(trained, name, expected)
            present |= set(np.unique(kind).tolist())
            norm = BoundaryNorm(np.arange(5) - 0.5, 4)
            axes.pcolormesh(*_edges(trained), _oriented(trained, kind), cmap=palette, norm=norm, rasterized=True)
            _label(axes, trained)
            axes.set_title(f"{name} theory: " + ("no usable cells" if share is None else f"{share:.2%} of cells agree"))
        _add_note(figure, _pixel_note(trained, "the most frequent of "))
        names = analysis.DIFFERENCES
        handles = [Patch(facecolor=palette(k), edgecolor="#888888", label=names[k]) for k in sorted(present)]
        legend_below(figure, handles)
    return figure


def _differences(trained: xr.Dataset, name: str, expected: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Index into analysis.DIFFERENCES of each cell or pixel, and the share of usable cells that agree with a theory."""
    if f"difference_{name}" in trained:
        agreeing, usable = (int(trained[n].sum()) for n in (f"agreeing_{name}", "usable"))
        return trained[f"difference_{name}"].to_numpy(), agreeing / usable if usable else None
    phase = trained["phase"].to_numpy()
    same = (phase == expected)[phase != analysis.MASKED]
    shared = len(analysis.layout(analysis.spec_of(trained)).phases) - 1
    return analysis.differences(phase, expected, shared), float(same.mean()) if same.size else None


def _pixel_note(trained: xr.Dataset, what: str = "") -> str:
    """What a pixel shows, if it shows several cells: "each pixel: 13 x 13 cells", else ""."""
    shown = analysis.layout(analysis.spec_of(trained))
    pixel = trained.attrs.get("pixel", {})
    size = [pixel.get(axis, 1) for axis in (shown.x, shown.y)]
    return f"each pixel: {what}{size[0]} x {size[1]} cells" if max(size) > 1 else ""


def _noted(title: str, trained: xr.Dataset) -> str:
    """A title with what a pixel shows on a second line."""
    return "\n".join(filter(None, (title, _pixel_note(trained))))


def _add_note(figure: Any, note: str) -> None:
    if note:
        figure.suptitle(note, fontsize=9)


def models(dataset: xr.Dataset, cell: dict[str, float]) -> Figure:
    """W of every replica of one cell as bars, best first.

    `dataset`: that of a run. `cell`: axis values; the nearest cell is shown.

    Examples:
        >>> figure = tmsjax.plots.models(run.dataset, {"feature_probability": 0.1, "extra_importance": 1.0})
        >>> len(figure.axes)  # one for each replica
        2
    """
    one = dataset.sel(cell, method="nearest")
    one = analysis.with_replica(one)
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


def _norm(trained: xr.Dataset) -> np.ndarray:
    return _of_mapped_feature(trained["norm"], trained)


def _superposition(trained: xr.Dataset) -> np.ndarray:
    return _of_mapped_feature(trained["superposition"], trained)


def _of_mapped_feature(values: xr.DataArray, trained: xr.Dataset) -> np.ndarray:
    """Values over cells of all features, or over pixels of the mapped feature."""
    feature = analysis.layout(analysis.spec_of(trained)).feature
    return values.to_numpy()[..., feature] if "feature" in values.dims else values.to_numpy()


def _selection(trained: xr.Dataset) -> str:
    names = {
        "best": "best of its replicas",
        "paper": "mean without the worst",
        "vote": "vote of its replicas",
        "single": "one model",
    }
    return names[trained.attrs["select"]]


def _oriented(trained: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """`values` over the cells of the map, transposed to (y, x, ...)."""
    shown = analysis.layout(analysis.spec_of(trained))
    return values if trained["phase"].dims == (shown.y, shown.x) else np.swapaxes(values, 0, 1)


def _edges(trained: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Borders of the cells or pixels along x and y, halfway between coordinates (in log space on log axes)."""
    spec = analysis.spec_of(trained)
    out = []
    for axis in spec.map_axes[::-1]:
        assert axis is not None
        cells = f"cells_{axis}" if f"cells_{axis}" in trained.coords else axis
        edges = borders(trained[cells].to_numpy().astype(float), analysis.is_log(spec, axis))
        size = trained.attrs.get("pixel", {}).get(axis, 1)
        out.append(np.append(edges[:-1:size], edges[-1]))
    return out[0], out[1]


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
                plain_log_ticks(ticks, values)
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
    if legend and axes.get_legend_handles_labels()[0]:  # a region may have no boundary
        axes.legend(loc="lower right", framealpha=0.9)


def run_figures(trained: xr.Dataset, theories: dict[str, np.ndarray], weights: dict[str, Any]) -> dict[str, Any]:
    """Figures of a phase-map study by file name. A third axis gives one figure with one panel per value.

    `trained`, `theories`: as for `phase_map`. `weights`: as for `panels`.

    Examples:
        >>> list(tmsjax.plots.run_figures(tmsjax.phase_map(run), {}, {}))
        ['phase_map', 'failures']
    """
    if len(third := analysis.other_axes(trained)) == 1:
        return {"phase_map": facets(trained, theories, third[0])}
    figures = {"phase_map": phase_map(trained, theories), "failures": failures(trained)}
    if theories:
        figures["agreement"] = agreement(trained, theories)
    if weights:
        figures["panels"] = panels(trained, theories, weights)
    return figures
