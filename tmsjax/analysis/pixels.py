"""What a figure of a phase map shows: the cells of a run or of a region of it, or pixels of several cells each.

A figure has fewer pixels than a large map has cells. `Pixels` sums over the cells of each pixel unit by unit, so that
memory is that of a unit and of the figure.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np
import xarray as xr

from tmsjax.analysis import phases
from tmsjax.analysis.comparison import stored_exact_map, stored_optima, theory_phases
from tmsjax.analysis.regions import Region, region_box
from tmsjax.analysis.stream import axes_only, is_divided, parts
from tmsjax.errors import RunError
from tmsjax.kinds import measures
from tmsjax.runs import Run
from tmsjax.spec import Box

LONGEST = 1000  # cells along an axis of a map that are shown one by one
MOST_CELLS = 1_000_000  # of a region that are shown one by one
PIXELS, PANEL_PIXELS = 800, 300  # largest numbers along an axis of a map, and of each of several maps
DIFFERENCES = ("same phase", "theory: superposition, trained: not", "other difference", "masked")

Shades = dict[str, tuple[np.ndarray, np.ndarray]]  # norm and superposition of the mapped feature, by theory
Weights = dict[str, np.ndarray]  # W, by theory
Picture = tuple[xr.Dataset, dict[str, np.ndarray], Weights | Shades]


def plotted(run: Run, select: str, region: Region | None = None) -> Picture:
    """The data of a run's figures: the phase map, and each theory's phases and weights W, over the cells of `region`.

    Above LONGEST cells along an axis, and for runs of several units, over pixels: means of norm and superposition, the
    most frequent phase, and norm and superposition instead of W. Does not compute exact optima, only reads stored ones.
    Raises RunError unless the run is a map over two axes, or over three (one panel per value of the third).
    """
    phases.check_selection(select)
    axes = axes_only(run)
    third = phases.other_axes(axes)
    if len(third) > 1 or not phases.is_map(axes.isel({axis: 0 for axis in third})):
        have = ", ".join(map(str, axes["phase"].dims)) or "none"
        needs = "two axes of numbers in monotonic order, and at most one more besides replica"
        raise RunError(f"a phase map needs {needs}; {run.spec.name} has: {have}")
    box = region_box(run.spec, region)
    one_by_one = region is not None or max(axes.drop_dims(third).sizes.values()) <= LONGEST
    if one_by_one and region is None and not is_divided(run):
        return _whole(run, select)
    size = (1,) * len(box.shape)
    if not one_by_one or box.size > MOST_CELLS:
        most = PANEL_PIXELS if third and axes.sizes[third[0]] > 1 else PIXELS
        size = tuple(
            1 if d in third else math.ceil(n / most) for d, n in zip(axes["phase"].dims, box.shape, strict=True)
        )
    return _over_pixels(run, select, Pixels(axes, box, size))


def _whole(run: Run, select: str) -> Picture:
    """The phase map of every cell, and each theory's phases and weights."""
    dataset = run.dataset
    trained = phases.phase_map(dataset, select)
    exact = stored_exact_map(run)
    theories = theory_phases(dataset, exact)
    return trained, theories, _weights(dataset, theories, exact)


def _over_pixels(run: Run, select: str, pixels: Pixels) -> Picture:
    """The figure's pixels, summed over the units that they touch."""
    needed = list(run.cells.overlapping(pixels.box))
    for unit, part in parts(run, "plot", needed):
        trained = phases.phase_map(part, select)
        exact = stored_optima(run, unit)
        theories = theory_phases(part, exact)
        shades = {name: _shades(W, pixels.feature) for name, W in _weights(part, theories, exact).items()}
        pixels.add(run.cells[unit], trained, theories, shades)
    return pixels.result(select)


def _weights(dataset: xr.Dataset, theories: Mapping[str, np.ndarray], exact: xr.Dataset | None) -> Weights:
    """W (..., m, n) of each theory that has some."""
    weights = {}
    if "candidate" in theories:
        weights["candidate"] = phases.candidate_weights(dataset)
    if exact is not None:
        weights["exact"] = exact["W"].to_numpy()
    return weights


def _shades(W: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray]:
    """Norm and superposition of one feature of W (..., m, n)."""
    W = W.astype(np.float64)
    return measures.norms(W)[..., feature], measures.superposition(W)[..., feature]


def differences(phase: np.ndarray, expected: np.ndarray, shared: int) -> np.ndarray:
    """Index into DIFFERENCES of every cell. `shared`: the phase of superposition."""
    kind = np.where(phase == expected, 0, np.where(expected == shared, 1, 2))
    return np.where(phase == phases.MASKED, 3, kind)


class Pixels:
    """Sums over the cells of each pixel. `axes`: see `axes_only`; `size`: cells of a pixel along each axis."""

    def __init__(self, axes: xr.Dataset, box: Box, size: tuple[int, ...]):
        self.axes, self.box, self.size = axes, box, size
        self.layout = phases.layout(phases.spec_of(axes))
        self.feature = self.layout.feature
        self.shape = tuple(math.ceil(n / step) for n, step in zip(box.shape, size, strict=True))
        self._sums: dict[Hashable, np.ndarray] = {}
        self._units: dict[Hashable, int] = {"": 0}  # to which each theory applies, "": all

    def add(self, cells: Box, trained: xr.Dataset, theories: Mapping[str, np.ndarray], shades: Shades) -> None:
        """Adds the phase map of the unit at `cells`, the phases that theories predict, and their shades."""
        ranges = [
            range(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(cells.ranges, self.box.ranges, strict=True)
        ]
        inside = tuple(slice(r.start - c.start, r.stop - c.start) for r, c in zip(ranges, cells.ranges, strict=True))
        pixel = [(np.array(r) - b.start) // s for r, b, s in zip(ranges, self.box.ranges, self.size, strict=True)]
        first = [np.flatnonzero(np.diff(p, prepend=-1)) for p in pixel]
        goal = tuple(slice(int(p[0]), int(p[-1]) + 1) for p in pixel)

        def total(name: Hashable, values: np.ndarray) -> None:
            values = values[inside].astype(np.int32 if values.dtype == bool else np.float64)
            for axis, starts in enumerate(first):
                values = np.add.reduceat(values, starts, axis)
            self._sums.setdefault(name, np.zeros(self.shape, values.dtype))[goal] += values

        phase = trained["phase"].to_numpy()
        total("usable", phase != phases.MASKED)
        total("masked", phase == phases.MASKED)
        for name in ("norm", "superposition"):
            total(name, np.nan_to_num(trained[name].to_numpy()[..., self.feature]))
        total("success", np.nan_to_num(trained["success"].to_numpy()))
        total("failed", trained["failed"].to_numpy())
        names = range(len(self.layout.phases))
        for k in names:
            total(("phase", k), phase == k)
        for name, expected in theories.items():
            kind = differences(phase, expected, len(names) - 1)
            for k in names:
                total((name, k), expected == k)
            for k in range(len(DIFFERENCES)):
                total(((name, "difference"), k), kind == k)
        for theory, (norm, superposition) in shades.items():
            total((theory, "norm"), norm)
            total((theory, "superposition"), superposition)
        for applied in ("", *theories, *((theory, "shades") for theory in shades)):
            self._units[applied] = self._units.get(applied, 0) + 1

    def result(self, select: str) -> tuple[xr.Dataset, dict[str, np.ndarray], Shades]:
        """A phase map over the pixels, and the phases and shades of the theories that apply to all of them.

        Further variables: `masked`, the share of masked cells; for each theory `difference_NAME`, the most frequent
        index into DIFFERENCES, and `agreeing_NAME` and `usable`, numbers of cells.
        """
        sums = self._sums
        applies = [name for name, units in self._units.items() if name and units == self._units[""]]
        theories = {str(n): self._plurality(n, len(self.layout.phases)) for n in applies if isinstance(n, str)}
        cells = sums["usable"] + sums["masked"]
        shades = {
            name: (sums[name, "norm"] / cells, sums[name, "superposition"] / cells)
            for name in theories
            if (name, "shades") in applies
        }
        usable = np.where(sums["usable"], sums["usable"], np.nan)
        phase = np.where(sums["usable"], self._plurality("phase", len(self.layout.phases)), phases.MASKED)
        variables = {name: sums[name] / usable for name in ("norm", "superposition", "success")}
        variables |= {"phase": phase.astype(np.int8), "masked": sums["masked"] / cells}
        variables |= {name: sums[name] for name in ("failed", "usable")}
        for name in theories:
            variables[f"difference_{name}"] = self._plurality((name, "difference"), len(DIFFERENCES))
            variables[f"agreeing_{name}"] = sums[(name, "difference"), 0]
        dims = [str(d) for d in self.axes["phase"].dims]
        attrs = {"spec": self.axes.attrs["spec"], "select": select, "pixel": dict(zip(dims, self.size, strict=True))}
        data = {name: (dims, values) for name, values in variables.items()}
        return xr.Dataset(data, self._coordinates(dims), attrs), theories, shades

    def _plurality(self, name: Hashable, count: int) -> np.ndarray:
        """The most frequent of `count` values in each pixel, the lowest on a tie."""
        return np.argmax(np.stack([self._sums[name, k] for k in range(count)]), axis=0).astype(np.int8)

    def _coordinates(self, dims: list[str]) -> dict[str, tuple[str, np.ndarray]]:
        """The middle of each pixel (of a log axis on its scale), and the values of all cells as cells_AXIS."""
        out = {}
        for dim, inside, size in zip(dims, self.box.slices, self.size, strict=True):
            values = self.axes[dim].to_numpy()[inside]
            out[f"cells_{dim}"] = (f"cells_{dim}", values)
            if size > 1:
                starts = np.arange(0, len(values), size)
                log = phases.is_log(phases.spec_of(self.axes), dim)
                sums = np.add.reduceat(np.log(values) if log else values, starts)
                values = sums / np.diff(starts, append=len(values))
                values = np.exp(values) if log else values
            out[dim] = (dim, values)
        return out
