"""The figures of a run, chosen by the kind of its study: run -> Figures by file name. No jax."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax import comparison, feature_plots, features, plots
from tmsjax.files import RunError
from tmsjax.run import Run, open_run
from tmsjax.spec import REPLICA, SELECTIONS, STUDIES, misfit

GRAPHS = 12  # feature graphs in one figure
Figures = dict[str, Any]


def figures(run: Run | str | Path, *, kind: str | None = None, select: str = "best", beside: Any = None) -> Figures:
    """The study's figures, by file name. `kind`: another than the spec's; see spec.STUDIES.

    `select`: how a phase map chooses among replicas; the other kinds show the model of lowest loss. `beside`: a second
    run, whose first cell stands before the others ("gram" only). Raises RunError where the run cannot be shown so.
    """
    run = run if isinstance(run, Run) else open_run(run)
    kind = kind or run.spec.study.kind
    if kind not in STUDIES or select not in SELECTIONS:
        raise ValueError(f"kind is one of {', '.join(STUDIES)}, select of {', '.join(SELECTIONS)}")
    if problem := misfit(run.spec, kind):
        raise RunError(f"{run.spec.name}: {problem}")
    if beside is not None and kind != "gram":
        raise RunError(f"only figures of kind 'gram' show a run beside another, not {kind!r}")
    if kind == "phase-map":
        return plots.run_figures(*comparison.plotted(run, select))
    if beside is not None:
        return gram(run, beside if isinstance(beside, Run) else open_run(beside))
    return DRAW[kind](run)


def vectors(run: Run) -> Figures:
    """W's columns as vectors, one panel a cell."""
    y, x = grid(run)
    best = table(features.best(run.dataset), y, x)
    W = features.in_one_frame(best["W"].transpose("row", "column", "hidden", "feature").to_numpy().astype(float))
    rows, columns = names(best, "row", y), names(best, "column", x)
    titles = [[", ".join(filter(None, (row, column))) for column in columns] for row in rows]
    importance = best["instance_importance"].transpose("row", "column", "feature").to_numpy()
    return {"vectors": feature_plots.vectors(W, importance, titles)}


def gram(run: Run, beside: Run | None = None) -> Figures:
    """W^T W, bias, and norms coloured by superposition of the best model of every cell."""
    panels = {}
    if beside is not None:
        panels = {f"{beside.spec.model.activation}": _models(beside)[0][1]}
    panels |= dict(_models(run))
    return {"gram": feature_plots.gram(panels)}


def geometry(run: Run) -> Figures:
    """D* and dimensionalities over 1/p, and feature graphs of the best models."""
    along = next((a.name for a in run.spec.axes if a.name != REPLICA), None)
    every = features.measures(run.dataset)
    best = features.best(every)
    probability = best["instance_feature_probability"].to_numpy().reshape(-1, run.spec.model.features)
    if along is None or np.ptp(probability, axis=1).any() or len(set(probability[:, 0])) < len(probability):
        raise RunError(f"{run.spec.name}: 'geometry' needs models that differ in the one probability of all features")
    order = {along: np.argsort(-probability[:, 0])}
    every, best, p = every.isel(order), best.isel(order), np.sort(probability[:, 0].astype(float))[::-1]
    some = np.unique(np.linspace(0, len(p) - 1, min(GRAPHS, len(p))).round().astype(int))
    models = {f"1/p = {1 / p[k]:.3g}": best["W"].isel({along: k}).to_numpy().astype(float) for k in some}
    return {
        "dimensions": feature_plots.dimensions(every.transpose(along, ...), best, p),
        "graphs": feature_plots.graphs({name: (W, *features.component_kinds(W)) for name, W in models.items()}),
    }


def norms(run: Run) -> Figures:
    """Norms coloured by interference of the best model of every cell; number represented and Frobenius norm of all."""
    y, x = grid(run)
    every = table(features.measures(run.dataset), y, x)
    best = features.best(every).transpose("row", "column", ...)
    rows, columns = names(best, "row", y), names(best, "column", x)
    if REPLICA not in every.dims:
        every = every.expand_dims(REPLICA)
    values = {
        text: every[name].transpose("row", "column", REPLICA).to_numpy()
        for name, text in (("represented", "features represented"), ("frobenius", r"Frobenius norm $\|W\|_F$"))
    }
    return {
        "norms": feature_plots.norms(best, rows, columns),
        "spreads": feature_plots.spreads(values, columns, rows),
    }


DRAW: dict[str, Callable[[Run], Figures]] = {"vectors": vectors, "gram": gram, "geometry": geometry, "norms": norms}


def grid(run: Run) -> tuple[str | None, str | None]:
    """(y, x): the axes of rows and of columns. One axis lies along x, unless the study says y."""
    y, x = run.spec.map_axes
    return (None, y) if x is None and run.spec.study.y is None else (y, x)


def table(dataset: xr.Dataset, y: str | None, x: str | None) -> xr.Dataset:
    """The dataset with dimensions row and column for y and x, of length 1 where there is no such axis."""
    for dim, axis in (("row", y), ("column", x)):
        dataset = dataset.expand_dims(dim) if axis is None else dataset.rename_dims({axis: dim})
    return dataset


def names(dataset: xr.Dataset, dim: str, axis: str | None) -> list[str]:
    """What each row or column is called: "p = 0.1", or an axis's own names."""
    if axis is None:
        return [""]
    return [plots.named(axis, value) for value in dataset[axis].to_numpy().tolist()]


def _models(run: Run) -> list[tuple[str, xr.Dataset]]:
    """The best model of every cell of a run over at most one axis: its name, and W, b, norm, superposition."""
    _, x = grid(run)
    best = table(features.best(features.measures(run.dataset)), None, x).isel(row=0)
    return [(name or run.spec.model.activation, best.isel(column=k)) for k, name in enumerate(names(best, "column", x))]
