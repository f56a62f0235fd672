"""What the page shows of a run: its facts, and the numbers of every cell and of every model.

Cells are numbered in the order of the axes (others..., y, x), so the cells of a map's row are neighbours. In arrays the
axis of cells is the last one: (cells,), (feature, cells), (replica, hidden, feature, cells).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from tmsjax import analysis, theory
from tmsjax.errors import RunError
from tmsjax.kinds import FAMILIES, MEASURES, REPLICA, REPRESENTED, RESERVED_PREFIXES, VALUES, without_lengths
from tmsjax.plots.explorer.pack import Late, Rounded, excess, linear, log, whole
from tmsjax.runs import Run
from tmsjax.spec import description

MOST_CELLS = 1_000_000  # more are shown as pixels of several cells
MOST_VALUES = 6_000_000  # parameters and losses; of runs with more, only the best model of each cell is shown
MOST_HISTORY = 1_000_000  # recorded numbers
MOST_OF_FEATURES = 1_000_000  # numbers for each feature of each cell; of more, only those of the mapped feature
MOST_GRAPH = 100_000  # features of all models, whose components are searched
MAP_BITS, EXCESS_BITS = 10, 12  # most bits of norms and shares, and of losses over others
NOTHING = 255  # masked phase, absent winner
RULES = ("best", "paper", "vote")  # "single" is read from the models
LINE_STUDIES = ("vectors", "gram", "geometry", "norms", "neurons", "curves", "learning", "dynamics")


@dataclass
class Content:
    """`about`: facts for the page (JSON). `cells`, `models`: arrays by name, rounded or still to be rounded."""

    about: dict[str, Any]
    cells: dict[str, Rounded | Late] = field(default_factory=dict)
    models: dict[str, Rounded | Late] = field(default_factory=dict)


def gathered(run: Run, select: str, region: analysis.Region | None) -> Content:
    """Everything that the page shows. Raises RunError if the run is unfinished, SpecError if it has no such region.

    `select` matters only above MOST_CELLS, where the page has a single rule.
    """
    box = analysis.region_box(run.spec, region)
    if box.size > MOST_CELLS:
        return _pixels(run, select, region)
    dataset = run.dataset
    spec = analysis.spec_of(dataset)
    names = [a.name for a in spec.axes if a.name != REPLICA]
    inside = dict(zip(names, box.slices, strict=True))
    exact = analysis.stored_exact_map(run)
    part = dataset.isel(inside).load()
    return _Gathering(part, None if exact is None else exact.isel(inside).load(), region).content()


class _Gathering:
    """Gathers the content of a run whose results are in memory."""

    def __init__(self, results: xr.Dataset, exact: xr.Dataset | None, region: analysis.Region | None):
        self.results, self.exact, self.region = results, exact, region
        self.dataset = dataset = analysis.with_replica(results)
        self.spec = analysis.spec_of(results)
        self.dims = [a.name for a in self.spec.axes if a.name != REPLICA]
        y, x = axes_shown(self.spec)
        self.order = [d for d in self.dims if d not in (y, x)] + [d for d in (y, x) if d is not None]
        self.count = math.prod(dataset.sizes[d] for d in self.dims)
        self.ok = self.by_replica("status") == 0
        loss = np.where(self.ok, self.by_replica("loss").astype(np.float64), np.inf)
        self.has_W = bool(dataset.attrs["directions"])
        self.mapped = self.has_W and without_lengths(self.spec) is None
        self.comparable = analysis.same_inputs(results)
        self.winner = np.argmin(loss, 0) if self.comparable else np.argmax(self.ok, 0)
        self.loss = loss
        self.least = np.where(self.ok.any(0), loss.min(0), np.nan)

    @property
    def has_results_of_all(self) -> bool:
        return not analysis.is_best_only(self.results)

    def by_replica(self, name: str, *rest: str) -> np.ndarray:
        """A variable as (replica, *rest, cells)."""
        values = self.dataset[name].transpose(REPLICA, *rest, *self.order).to_numpy()
        return values.reshape(*values.shape[: 1 + len(rest)], self.count)

    def by_cell(self, values: xr.DataArray, *rest: str) -> np.ndarray:
        """A variable over cells as (*rest, cells)."""
        placed = values.transpose(*rest, *self.order).to_numpy()
        return placed.reshape(*placed.shape[: len(rest)], self.count)

    def of_theory(self, values: np.ndarray, *rest: str) -> np.ndarray:
        """An array over (dims..., *rest), in the order of the spec, as (*rest, cells)."""
        return self.by_cell(xr.DataArray(values, dims=[*self.dims, *rest]), *rest)

    def content(self) -> Content:
        out = Content(self.about())
        theories = self.add_theories(out)
        self.add_maps(out)
        self.add_numbers(out)
        kept = self.add_models(out)
        self.add_history(out, kept)
        out.about |= {"kept": kept, "theories": theories}
        small = self.spec.exact_loss == "relu" and self.spec.model.features <= analysis.MOST_FEATURES
        out.about["could_compare"] = small and self.mapped and self.exact is None
        return out

    def about(self) -> dict[str, Any]:
        return facts(self.spec, self.dataset, self.order, self.region) | {
            "replicas": self.dataset.sizes[REPLICA],
            "comparable": self.comparable,
            "mapped_phases": self.mapped,
            "directions": self.has_W,
            "best_only": not self.has_results_of_all,
            "pixel": None,
        }

    def add_theories(self, out: Content) -> list[str]:
        """The phases, weights and losses that theories predict. Returns the theories' names."""
        if not self.mapped:
            return []
        found = analysis.theory_phases(self.results, self.exact)
        for name, phases in found.items():
            out.cells[f"theory_{name}"] = whole(self.of_theory(phases))
        if "candidate" in found:
            W = self.of_theory(analysis.candidate_weights(self.results), "hidden", "feature")
            inputs = analysis.cell_inputs(self.results)
            losses = theory.candidate_losses(*inputs, self.spec.data.values).min(-1)
            out.cells["loss_candidate"] = partial(log, self.of_theory(losses))
            out.models["W_candidate"] = partial(linear, W)
        if self.exact is not None and "exact" in found:
            exact_W = self.by_cell(self.exact["W"], "hidden", "feature")
            exact_b = self.by_cell(self.exact["b"], "feature")
            lowest = self.by_cell(self.exact["loss"])
            out.cells["excess_exact"] = partial(excess, self.least / lowest - 1, most=EXCESS_BITS)
            out.cells["loss_exact"] = partial(log, lowest)
            out.models["W_exact"] = partial(linear, exact_W)
            out.models["b_exact"] = partial(linear, exact_b)
        return list(found)

    def add_maps(self, out: Content) -> None:
        """The phase, norms and superposition of every cell by each rule."""
        rules = RULES if self.has_results_of_all and self.dataset.sizes[REPLICA] > 1 else RULES[:1]
        out.about["rules"] = list(rules) if self.mapped else ["best"]
        if not self.mapped:
            return
        n = self.spec.model.features
        shown = list(range(n)) if self.count * n <= MOST_OF_FEATURES else [self.spec.mapped_feature]
        out.about["features_shown"] = shown
        for rule in rules:
            mapped = analysis.phase_map(self.results, rule)
            phase = self.by_cell(mapped["phase"]).astype(np.int64)
            out.cells[f"phase_{rule}"] = whole(np.where(phase == analysis.MASKED, NOTHING, phase))
            for name in ("norm", "superposition"):
                values = self.by_cell(mapped[name], "feature")[shown]
                out.cells[f"{name}_{rule}"] = partial(linear, values, most=MAP_BITS)

    def add_numbers(self, out: Content) -> None:
        """The best loss, the winner, successes, failures and the inputs of every cell."""
        out.cells["loss"] = partial(log, self.least)
        if self.has_results_of_all:
            with np.errstate(invalid="ignore"):
                success = (self.loss <= analysis.SUCCESS * self.loss.min(0)).mean(0)
            failed = (~self.ok).sum(0)
            winner = np.where(self.ok.any(0), self.winner, -1)
            out.cells["winner"] = whole(winner + 1)
        else:
            success = self.by_cell(self.results["successes"]) / self.results.attrs["replicas"]
            failed = self.by_cell(self.results["diverged"])
        out.cells["success"] = partial(linear, np.where(self.ok.any(0), success, np.nan), most=MAP_BITS)
        out.cells["failed"] = whole(np.minimum(failed, 2**16 - 1))
        if self.count * self.spec.model.features <= MOST_OF_FEATURES // 10:
            for name in ("importance", "feature_probability"):
                inputs = self.by_replica(f"instance_{name}", "feature")
                out.cells[name] = partial(log, self.at_winner(inputs))

    def at_winner(self, values: np.ndarray) -> np.ndarray:
        """(replica, ..., cells) at each cell's best replica."""
        index = self.winner.reshape((1,) * (values.ndim - 1) + (-1,))
        return np.take_along_axis(values, index, 0)[0]

    def add_models(self, out: Content) -> str:
        """Parameters, loss, phase of the models. Returns which: "all", "best", the best of each cell, or "none"."""
        values = {}
        for name, dims in self.parameters().items():
            if name in self.dataset:
                values[name] = np.where(
                    self.ok.reshape(len(self.ok), *(1,) * len(dims), -1), self.by_replica(name, *dims), np.nan
                )
        if self.has_W and "W" not in values:
            values["W"] = self.by_replica("W", "hidden", "feature")
        out.about["parameters"] = {name: list(v.shape[1:-1]) for name, v in values.items()}
        size = sum(math.prod(v.shape[1:-1]) for v in values.values()) + 1
        if self.count * size > MOST_VALUES:
            return "none"
        fits = self.count * size * len(self.ok) <= MOST_VALUES
        kept = "all" if fits and self.has_results_of_all else "best"
        arrays = {"excess": self.loss / self.least - 1}
        phase = self.phases(values["W"]) if self.mapped else np.zeros(self.ok.shape, int)
        if kept == "best":
            values = {name: self.at_winner(v)[None] for name, v in values.items()}
            arrays = {name: self.at_winner(v)[None] for name, v in arrays.items()}
            phase = self.at_winner(phase)[None]
        for name, v in values.items():
            out.models[name] = partial(linear, v)
        out.models["excess"] = partial(excess, arrays["excess"], most=EXCESS_BITS)
        out.models["phase"] = whole(phase)
        if self.has_W and self.spec.study.kind == "geometry":
            self.add_graphs(out, values["W"])
        return kept

    def parameters(self) -> Mapping[str, tuple[str, ...]]:
        """The dimensions of each parameter; of an unknown family, of what has more dimensions than the sweep."""
        family = FAMILIES.get(self.spec.model.family)
        if family is not None:
            return family.parameters
        axes = {REPLICA, *self.dims}
        dims = {str(name): tuple(str(d) for d in v.dims if d not in axes) for name, v in self.dataset.data_vars.items()}
        return {name: own for name, own in dims.items() if own and not name.startswith(RESERVED_PREFIXES)}

    def phases(self, W: np.ndarray) -> np.ndarray:
        """The phase of every model (replica, cells), NOTHING where it diverged."""
        shown = analysis.layout(self.spec)
        found = analysis.phases_of(np.nan_to_num(np.moveaxis(W.astype(np.float64), -1, 1)), shown)
        return np.where(self.ok, found.astype(np.int64), NOTHING)

    def add_graphs(self, out: Content, W: np.ndarray) -> None:
        """The component of the feature graph to which each feature of a model belongs, and its polytope."""
        replicas, _, n, cells = W.shape
        if replicas * n * cells > MOST_GRAPH:
            return
        component, kind = (np.zeros((replicas, n, cells), int) for _ in range(2))
        for replica, cell in np.ndindex(replicas, cells):
            parts, kinds = analysis.component_kinds(np.nan_to_num(W[replica, :, :, cell].astype(np.float64)))
            for k, features in enumerate(parts):
                component[replica, features, cell] = k + 1
            kind[replica, :, cell] = kinds
        out.models["component"], out.models["polytope"] = whole(component), whole(kind)

    def add_history(self, out: Content, kept: str) -> None:
        """Recorded measures over steps, of all models or the best of each cell."""
        out.about["history"] = None
        if "step" not in self.dataset.dims or kept == "none" or self.dataset.sizes["step"] < 2:
            return
        measures = {}
        for name, measure in MEASURES.items():
            variable = f"history_{name}"
            if variable not in self.dataset or measure.dims not in ((), ("feature",)):
                continue
            values = self.by_replica(variable, *measure.dims, "step")
            if kept == "best" or values.size > MOST_HISTORY:
                values = self.at_winner(values)[None]
            if values.size > MOST_HISTORY:
                continue
            out.models[variable] = partial(log if name == "loss" else linear, values, most=EXCESS_BITS)
            measures[name] = measure.sentence
        if measures:
            out.about["history"] = {"steps": self.dataset["step"].to_numpy().tolist(), "measures": measures}


def axes_shown(spec: Any) -> tuple[str | None, str | None]:
    """(y, x): the axes of the page's picture. A single axis is x."""
    y, x = spec.map_axes
    return (None, y) if x is None else (y, x)


def facts(spec: Any, dataset: xr.Dataset, order: list[str], region: analysis.Region | None) -> dict[str, Any]:
    """What the page tells of the sweep and its axes, in the order of cells."""
    shown = analysis.layout(spec)
    family = FAMILIES.get(spec.model.family)
    values = VALUES.get(spec.data.values)
    several = sum(dataset.sizes[d] > 1 for d in order) > 1
    view = "map" if several and spec.study.kind not in LINE_STUDIES else "line"
    return {
        "name": spec.name,
        "facts": description(spec),
        "study": spec.study.kind,
        "view": view,
        "axes": [axis(spec, dataset, name) for name in order],
        "flat": view == "line" or axes_shown(spec)[0] is None,
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
    from tmsjax.plots import style

    values = dataset[name].to_numpy()
    numbers = np.issubdtype(values.dtype, np.number) and len(set(np.sign(np.diff(values)))) <= 1
    logarithmic = analysis.is_log(spec, name)
    cells = dataset[f"cells_{name}"].to_numpy() if f"cells_{name}" in dataset.coords else values
    edges = np.arange(len(values) + 1.0)
    if numbers:
        every = style.borders(cells.astype(np.float64), logarithmic)
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
    trained, theories, _ = analysis.plotted(run, select, region)
    spec = analysis.spec_of(trained)
    if "feature" in trained["norm"].dims:
        raise RunError(
            f"{spec.name}: has {trained['phase'].size:,} cells, and at most {MOST_CELLS:,} are shown one by one; "
            "choose a part of it with --region"
        )
    y, x = axes_shown(spec)
    dims = [str(d) for d in trained["phase"].dims]
    order = [d for d in dims if d not in (y, x)] + [d for d in (y, x) if d is not None]

    def placed(values: Any) -> np.ndarray:
        return xr.DataArray(np.asarray(values), dims=dims).transpose(*order).to_numpy().reshape(-1)

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
        "parameters": {},
        "history": None,
    }
    out = Content(about)
    phase = placed(trained["phase"]).astype(np.int64)
    out.cells[f"phase_{select}"] = whole(np.where(phase == analysis.MASKED, NOTHING, phase))
    for name in ("norm", "superposition"):
        out.cells[f"{name}_{select}"] = partial(linear, placed(trained[name])[None], most=MAP_BITS)
    out.cells["success"] = partial(linear, placed(trained["success"]), most=MAP_BITS)
    out.cells["failed"] = whole(np.minimum(placed(trained["failed"]), 2**16 - 1))
    for name, phases in theories.items():
        out.cells[f"theory_{name}"] = whole(placed(phases))
        out.cells[f"difference_{name}"] = whole(placed(trained[f"difference_{name}"]))
    return out
