"""Agreement of phase maps with theory, accumulated over the units of a run: counts, boundaries, quantiles of losses.

Holds numbers for each phase and vertices of boundaries, never a value for each cell of the whole map.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from tmsjax.analysis import phases
from tmsjax.analysis.outlines import Outline, distance
from tmsjax.spec import Boxes

SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)  # quantiles of the loss ratio
DROPPED = 7  # last bits of a float32 that the histogram ignores


class Counts:
    """Cells in each phase, masked cells, success and diverged models of the maps added so far."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.cells = self.failed = self._successful = 0
        self.phases = np.zeros(len(names), np.int64)
        self._success = 0.0

    def add(self, mapped: xr.Dataset) -> None:
        phase, success = mapped["phase"].to_numpy(), mapped["success"].to_numpy().astype(np.float64)
        self.cells += phase.size
        self.phases += [int((phase == k).sum()) for k in range(len(self.names))]
        self.failed += int(mapped["failed"].sum())
        self._success += float(np.nansum(success))
        self._successful += int(np.isfinite(success).sum())

    @property
    def masked(self) -> int:
        return self.cells - int(self.phases.sum())

    @property
    def success(self) -> float:
        """Mean over unmasked cells of the share of inits within 1 % of their cell's best; NaN without such cells."""
        return self._success / self._successful if self._successful else float("nan")

    def table(self) -> list[str]:
        """Lines of text: the cells in each phase, success and diverged models."""
        share = self.phases / self.cells
        lines = [f"{n:16s} {c:9,d} cells {s:8.2%}" for n, c, s in zip(self.names, self.phases, share, strict=True)]
        lines += [f"{'masked':16s} {self.masked:9,d} cells"] * (self.masked > 0)
        lines.append(f"inits within 1 % of the best of their cell: {self.success:.1%}")
        return [*lines, f"diverged models: {self.failed:,}"]


class Quantiles:
    """Quantiles of positive numbers that come in several arrays.

    Exact for one array. For several, counts the leading bits of the numbers as float32, so that memory depends on their
    range, and gives the middle of the numbers with these bits: `error` bounds its relative error.
    """

    def __init__(self) -> None:
        self.error = 0.0
        self._only: np.ndarray | None = None
        self._ends = (np.inf, -np.inf)
        self._bits = np.empty(0, np.uint32)
        self._counts = np.empty(0, np.int64)

    def add(self, values: np.ndarray) -> None:
        if not values.size:
            return
        self._ends = min(self._ends[0], float(values.min())), max(self._ends[1], float(values.max()))
        if self._only is None and not self._counts.size:
            self._only = values
            return
        if self._only is not None:
            self._count(self._only)
            self._only, self.error = None, 2.0 ** (DROPPED - 24) + 2.0**-24
        self._count(values)

    def _count(self, values: np.ndarray) -> None:
        bits, counts = np.unique(values.astype(np.float32).view(np.uint32) >> DROPPED, return_counts=True)
        self._bits, place = np.unique(np.concatenate([self._bits, bits]), return_inverse=True)
        merged = np.zeros(len(self._bits), np.int64)
        np.add.at(merged, place, np.concatenate([self._counts, counts]))
        self._counts = merged

    def get(self, shares: tuple[float, ...] = SHARES) -> dict[str, float]:
        """The quantiles, by linear interpolation, with their shares as names; empty if no number was added."""
        if self._only is not None:
            return {str(q): float(np.quantile(self._only, q)) for q in shares}
        if not self._counts.size:
            return {}
        low, high = ((self._bits + k << DROPPED).astype(np.uint32).view(np.float32) for k in (0, 1))
        middle, last = (low.astype(np.float64) + high) / 2, np.cumsum(self._counts)

        def ranked(place: float) -> float:
            return float(middle[np.searchsorted(last, place, side="right")])

        out = {}
        for q in shares:
            place = q * (last[-1] - 1)
            below, above = ranked(np.floor(place)), ranked(np.ceil(place))
            value = below + (above - below) * (place % 1)
            out[str(q)] = self._ends[int(q)] if q in (0, 1) else float(np.clip(value, *self._ends))
        return out


class _Theory:
    """Agreement with one theory."""

    def __init__(self, phases_: int, outline: Outline | None):
        self.units = 0
        self.confusion = np.zeros((phases_, phases_), np.int64)
        self.outline = outline
        self.ratio = Quantiles()
        self.starts: int | None = None
        self.gradient = float("nan")
        self.check: dict[str, float] = {}  # see theory.Optimum; empty for maps stored by an older version

    def add_losses(self, trained: xr.Dataset, exact: xr.Dataset) -> None:
        ratio = (trained["loss"].to_numpy() / exact["loss"].to_numpy()).reshape(-1)
        self.ratio.add(ratio[np.isfinite(ratio)])
        self.starts = int(exact.attrs["starts"])
        self.gradient = float(np.fmax(self.gradient, exact["gradient"].max()))
        if "checked" in exact.attrs:
            for name in ("checked", "improved"):
                self.check[name] = self.check.get(name, 0) + int(exact.attrs[name])
            self.check["check_starts"] = int(exact.attrs["check_starts"])
            worst = float(exact.attrs["largest_improvement"])
            self.check["largest_improvement"] = max(self.check.get("largest_improvement", 0.0), worst)


class Agreement:
    """Compares a phase map with theories, unit by unit. `cells`: the boxes of the units in the map."""

    def __init__(self, select: str, trained: xr.Dataset, cells: Boxes):
        self._axes = trained
        self._select, self._cells = select, cells
        shown = phases.layout(phases.spec_of(trained))
        self._counts = Counts(shown.phases)
        self._upright = trained["phase"].dims == (shown.y, shown.x)
        self._is_map = phases.is_map(trained) and min(cells.grid) > 1
        self._trained = self._outline()
        self._theories: dict[str, _Theory] = {}

    def _outline(self) -> Outline | None:
        return Outline(self._cells, self._upright) if self._is_map else None

    def add(
        self, unit: int, trained: xr.Dataset, theories: Mapping[str, np.ndarray], exact: xr.Dataset | None = None
    ) -> None:
        """Adds the phase map of a unit, the phases that each theory predicts for it, and its exact optima."""
        phase = trained["phase"].to_numpy()
        usable = phase != phases.MASKED
        self._counts.add(trained)
        if self._trained is not None:
            self._trained.add(unit, phase)
        count = len(self._counts.names)
        for name, expected in theories.items():
            theory = self._theories.setdefault(name, _Theory(count, self._outline()))
            pairs = expected[usable].astype(np.int64) * count + phase[usable]
            theory.confusion += np.bincount(pairs, minlength=count**2).reshape(count, -1)
            theory.units += 1
            if theory.outline is not None and theory.units == unit + 1:
                theory.outline.add(unit, expected)
        if exact is not None and "exact" in theories:
            self._theories["exact"].add_losses(trained, exact)

    def result(self) -> dict:
        """How each theory that applies to all units agrees with training.

        By theory: the share of unmasked cells with the same phase, the confusion table (rows: theory, columns:
        trained), the distance between the phase boundaries, in decades along logarithmic axes, and the trained loss
        over the exact minimum.
        """
        counts = self._counts
        out: dict = {
            "select": self._select,
            "cells": counts.cells,
            "masked_cells": counts.masked,
            "diverged_models": counts.failed,
            "mean_success": counts.success,
            "phases": list(counts.names),
            "trained_cells": counts.phases.tolist(),
        }
        return out | {n: self._of(t) for n, t in self._theories.items() if t.units == len(self._cells)}

    def _of(self, theory: _Theory) -> dict:
        total = int(theory.confusion.sum())
        ours, theirs = self._trained, theory.outline
        out: dict = {
            "agreement": int(np.trace(theory.confusion)) / total if total else None,
            "confusion": theory.confusion.tolist(),
            "boundary_distance": None if ours is None or theirs is None else distance(self._axes, ours, theirs),
        }
        if quantiles := theory.ratio.get():
            out["loss_ratio_quantiles"] = quantiles
        if theory.ratio.error:
            out["loss_ratio_error"] = theory.ratio.error
        if theory.starts is not None:
            out |= {"starts": theory.starts, "largest_gradient": theory.gradient} | theory.check
        return out


def compare(trained: xr.Dataset, theories: Mapping[str, np.ndarray], exact: xr.Dataset | None = None) -> dict:
    """Agreement of a phase map in memory with each theory's phases (arrays of the shape of trained.phase).

    See `Agreement.result`. `exact`: the exact map, for the ratio of losses.
    """
    grid = trained["phase"].shape
    compared = Agreement(trained.attrs["select"], trained, Boxes(grid, grid))
    compared.add(0, trained, theories, exact)
    return compared.result()
