"""Data of curves: a run's dataset -> labelled arrays that curves.py draws. No matplotlib of its own.

Diverged models are NaN. If a sweep has more cells than there are colours, the series are a sample of cells along its
single axis, or, with several axes, one series of quantiles over all models.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.kinds import MEASURES, REPLICA
from tmsjax.kinds.measures import dimensions_per_feature, represented
from tmsjax.plots.style import TONES, named, tick
from tmsjax.runs import Run

MOST = len(TONES)  # largest number of series, one per colour
LOW, HIGH = 0.1, 0.9  # quantiles of a band
MOST_DOTS = 4000  # per panel
CHUNK = 2**22  # weights measured at once
RECORD = "history_"


@dataclass(frozen=True)
class Lines:
    """The lines of one panel over common positions.

    Attributes:
        label: label of the measured quantity
        series: names of the series
        middle, low, high: line and band (series, position), NaN if unknown
        dots: every model (series, position, model); None if there are too many to draw
        ordered: whether the series follow a numeric axis
        scale: "log" if a logarithmic scale is allowed, "count" for integers from 0, otherwise "linear"
    """

    label: str
    series: tuple[str, ...]
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    dots: np.ndarray | None = None
    ordered: bool = False
    scale: str = "linear"


@dataclass(frozen=True)
class Along:
    """Measures along an axis, one panel per measure.

    Attributes:
        axis: name of the axis; None: the replicas of one cell in order of loss
        at: positions
        names: names of the positions if they are not numbers
        log: whether positions are on a logarithmic scale
        best: whether lines show the best models; otherwise medians
    """

    axis: str | None
    at: np.ndarray
    names: tuple[str, ...] | None
    log: bool
    best: bool
    panels: tuple[Lines, ...]


def quantiles(values: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    """Quantiles of finite values along the last axis, by linear interpolation; NaN if there are none.

    np.nanquantile loops over rows in Python, which takes minutes for the history of a large sweep.
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan).astype(np.float64), axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(-1)
    out = []
    for share in shares:
        place = share * np.maximum(count - 1, 0)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, np.maximum(count - 1, 0))
        left, right = (np.take_along_axis(ordered, k[..., None], axis=-1)[..., 0] for k in (below, above))
        out.append(left + (right - left) * (place - below))
    return out


def along_axis(run: Run) -> Along:
    """Noise-free loss along one axis of the sweep, and features represented and D* if models have directions.

    The axis is the study's x, otherwise the longest numeric axis. Cells over the other axes are separate series if
    there are at most MOST.
    """
    results = analysis.with_replica(run.dataset.drop_dims("step", errors="ignore"))
    axes = _cell_axes(run)
    x = _x(run, axes)
    others = [a for a in axes if a != x]
    results = results.isel({a.name: 0 for a in run.spec.axes if a.name not in (*axes, REPLICA)}, drop=True)
    if x is None:
        return _ranked([(name, measured(results).to_numpy()) for name, measured in _final(run)])
    dims = [*others, x, REPLICA]
    best = analysis.same_inputs(results)
    chosen = analysis.best(results) if best else None
    columns = len(run.spec.axis[x])
    series, pooled = _named_cells(run, others)
    panels = []
    for name, measured in _final(run):
        every = measured(results).transpose(*dims).to_numpy().reshape(-1, columns, results.sizes[REPLICA])
        line = None if chosen is None else measured(chosen).transpose(*dims[:-1]).to_numpy().reshape(-1, columns)
        if pooled:
            every, line = np.moveaxis(every, 0, 1).reshape(1, columns, -1), None
        else:
            some = _sample(len(every), len(series))
            every, line = every[some], None if line is None else line[some]
        panels.append(_lines(name, series, every, line, len(others) == 1 and _is_numbers(run, others[0])))
    values = run.spec.axis[x].values
    best = best and not pooled
    if not _is_numbers(run, x):
        return Along(x, np.arange(columns), tuple(tick(v) for v in values), False, best, tuple(panels))
    at = np.asarray(values, float)
    order = np.argsort(at)
    return Along(
        x, at[order], None, analysis.is_log(run.spec, x), best, tuple(_reordered(panel, order) for panel in panels)
    )


def has_history(dataset: xr.Dataset) -> bool:
    """Whether the results contain a recorded measure, at two steps at least, that `learning` can show."""
    return bool(_recorded(dataset)) and dataset.sizes["step"] > 1


def learning(run: Run) -> tuple[np.ndarray, list[Lines]]:
    """Steps, and every recorded measure over them: medians and LOW to HIGH quantiles over replicas.

    Per-feature measures are pooled over features, except that a single cell with few features has one series per
    feature.
    """
    dataset = analysis.with_replica(run.dataset) if REPLICA in run.spec.axis else run.dataset
    axes = _cell_axes(run)
    names, pooled = _named_cells(run, axes)
    ordered = len(axes) == 1 and _is_numbers(run, axes[0])
    ok = (dataset["status"] == 0).transpose(*_dims(run)).to_numpy()
    step = dataset["step"].to_numpy()
    order = np.argsort(step, kind="stable")
    n = run.spec.model.features
    out = []
    for name in _recorded(dataset):
        stored = dataset[f"{RECORD}{name}"]
        own = [str(d) for d in stored.dims if d != "step" and d not in run.spec.axis]
        values = stored.transpose(*_dims(run), "step", *own).to_numpy().astype(np.float64)
        values[~ok] = np.nan
        label, shown, given = _label(name), names, ordered
        values = values.reshape(
            -1, ok.shape[-1] if REPLICA in run.spec.axis else 1, len(step), *values.shape[ok.ndim + 1 :]
        )
        if own == ["feature"] and len(values) == 1 and 1 < n <= MOST and analysis.same_inputs(dataset):
            values = np.moveaxis(values[0], -1, 0)  # series are features
            shown, given = tuple(f"feature {k + 1}" for k in range(n)), False
        else:
            values = _as_series(values, pooled, names, own)
            label += "\n(of all features)" if own and n > 1 else ""
        # (series, model, step) -> quantiles over models
        low, middle, high = quantiles(np.moveaxis(values, 1, -1)[:, order], (LOW, 0.5, HIGH))
        out.append(Lines(label, shown, middle, low, high, ordered=given, scale="linear" if own else _scale(name)))
    return step[order], out


def _as_series(values: np.ndarray, pooled: bool, names: Sequence[str], own: Sequence[str]) -> np.ndarray:
    """(cell, replica, step, *own) -> (series, model, step)."""
    cells, _, steps = values.shape[:3]
    if not pooled:
        values = values[_sample(cells, len(names))]
    values = np.moveaxis(values, 2, -1)  # (cell, replica, *own, step)
    return values.reshape(1 if pooled else len(values), -1, steps)


def _recorded(dataset: xr.Dataset) -> list[str]:
    """Names of recorded numeric measures other than W, loss first."""
    dims = set(dataset["loss"].dims) | {"step"}
    found = []
    for variable, values in dataset.data_vars.items():
        name = str(variable).removeprefix(RECORD)
        numbers = values.dtype.kind in "fiub" and values.size > 0
        if str(variable).startswith(RECORD) and name != "W" and numbers and dims <= set(values.dims):
            found.append(name)
    return sorted(
        found, key=lambda name: (name != "loss", [*MEASURES].index(name) if name in MEASURES else len(MEASURES))
    )


def _label(name: str) -> str:
    """The label of a measure; for an unregistered one its name."""
    known = MEASURES[name].label if name in MEASURES else ""
    return known or tick(name.replace("_", " "))


def _scale(name: str) -> str:
    """The scale of a measure with one number per model."""
    return "count" if name == "represented" else "log"


def _final(run: Run) -> list[tuple[str, Callable[[xr.Dataset], xr.DataArray]]]:
    """Measures of trained models: name, and function from results to values."""
    out: list[tuple[str, Callable[[xr.Dataset], xr.DataArray]]] = [
        ("loss", lambda results: results["loss"].where(results["status"] == 0))
    ]
    if run.dataset.attrs["directions"]:
        of_W = {"represented": represented, "dimensions_per_feature": dimensions_per_feature}
        out += [(name, partial(_of_W, function=function)) for name, function in of_W.items()]
    return out


def _of_W(results: xr.Dataset, function: Callable[[np.ndarray], np.ndarray]) -> xr.DataArray:
    """A measure of W with one number per model, computed in chunks to avoid a float64 copy of W."""
    dims = results["loss"].dims
    W = results["W"].transpose(*dims, "hidden", "feature").to_numpy()
    ok = (results["status"] == 0).to_numpy().reshape(-1)
    rows = W.reshape(-1, *W.shape[-2:])
    most = max(1, CHUNK // (W.shape[-2] * W.shape[-1]))
    out = np.full(len(rows), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(0, len(rows), most):
            part = slice(start, start + most)
            out[part] = function(np.where(ok[part, None, None], rows[part], 0).astype(np.float64))
    out[~ok | ~np.isfinite(out)] = np.nan
    return xr.DataArray(out.reshape(W.shape[:-2]), dims=dims)


def _lines(name: str, series: tuple[str, ...], every: np.ndarray, line: np.ndarray | None, ordered: bool) -> Lines:
    """The panel of a measure. `every`: (series, position, model). `line`: best models (series, position), or None."""
    low, middle, high = quantiles(every, (LOW, 0.5, HIGH))
    dots = every if every.size <= MOST_DOTS else None
    return Lines(_label(name), series, middle if line is None else line, low, high, dots, ordered, scale=_scale(name))


def _reordered(panel: Lines, order: np.ndarray) -> Lines:
    parts = {name: getattr(panel, name) for name in ("middle", "low", "high", "dots")}
    return replace(panel, **{name: part[:, order] for name, part in parts.items() if part is not None})


def _ranked(panels: list[tuple[str, np.ndarray]]) -> Along:
    """The replicas of one cell in order of loss, without diverged ones. `panels`: (name, values (model,))."""
    order = np.argsort(panels[0][1], kind="stable")  # NaN last
    order = order[: np.isfinite(panels[0][1]).sum()]
    unknown = np.full((1, len(order)), np.nan)
    lines = [
        Lines(_label(name), ("",), values[None, order], unknown, unknown, scale=_scale(name)) for name, values in panels
    ]
    return Along(None, np.arange(1, len(order) + 1), None, False, False, tuple(lines))


def _cell_axes(run: Run) -> list[str]:
    """Names of the axes that distinguish cells: all but replica with more than one value."""
    return [a.name for a in run.spec.axes if a.name != REPLICA and len(a) > 1]


def _dims(run: Run) -> list[str]:
    """Names of all axes of the sweep, replica last."""
    return sorted((a.name for a in run.spec.axes), key=lambda name: name == REPLICA)


def _is_numbers(run: Run, axis: str) -> bool:
    return not any(isinstance(v, str) for v in run.spec.axis[axis].values)


def _x(run: Run, axes: list[str]) -> str | None:
    if run.spec.study.x in axes:
        return run.spec.study.x
    numbers = [a for a in axes if _is_numbers(run, a)]
    return max(numbers or axes, key=lambda a: len(run.spec.axis[a]), default=None)


def _named_cells(run: Run, axes: list[str]) -> tuple[tuple[str, ...], bool]:
    """Names of the series for the cells over `axes`, and whether one series pools all cells.

    One series per cell if there are at most MOST cells; for a single axis a sample of its cells; otherwise one series
    of all models.
    """
    values = [[named(a, v) for v in run.spec.axis[a].values] for a in axes]
    count = int(np.prod([len(v) for v in values]))
    if count <= MOST:
        return tuple(", ".join(parts) for parts in itertools.product(*values)), False
    if len(axes) == 1:
        return tuple(values[0][k] for k in _sample(count, MOST)), False
    return ("all models",), True


def _sample(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` cells, spread evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
