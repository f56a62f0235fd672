"""What curves show: a run's dataset -> labelled arrays, a series a cell or a few, ready to be drawn. No matplotlib.

Diverged models are NaN. A sweep of more cells than colours is shown by a sample of cells along its one axis, or, with
several axes, by quantiles over all models.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.kinds import MEASURES, REPLICA, Measure
from tmsjax.kinds.measures import dimensions_per_feature, represented
from tmsjax.plots.style import TONES, named, tick
from tmsjax.runs import Run

MOST = len(TONES)  # series that can be told apart
LOW, HIGH = 0.1, 0.9  # quantiles that bound a band
MOST_DOTS = 4000  # of one panel
CHUNK = 2**22  # weights measured at once
RECORD = "history_"


@dataclass(frozen=True)
class Lines:
    """Lines over common positions: middle, low and high (series, position), NaN where nothing is known.

    label: of what is measured; series: their names
    dots: (series, position, model), every model; None where a band from low to high stands for too many of them
    ordered: whether the series follow an axis of numbers
    scale: "log" where values may be shown on a logarithmic scale, "count" of whole numbers from 0 on, else "linear"
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
    """Measures along an axis. axis: its name, None for the replicas of one cell in the order of their loss;
    at: positions; names: of the positions, where they are no numbers; best: whether lines are the best models'."""

    axis: str | None
    at: np.ndarray
    names: tuple[str, ...] | None
    log: bool
    best: bool
    panels: tuple[Lines, ...]


def quantiles(values: np.ndarray, shares: Sequence[float]) -> list[np.ndarray]:
    """Quantiles along the last axis over the finite values, by linear interpolation; NaN where there are none.

    np.nanquantile loops over rows in Python, which takes minutes for a large sweep's history.
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan).astype(np.float64), axis=-1)  # NaN come last
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
    """Noise-free loss and, where models have directions, features represented and D*, along one axis of the sweep.

    Along the axis that the study calls x, else along the longest one of numbers. The values of further axes are series
    of their own while there are at most MOST.
    """
    results = _with_replica(run.dataset.drop_dims("step", errors="ignore"))
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
    """Whether the results hold a measure over the steps of training that `learning` can show."""
    return bool(_recorded(dataset))


def learning(run: Run) -> tuple[np.ndarray, list[Lines]]:
    """Steps, and every recorded measure over them: medians, and LOW to HIGH quantiles of the replicas.

    Measures of features are pooled over features, but those of the few features of one cell are series of their own.
    """
    dataset = run.dataset
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
    """Names of recorded measures that have one number for each model, or one for each of its features or dimensions."""
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
    """What a measure is called; one that is not known here by its own name."""
    known = MEASURES.get(name, Measure(None, (), ""))
    return known.label or tick(name.replace("_", " "))


def _scale(name: str) -> str:
    """How values of a measure with one number a model are shown."""
    return "count" if name == "represented" else "log"


def _final(run: Run) -> list[tuple[str, Callable[[xr.Dataset], xr.DataArray]]]:
    """What is shown of finished models: its name, and the function from results to it."""
    out: list[tuple[str, Callable[[xr.Dataset], xr.DataArray]]] = [
        ("loss", lambda results: results["loss"].where(results["status"] == 0))
    ]
    if run.dataset.attrs["directions"]:
        of_W = {"represented": represented, "dimensions_per_feature": dimensions_per_feature}
        out += [(name, partial(_of_W, function=function)) for name, function in of_W.items()]
    return out


def _of_W(results: xr.Dataset, function: Callable[[np.ndarray], np.ndarray]) -> xr.DataArray:
    """A measure of W with one number a model. Measured in parts, so that memory is not that of W in float64."""
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
    """`every` (series, position, model); `line` (series, position): the best models, None for medians."""
    low, middle, high = quantiles(every, (LOW, 0.5, HIGH))
    dots = every if every.size <= MOST_DOTS else None
    return Lines(_label(name), series, middle if line is None else line, low, high, dots, ordered, scale=_scale(name))


def _reordered(panel: Lines, order: np.ndarray) -> Lines:
    parts = {name: getattr(panel, name) for name in ("middle", "low", "high", "dots")}
    return replace(panel, **{name: part[:, order] for name, part in parts.items() if part is not None})


def _ranked(panels: list[tuple[str, np.ndarray]]) -> Along:
    """The replicas of one cell in the order of their loss (model,); diverged ones are left out."""
    order = np.argsort(panels[0][1], kind="stable")  # NaN come last
    order = order[: np.isfinite(panels[0][1]).sum()]
    unknown = np.full((1, len(order)), np.nan)
    lines = [
        Lines(_label(name), ("",), values[None, order], unknown, unknown, scale=_scale(name)) for name, values in panels
    ]
    return Along(None, np.arange(1, len(order) + 1), None, False, False, tuple(lines))


def _cell_axes(run: Run) -> list[str]:
    """The axes that tell cells apart."""
    return [a.name for a in run.spec.axes if a.name != REPLICA and len(a) > 1]


def _dims(run: Run) -> list[str]:
    """The dimensions of a model's place in the sweep, replica last."""
    return sorted((a.name for a in run.spec.axes), key=lambda name: name == REPLICA)


def _with_replica(results: xr.Dataset) -> xr.Dataset:
    return results if REPLICA in results.dims else results.expand_dims(REPLICA)


def _is_numbers(run: Run, axis: str) -> bool:
    return not any(isinstance(v, str) for v in run.spec.axis[axis].values)


def _x(run: Run, axes: list[str]) -> str | None:
    if run.spec.study.x in axes:
        return run.spec.study.x
    numbers = [a for a in axes if _is_numbers(run, a)]
    return max(numbers or axes, key=lambda a: len(run.spec.axis[a]), default=None)


def _named_cells(run: Run, axes: list[str]) -> tuple[tuple[str, ...], bool]:
    """The series that stand for the cells over `axes`: their names, and whether they are all cells in one.

    All cells while there are at most MOST; a sample along a single axis; else one series of all models.
    """
    values = [[named(a, v) for v in run.spec.axis[a].values] for a in axes]
    count = int(np.prod([len(v) for v in values]))
    if count <= MOST:
        return tuple(", ".join(parts) for parts in itertools.product(*values)), False
    if len(axes) == 1:
        return tuple(values[0][k] for k in _sample(count, MOST)), False
    return ("all models",), True


def _sample(count: int, most: int) -> np.ndarray:
    """Of `count` cells at most `most`, spread evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
