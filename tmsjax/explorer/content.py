"""What the page shows of a run: its facts, and the arrays of its cells and models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.explorer import cells, models
from tmsjax.explorer.pack import Arrays, linear, whole
from tmsjax.explorer.results import Results, in_page_order, masked
from tmsjax.kinds import FAMILIES, REPLICA, REPRESENTED, STUDIES, VALUES
from tmsjax.plots import style
from tmsjax.runs import Run
from tmsjax.spec import description

MOST_CELLS = 1_000_000  # more are shown as pixels of several cells


@dataclass
class Content:
    """`about`: facts for the page (JSON). `cells`, `models`: arrays by name; the page reads those of models later."""

    about: dict[str, Any]
    cells: Arrays
    models: Arrays


def content_of(run: Run, select: str, region: analysis.Region | None) -> Content:
    """Everything that the page shows. Raises RunError if the run is unfinished, SpecError if it has no such region.

    `select` matters only above MOST_CELLS, where the page has a single rule.
    """
    box = analysis.region_box(run.spec, region)
    if box.size > MOST_CELLS:
        return _pixels(run, select, region)
    names = [a.name for a in run.spec.axes if a.name != REPLICA]
    inside = dict(zip(names, box.slices, strict=True))
    dataset, exact = run.dataset.isel(inside).load(), analysis.stored_exact_map(run)
    results = Results(dataset, None if exact is None else exact.isel(inside).load())
    mapped, phases = cells.maps(results)
    numbered, numbers = cells.numbers(results)
    predicted, predictions, optima = cells.predictions(results)
    kept, parameters = models.models(results)
    recorded, history = models.history(results, kept["kept"])
    about = facts(results.spec, dataset, results.order, region)
    about |= {
        "replicas": results.replicas,
        "comparable": results.comparable,
        "mapped_phases": results.mapped,
        "directions": results.has_W,
        "best_only": results.best_only,
        "pixel": None,
        **mapped,
        **numbered,
        **predicted,
        **kept,
        **recorded,
    }
    late = {**parameters, **optima, **history} if kept["kept"] != "none" else {}
    return Content(about, {**phases, **numbers, **predictions}, late)


def facts(spec: Any, dataset: xr.Dataset, order: list[str], region: analysis.Region | None) -> dict[str, Any]:
    """What the page tells of the sweep and its axes, in the order of cells."""
    shown = analysis.layout(spec)
    family = FAMILIES.get(spec.model.family)
    values = VALUES.get(spec.data.values)
    several = sum(dataset.sizes[d] > 1 for d in order) > 1
    study = STUDIES.get(spec.study.kind)  # None: no study is named, or one that was added elsewhere
    view = "map" if several and (study is None or study.view == "map") else "line"
    return {
        "name": spec.name,
        "facts": description(spec),
        "study": spec.study.kind,
        "view": view,
        "axes": [axis(spec, dataset, name) for name in order],
        "flat": view == "line",
        "features": spec.model.features,
        "hidden": spec.model.hidden,
        "family": spec.model.family,
        "activation": spec.model.activation,
        "formula": family.sentence if family else "",
        "signed": values is None or values.least is None,
        "mapped_feature": shown.feature,
        "features_shown": [shown.feature],
        "phases": list(shown.phases),
        "represented": REPRESENTED,
        "region": {name: list(ends) for name, ends in (region or {}).items()},
    }


def axis(spec: Any, dataset: xr.Dataset, name: str) -> dict[str, Any]:
    """An axis: its values, and the borders of its cells, in the order of the values."""
    values = dataset[name].to_numpy()
    numbers = np.issubdtype(values.dtype, np.number) and len(set(np.sign(np.diff(values)))) <= 1
    logarithmic = analysis.is_log(spec, name)
    single = dataset[f"cells_{name}"].to_numpy() if f"cells_{name}" in dataset.coords else values
    edges = np.arange(len(values) + 1.0)
    if numbers:
        every = style.borders(single.astype(np.float64), logarithmic)
        size = dataset.attrs.get("pixel", {}).get(name, 1)
        edges = np.append(every[:-1:size], every[-1])
    return {
        "name": name,
        "label": style.label(name),
        "symbol": style.SYMBOLS.get(name, style.label(name)),
        "values": values.tolist(),
        "edges": edges.tolist(),
        "scale": ("log" if logarithmic else "linear") if numbers else "names",
    }


def _pixels(run: Run, select: str, region: analysis.Region | None) -> Content:
    """The content of a run with too many cells: means over the cells of each pixel, by one rule."""
    remedy = f"at most {MOST_CELLS:,} cells are shown one by one; choose a part of it with --region"
    try:
        trained, theories, _ = analysis.plotted(run, select, region)
    except RunError as error:
        raise RunError(f"{error}; {remedy}") from error
    spec = analysis.spec_of(trained)
    if "feature" in trained["norm"].dims:
        raise RunError(f"{spec.name}: has {trained['phase'].size:,} cells; {remedy}")
    dims = [str(d) for d in trained["phase"].dims]
    order = in_page_order({d: trained.sizes[d] for d in dims}, spec)

    def placed(values: Any) -> np.ndarray:
        return xr.DataArray(np.asarray(values), dims=dims).transpose(*order).to_numpy().reshape(-1)

    failed = placed(trained["failed"])
    out: Arrays = {
        f"phase_{select}": whole(masked(placed(trained["phase"]))),
        "success": partial(linear, placed(trained["success"]), most=cells.MAP_BITS),
        "failed": whole(np.minimum(failed, cells.MOST_COUNT)),
    }
    for name in ("norm", "superposition"):
        out[f"{name}_{select}"] = partial(linear, placed(trained[name])[None], most=cells.MAP_BITS)
    for name, phases in theories.items():
        out[f"theory_{name}"] = whole(placed(phases))
        out[f"difference_{name}"] = whole(placed(trained[f"difference_{name}"]))
    about = facts(spec, trained, order, region) | {
        "replicas": 1,
        "comparable": True,
        "mapped_phases": True,
        "directions": True,
        "best_only": False,
        "pixel": trained.attrs["pixel"],
        "could_compare": False,
        "kept": "none",
        "theories": list(theories),
        "rules": [select],
        "most_failed": int(failed.max()),
        "parameters": {},
        "history": None,
    }
    return Content(about, out, {})
