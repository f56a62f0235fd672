"""The figures of a run, chosen by the kind of its study: run -> Figures by file name. No jax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.kinds import REPLICA, STUDIES, misfit
from tmsjax.plots import features, maps
from tmsjax.plots.style import label, tick
from tmsjax.plots.style import named as named_value
from tmsjax.runs import Run, open_run
from tmsjax.spec import SELECTIONS

ROW, COLUMN = "_row", "_column"  # dimensions that no axis can have
WRAP = 5  # panels in a row where there is but one axis
DEFAULT = "phase-map"
GRAPHS = 12  # feature graphs in one figure
Figures = dict[str, Any]


def figures(
    run: Run | str | Path,
    *,
    kind: str | None = None,
    select: str = "best",
    beside: Run | str | Path | None = None,
) -> Figures:
    """The study's figures, by file name. `kind`: another than the spec's; see kinds.STUDIES.

    `select`: how a phase map chooses among replicas; the other kinds show the model of lowest loss (analysis.best).
    `beside`: a second run, whose first cell stands before the others ("gram" only). Raises RunError where the run
    cannot be shown so.
    """
    run = run if isinstance(run, Run) else open_run(run)
    if select not in SELECTIONS or (kind is not None and kind not in STUDIES):
        raise ValueError(f"kind is one of {', '.join(STUDIES)}, select of {', '.join(SELECTIONS)}")
    kind = kind or run.spec.study.kind or DEFAULT
    if kind not in STUDIES:
        raise RunError(f"{run.spec.name}: the study {kind!r} is not known here; choose another `kind`")
    if problem := misfit(run.spec, kind) or STUDIES[kind].unequal(run.spec):
        raise RunError(f"{run.spec.name}: {problem}")
    if beside is not None and kind != "gram":
        raise RunError(f"only figures of kind 'gram' show a run beside another, not {kind!r}")
    if select != "best" and kind != "phase-map":
        raise RunError(f"figures of kind {kind!r} show the model of lowest loss: select is 'best', not {select!r}")
    if kind == "phase-map":
        return phase_map(run, select)
    if beside is not None:
        return gram(run, beside if isinstance(beside, Run) else open_run(beside))
    return STUDIES[kind].drawer(run)


def phase_map(run: Run, select: str = "best") -> Figures:
    """The map of one feature, where inits fail, and what theory says beside it."""
    return maps.run_figures(*analysis.plotted(run, select))


def vectors(run: Run) -> Figures:
    """W's columns as vectors, one panel a cell."""
    y, x = grid(run)
    cells, columns = best_of(placed(analysis.measures(run.dataset), {ROW: y, COLUMN: x}))
    titles = [title(cell, "\n".join(named(cell, axis) for axis in (y, x) if axis is not None)) for cell in cells]
    W = np.array([cell["W"].transpose("hidden", "feature").to_numpy().astype(float) for cell in cells])
    importance = np.array([cell["instance_importance"].to_numpy() for cell in cells])
    return {"vectors": features.vectors(analysis.in_one_frame(W), importance, titles, wrapped(cells, columns))}


def gram(run: Run, beside: Run | None = None) -> Figures:
    """W^T W, bias, and norms coloured by superposition of the best model of every cell."""
    panels = models_of(run)
    if beside is not None:
        if problem := misfit(beside.spec, "gram"):
            raise RunError(f"{beside.spec.name}: {problem}")
        if beside.spec.model.features != run.spec.model.features:
            counts = f"{beside.spec.model.features} and {run.spec.model.features}"
            raise RunError(
                f"{beside.spec.name} and {run.spec.name} have {counts} features: not shown beside each other"
            )
        panels = [(beside.spec.model.activation, models_of(beside)[0][1]), *panels]
    return {"gram": features.gram(panels)}


def geometry(run: Run) -> Figures:
    """D* and dimensionalities over 1/p, and feature graphs of the best models."""
    every = placed(analysis.measures(run.dataset), {COLUMN: the_axis(run)})
    best = analysis.best(every)
    probability = best["instance_feature_probability"].transpose(COLUMN, "feature").to_numpy().astype(float)
    p = probability[:, 0]
    order = np.argsort(-p)
    every, best, p = every.isel({COLUMN: order}), best.isel({COLUMN: order}), p[order]
    some = np.unique(np.linspace(0, len(p) - 1, min(GRAPHS, len(p))).round().astype(int))
    graphs = []
    for k in some:
        cell = best.isel({COLUMN: k})
        W = cell["W"].transpose("hidden", "feature").to_numpy().astype(float)
        graphs.append((title(cell, f"1/p = {1 / p[k]:.3g}"), W, *analysis.component_kinds(W)))
    share, best_share = (part["dimensions_per_feature"].transpose(COLUMN, ...).to_numpy() for part in (every, best))
    values = best["dimensionality"].transpose(COLUMN, "feature").to_numpy()
    return {
        "dimensions": features.dimensions(share.reshape(len(p), -1), best_share, values, p),
        "graphs": features.graphs(graphs),
    }


def norms(run: Run) -> Figures:
    """Norms coloured by interference of the best model of every cell; number represented and Frobenius norm of all."""
    y, x = grid(run)
    every = placed(analysis.measures(run.dataset), {ROW: y, COLUMN: x})
    cells, columns = best_of(every)
    titles = []
    for k, cell in enumerate(cells):
        count = "diverged" if int(cell["status"]) else f"{cell['represented'].item():g} represented"
        head = named(cell, x) if k < columns else ""  # above the first row, or every one that is wrapped
        titles.append("\n".join(filter(None, (head, count))))
    norm, classes = (np.array([cell[name].to_numpy() for cell in cells]) for name in ("norm", "class"))
    sides = [named(cell, y) for cell in cells[::columns]] if y is not None else []
    if REPLICA not in every.dims:
        every = every.expand_dims(REPLICA)
    measured = {
        text: every[name].transpose(ROW, COLUMN, REPLICA).to_numpy()
        for name, text in (("represented", "features represented"), ("frobenius", r"Frobenius norm $\|W\|_F$"))
    }
    ticks, series = ([tick(v) for v in run.spec.axis[a].values] if a else [""] for a in (x, y))
    around = [label(a) if a else "" for a in (x, y)]
    return {
        "norms": features.norms(norm, classes, titles, wrapped(cells, columns), sides),
        "spreads": features.spreads(measured, ticks, around[0], series, around[1]),
    }


def grid(run: Run) -> tuple[str | None, str | None]:
    """(y, x): the axes of rows and of columns. One axis lies along x, unless the study says y."""
    y, x = run.spec.map_axes
    return (None, y) if x is None and run.spec.study.y is None else (y, x)


def the_axis(run: Run) -> str | None:
    """The one axis beside replica, if there is one."""
    return next((a.name for a in run.spec.axes if a.name != REPLICA), None)


def placed(dataset: xr.Dataset, axes: dict[str, str | None]) -> xr.Dataset:
    """The dataset with these axes' dimensions renamed; None: a dimension of length 1."""
    for dim, axis in axes.items():
        dataset = dataset.expand_dims(dim) if axis is None else dataset.rename_dims({axis: dim})
    return dataset


def best_of(every: xr.Dataset) -> tuple[list[xr.Dataset], int]:
    """The best model of every cell, row after row, and how many columns there are."""
    best = analysis.best(every)
    shape = best.sizes[ROW], best.sizes[COLUMN]
    return [best.isel({ROW: i, COLUMN: j}) for i, j in np.ndindex(shape)], shape[1]


def wrapped(cells: list, columns: int) -> int:
    """Panels in a row: a single row of many cells is wrapped."""
    return WRAP if len(cells) == columns > WRAP else columns


def named(cell: xr.Dataset, axis: str | None) -> str:
    """What a row or a column of cells is called: "p = 0.1", or the name that stands in the axis."""
    return "" if axis is None else named_value(axis, cell[axis].item())


def title(cell: xr.Dataset, text: str) -> str:
    """A panel's title, which says so where every model of the cell diverged."""
    return text if int(cell["status"]) == 0 else f"{text} diverged".strip()


def models_of(run: Run) -> list[tuple[str, xr.Dataset]]:
    """The best model of every cell of a run over at most one axis: its title, and W, b, norm, superposition."""
    axis = the_axis(run)
    best = analysis.best(placed(analysis.measures(run.dataset), {COLUMN: axis}))
    cells = [best.isel({COLUMN: k}) for k in range(best.sizes[COLUMN])]
    return [(title(cell, named(cell, axis) or run.spec.model.activation), cell) for cell in cells]
