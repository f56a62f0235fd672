"""The figures of a run by file name, for the study that its spec names or the studies that suit its shape."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.kinds import (
    FAMILIES,
    REPLICA,
    STUDIES,
    draws,
    first_line,
    mappable,
    misfit,
    suited,
)
from tmsjax.plots import curves as curve_figures
from tmsjax.plots import dynamics as dynamic_figures
from tmsjax.plots import features, maps, series, style
from tmsjax.plots import neurons as neuron_figures
from tmsjax.plots.cells import COLUMN, ROW, best_of, cell_name, panels_per_row, placed, set_size, title
from tmsjax.plots.notebook import Pictures, shown_as_pictures
from tmsjax.plots.style import label, tick
from tmsjax.runs import Run, as_run
from tmsjax.spec import SELECTIONS, suggest

MAP = "phase-map"
MOST_MODELS = 20_000_000  # in a run of several units, for figures that load all of them
GRAPHS = 12  # largest number of feature graphs in a figure
LACKS = {
    "directions": "these models have no directions W to show",
    "history": "no measure was recorded that can be shown over steps",
    "trajectory": "the loss was not recorded with W or dimensionality over steps; "
    '[record] measures = ["loss", "W"] does that',
}
Figures = dict[str, Any]


def figures(
    run: Run | str | Path,
    *,
    kind: str | None = None,
    select: str = "best",
    beside: Run | str | Path | None = None,
    region: analysis.Region | None = None,
) -> Figures:
    """The run's figures by file name. A notebook shows them as pictures.

    `kind`: of the figures; None: that of the study that the spec names, otherwise all that suit the run's shape (see
    kinds.STUDIES). `select`: the rule that selects among replicas in phase maps; other kinds show the model of lowest
    loss (analysis.best). `beside`: a second run, whose first cell is drawn before the others ("gram" only). `region`:
    the lowest and highest value along some axes; draws only this part of a phase map, and adds "-region" to the names.
    Raises RunError if the run cannot be shown in this way, SpecError if it has no such region, ValueError for an
    unknown kind or rule.

    Maps of more than 1,000 cells along an axis, and regions of more than 1,000,000 cells, are drawn as at most 800 x
    800 pixels of several cells each. Other kinds load all models: runs of several units with more than MOST_MODELS are
    refused, or left out with a warning if no kind is named.

    Examples:
        >>> list(tmsjax.figures(run, kind="phase-map", region={"extra_importance": (0.2, 2.0)}))
        ['phase_map-region', 'failures-region', 'agreement-region', 'panels-region']
    """
    run = as_run(run)
    for what, given, allowed in (("select", select, SELECTIONS), ("kind", kind or next(iter(STUDIES)), STUDIES)):
        if given not in allowed:
            raise ValueError(f"{what} = {given!r} is not known{suggest(str(given), list(allowed))}")
    asked = kind or named_study(run)
    if asked is None and beside is not None:
        asked = "gram"
    if beside is not None and asked != "gram":
        raise RunError(f"only figures of kind 'gram' show a run beside another, not {asked!r}")
    if region is not None:
        asked = kind or MAP
        if asked != MAP:
            raise RunError(f"only phase maps show a region, not figures of kind {asked!r}")
    chosen = loadable(run, fitting(run)) if asked is None else [checked_kind(run, asked)]
    if select != "best" and MAP not in chosen:
        which = " and ".join(map(repr, chosen))
        raise RunError(f"figures of kind {which} show the model of lowest loss: select is 'best', not {select!r}")
    shown_as_pictures()
    out: Figures = Pictures()
    for one in chosen:
        if one == MAP:
            out |= map_figures(run, select, region)
        elif beside is not None:
            out |= gram(run, as_run(beside))
        else:
            out |= drawn(run, one)
    return out


def named_study(run: Run) -> str | None:
    """The kind that the spec names, or None.

    Older versions stored "phase-map" if none was named, so it is ignored for runs that are not maps.
    """
    kind = run.spec.study.kind
    return None if kind == MAP and not (mappable(run.spec) and run.dataset.attrs["directions"]) else kind


def fitting(run: Run) -> list[str]:
    """The kinds that suit the run's shape."""
    return suited(run.spec, results_have(run))


def loadable(run: Run, kinds: list[str]) -> list[str]:
    """Those of several kinds that can draw a run of this size. Warns of others; raises RunError if there are none."""
    reasons = {kind: too_large(run, kind) for kind in kinds}
    able = [kind for kind in kinds if reasons[kind] is None]
    problems = [reason for reason in reasons.values() if reason is not None]
    if not able:
        raise RunError(problems[0])
    for problem in problems:
        warnings.warn(problem, stacklevel=3)
    return able


def too_large(run: Run, kind: str) -> str | None:
    """Why a run has too many models for a kind of figures; None if it has not."""
    count = math.prod(run.units.grid)
    if kind == MAP or len(run.units) == 1 or count <= MOST_MODELS:
        return None
    return (
        f"{run.spec.name}: figures of kind {kind!r} load all {count:,} models, and more than {MOST_MODELS:,} are too "
        f"many; {MAP!r} draws any number, or a part of them (--region)"
    )


def results_have(run: Run) -> set[str]:
    """What the results contain of what studies need."""
    has = {"directions": bool(run.dataset.attrs["directions"]), "history": series.has_history(run.dataset)}
    several = run.dataset.sizes.get("step", 0) > 1 and "history_loss" in run.dataset
    has["trajectory"] = several and ("history_W" in run.dataset or "history_dimensionality" in run.dataset)
    return {name for name, there in has.items() if there}


def checked_kind(run: Run, kind: str) -> str:
    """`kind`. Raises RunError if its figures cannot show the run."""
    name = run.spec.name
    if kind not in STUDIES:
        raise RunError(
            f"{name}: the study {kind!r} is not known here; import the file that adds it, or choose a `kind`"
        )
    if problem := misfit(run.spec, kind) or STUDIES[kind].unequal(run.spec):
        raise RunError(f"{name}: {problem}")
    has = results_have(run) if STUDIES[kind].needs else set()
    for need in STUDIES[kind].needs:
        if need not in has:
            raise RunError(f"{name}: {LACKS[need]}")
    if problem := too_large(run, kind):
        raise RunError(problem)
    return kind


def drawn(run: Run, kind: str) -> Figures:
    """The figures that a study of this kind draws. Raises RunError if it does not return figures by file name."""
    draw = STUDIES[kind].draw
    assert draw is not None  # this module has registered those of the built-in studies
    if STUDIES.source(kind) is None:
        return draw(run)
    try:
        found = draw(run)
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise RunError(f"{run.spec.name}: the study {kind!r} failed: {first_line(error)}") from error
    if not isinstance(found, dict) or not found:
        raise RunError(f"the study {kind!r} must return a dict of figures by file name, not {found!r:.80}")
    for name, figure in found.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
            raise RunError(f"the study {kind!r}: {name!r:.80} is not a file name of letters, digits, '-' and '_'")
        if not style.is_figure(figure):
            raise RunError(f"the study {kind!r}: {name!r} is not a matplotlib Figure but {type(figure).__name__}")
    return found


def thumbnail(run: Run) -> bytes:
    """The run's map, or else its first figure, as a small PNG. Raises RunError if it has none.

    Examples:
        >>> tmsjax.plots.thumbnail(run)[1:4]
        b'PNG'
    """
    asked = named_study(run)
    kind = fitting(run)[0] if asked is None else checked_kind(run, asked)
    if kind == MAP:
        trained, theories, _ = analysis.plotted(run, "best")
        third = analysis.other_axes(trained)
        return style.small_png(maps.facets(trained, theories, *third) if third else maps.phase_map(trained, theories))
    return style.small_png(next(iter(drawn(run, kind).values())))


@draws(MAP)
def map_figures(run: Run, select: str = "best", region: analysis.Region | None = None) -> Figures:
    """The map of one feature, the share of failed inits, and the comparison with theory."""
    drawn = maps.run_figures(*analysis.plotted(run, select, region))
    return drawn if region is None else {f"{name}-region": figure for name, figure in drawn.items()}


@draws("curves")
def curves(run: Run) -> Figures:
    """Noise-free loss, features represented and D* along one axis."""
    shown = series.along_axis(run)
    return {"curves": curve_figures.along(shown, f"{run.spec.name}: {told(run)}")}


@draws("learning")
def learning(run: Run) -> Figures:
    """Every recorded measure over the steps of training."""
    step, panels = series.learning(run)
    return {"learning": curve_figures.learning(step, panels, f"{run.spec.name}: {told(run)}")}


@draws("dynamics")
def dynamics(run: Run) -> Figures:
    """The best model of every cell during training: W at several steps and as an animation, and dimensionalities."""
    size = set_size(run.spec)
    which = "the model of lowest loss" if len(run.spec.axis.get(REPLICA, ())) > 1 else "the model"
    cells = math.prod(len(a) for a in run.spec.axes if a.name != REPLICA)
    head = f"{run.spec.name}: {which}{' of each cell' if cells > 1 else ''}"
    out: Figures = {}
    if "history_dimensionality" in run.dataset:
        out["levels"] = dynamic_figures.levels(paths_of(run, "dimensionality")[: dynamic_figures.ANIMATED], head)
    if "history_W" in run.dataset:
        paths = [replace(path, values=analysis.dynamics.in_frame_of_last(path.values)) for path in paths_of(run, "W")]
        out["dynamics"] = dynamic_figures.steps(paths, head, size)
        out["dynamics_animation"] = dynamic_figures.animation(paths, head, size)
    return out


def paths_of(run: Run, measure: str) -> list[dynamic_figures.Path]:
    """The loss and a recorded measure of the best model of every cell, over the steps of training."""
    best = analysis.best(analysis.with_replica(run.dataset)).sortby("step")
    axes = [a.name for a in run.spec.axes if a.name != REPLICA]
    names = [f"history_{measure}", "history_loss"]
    paths = []
    for index in np.ndindex(*(best.sizes[a] for a in axes)):
        cell = best.isel(dict(zip(axes, index, strict=True)))
        values, loss = (cell[name].transpose("step", ...).to_numpy().astype(float) for name in names)
        if measure == "W":
            values = cell[names[0]].transpose("step", "hidden", "feature").to_numpy().astype(float)
        values, loss = (np.where(np.isfinite(v), v, np.nan) for v in (values, loss))
        text = title(cell, ", ".join(cell_name(cell, axis) for axis in axes) or told(run))
        paths.append(dynamic_figures.Path(text, cell["step"].to_numpy(), loss, values))
    return paths


@draws("vectors")
def vectors(run: Run) -> Figures:
    """The columns of W as vectors, one panel per cell."""
    y, x = grid(run)
    cells, columns = best_of(placed(best_measured(run), {ROW: y, COLUMN: x}))
    titles = [title(cell, "\n".join(cell_name(cell, axis) for axis in (y, x) if axis is not None)) for cell in cells]
    W = np.array([cell["W"].transpose("hidden", "feature").to_numpy().astype(float) for cell in cells])
    importance = np.array([cell["instance_importance"].to_numpy() for cell in cells])
    frame, size = analysis.in_one_frame(W), set_size(run.spec)
    return {"vectors": features.vectors(frame, importance, titles, panels_per_row(cells, columns), size)}


@draws("gram")
def gram(run: Run, beside: Run | None = None) -> Figures:
    """W^T W, bias, and norms coloured by superposition, for the best model of every cell."""
    panels = models_of(run)
    if beside is not None:
        if problem := misfit(beside.spec, "gram"):
            raise RunError(f"{beside.spec.name}: {problem}")
        if beside.spec.model.features != run.spec.model.features:
            counts = f"{beside.spec.model.features} and {run.spec.model.features}"
            raise RunError(
                f"{beside.spec.name} and {run.spec.name} have {counts} features; they cannot be shown beside each other"
            )
        panels = [(beside.spec.model.activation, models_of(beside)[0][1]), *panels]
    return {"gram": features.gram(panels)}


@draws("geometry")
def geometry(run: Run) -> Figures:
    """D* and dimensionalities against 1/p, and feature graphs of the best models."""
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


@draws("norms")
def norms(run: Run) -> Figures:
    """Norms coloured by interference, for the best of every cell; features represented and Frobenius norms of all."""
    y, x = grid(run)
    every = placed(analysis.measures(run.dataset), {ROW: y, COLUMN: x})
    cells, columns = best_of(every)
    titles = []
    for k, cell in enumerate(cells):
        count = "diverged" if int(cell["status"]) else f"{cell['represented'].item():g} represented"
        head = cell_name(cell, x) if k < columns else ""  # above the first row only, unless a single row is wrapped
        titles.append("\n".join(filter(None, (head, count))))
    norm, classes = (np.array([cell[name].to_numpy() for cell in cells]) for name in ("norm", "class"))
    sides = [cell_name(cell, y) for cell in cells[::columns]] if y is not None else []
    every = analysis.with_replica(every)
    measured = {
        text: every[name].transpose(ROW, COLUMN, REPLICA).to_numpy()
        for name, text in (("represented", "features represented"), ("frobenius", r"Frobenius norm $\|W\|_F$"))
    }
    ticks, series = ([tick(v) for v in run.spec.axis[a].values] if a else [""] for a in (x, y))
    around = [label(a) if a else "" for a in (x, y)]
    return {
        "norms": features.norms(norm, classes, titles, panels_per_row(cells, columns), sides),
        "spreads": features.spreads(measured, ticks, around[0], series, around[1]),
    }


@draws("neurons")
def neurons(run: Run) -> Figures:
    """Weights of every neuron of the best model of each cell as a stack.

    "neurons": the weights that it reads; "writes": those that it writes, unless they are the same.
    """
    y, x = grid(run)
    best = analysis.neurons.measured(analysis.best(run.dataset.drop_dims("step", errors="ignore")))
    cells, columns = best_of(placed(best, {ROW: y, COLUMN: x}))
    stacks: dict[str, list] = {"reads": [], "writes": []}
    kinds, titles = [], []
    for cell in cells:
        ranks = analysis.neurons.order(
            cell["reads"].transpose("hidden", "feature").to_numpy(), cell["neuron_class"].to_numpy()
        )
        for name, weights in stacks.items():
            weights.append(cell[name].transpose("hidden", "feature").to_numpy()[ranks])
        kinds.append(cell["neuron_class"].to_numpy()[ranks])
        titles.append(title(cell, "\n".join(cell_name(cell, axis) for axis in (y, x) if axis is not None)))
    wrap = len(cells) == columns
    out = {"neurons": neuron_figures.stacks(np.array(stacks["reads"]), kinds, titles, columns, wrap, "reads")}
    if FAMILIES[run.spec.model.family].writes is not None:
        out["writes"] = neuron_figures.stacks(np.array(stacks["writes"]), kinds, titles, columns, wrap, "writes")
    return out


def best_measured(run: Run) -> xr.Dataset:
    """Measures of the best model of every cell, without measuring the other replicas."""
    return analysis.measures(analysis.best(run.dataset.drop_dims("step", errors="ignore")))


def told(run: Run) -> str:
    """The number of models of a run, and of diverged models, which are not shown."""
    kept = "diverged" if analysis.is_best_only(run.dataset) else "status"
    values = run.dataset[kept]
    diverged = int((values if kept == "diverged" else values != 0).sum())
    models = f"{run.spec.instances:,} model{'s' * (run.spec.instances > 1)}"
    return f"{models}, {diverged:,} diverged" if diverged else models


def grid(run: Run) -> tuple[str | None, str | None]:
    """(y, x): the axes of rows and columns. A single axis is x, unless the study names it y."""
    y, x = run.spec.map_axes
    return (None, y) if x is None and run.spec.study.y is None else (y, x)


def the_axis(run: Run) -> str | None:
    """The first axis other than replica, if there is one."""
    return next((a.name for a in run.spec.axes if a.name != REPLICA), None)


def models_of(run: Run) -> list[tuple[str, xr.Dataset]]:
    """Title and dataset (W, b, norm, superposition) of the best model of every cell, over at most one axis."""
    axis = the_axis(run)
    best = placed(best_measured(run), {COLUMN: axis})
    cells = [best.isel({COLUMN: k}) for k in range(best.sizes[COLUMN])]
    return [(title(cell, cell_name(cell, axis) or run.spec.model.activation), cell) for cell in cells]
