"""Borders between the phases of a map: polylines of one map, and the distance between the borders of two maps.

A map of many units comes box by box, so `Outline` collects the vertices of its borders: their number grows with the
length of the borders, not with the area of the map.
"""

from __future__ import annotations

from itertools import product

import contourpy
import numpy as np
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from tmsjax.analysis import phases
from tmsjax.spec import Boxes

MOST_POINTS = 5_000_000  # vertices of a map's borders; of more, only every second, fourth, ... is kept


def boundaries(x: np.ndarray, y: np.ndarray, phase: np.ndarray) -> list[np.ndarray]:
    """Polylines (k, 2) along the borders between the phases of a map (y, x), each border once.

    For each phase, contours its indicator at one half among the cells of that phase and lower ones. Masked cells have
    no border; nor does a map that is one cell wide.
    """
    lines: list[np.ndarray] = []
    if min(phase.shape) < 2:
        return lines
    for k in np.unique(phase[phase != phases.MASKED])[::-1]:
        inside = np.ma.masked_where((phase > k) | (phase == phases.MASKED), (phase == k).astype(float))
        lines += contourpy.contour_generator(x, y, inside, line_type="Separate").lines(0.5)  # type: ignore[arg-type]
    return lines


class Outline:
    """The vertices of the borders of a two-dimensional map whose boxes are added in order.

    Gives the same vertices as `boundaries` of the whole map. Each square of four neighbouring cells belongs to the box
    of its last cell, so a box is contoured together with the last cells of the boxes before it. Vertices are kept as
    twice their (row, column) in the map, which is whole, since borders lie halfway between cells.

    `upright`: whether the axes of the grid are (y, x), otherwise (x, y).
    """

    def __init__(self, cells: Boxes, upright: bool):
        self.cells, self.upright = cells, upright
        self.thinned = 1  # only one in so many vertices is kept
        self._recent: dict[int, np.ndarray] = {}  # phases of the boxes that later boxes may touch
        self._points: list[np.ndarray] = [np.empty((0, 2), np.int32)]
        self._open: list[np.ndarray] = [np.empty((2, 0), np.int64)]  # (first, last) vertex of lines that do not close
        self._count = 0

    def add(self, unit: int, phase: np.ndarray) -> None:
        """Adds the phases of a box, along the axes of the grid."""
        self._recent[unit] = phase
        self._recent.pop(unit - self.cells.counts[1] - 2, None)
        block, origin = self._with_neighbours(unit, phase)
        if not self.upright:
            block, origin = block.T, origin[::-1]
        lines = boundaries(np.arange(block.shape[1]), np.arange(block.shape[0]), block)
        if not lines:
            return
        stop = np.cumsum([len(line) for line in lines])
        ends = np.stack([stop - [len(line) for line in lines], stop - 1])
        points = (2 * (np.concatenate(lines)[:, ::-1] + origin)).astype(np.int32)
        closed = (points[ends[0]] == points[ends[1]]).all(-1)
        self._open.append(ends[:, ~closed] + self._count)
        self._points.append(points[:: self.thinned])
        self._count += len(self._points[-1])
        while self._count > MOST_POINTS:
            self._points = [np.concatenate(self._points)[::2]]
            self._count, self.thinned = len(self._points[0]), 2 * self.thinned

    def points(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The vertices (k, 2) as (x, y), given the coordinates of the cells."""
        places = np.concatenate(self._points)
        if self.thinned == 1:
            places = _joined(places, np.concatenate(self._open, axis=1))
        halves = zip((x, y), places.T[::-1], strict=True)
        return np.stack([0.5 * values[at // 2] + 0.5 * values[(at + 1) // 2] for values, at in halves], axis=-1)

    def _with_neighbours(self, unit: int, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The phases of a box with one more row and column before it, if any, and the position of the first cell."""
        start = [r.start for r in self.cells[unit].ranges]
        more = [int(s > 0) for s in start]
        out = np.empty([m + size for m, size in zip(more, phase.shape, strict=True)], phase.dtype)
        for back in product(*(range(m + 1) for m in more)):
            there = unit - back[0] * self.cells.counts[1] - back[1]
            source = tuple(slice(-1, None) if b else slice(None) for b in back)
            goal = tuple(slice(0, 1) if b else slice(m, None) for b, m in zip(back, more, strict=True))
            out[goal] = self._recent[there][source]
        return out, np.subtract(start, more)


def _joined(places: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The vertices of the whole map from those of its boxes. `ends`: first and last vertex of the lines not closed.

    Two lines that a seam between boxes divides both have the vertex on it, so one is dropped. A line of the whole map
    that closes has its first vertex twice.
    """
    count = ends.shape[1]
    key = places[ends.reshape(-1)].astype(np.int64) @ np.array([2**32, 1])
    order = np.argsort(key, kind="stable")
    pair = np.flatnonzero(key[order][1:] == key[order][:-1])
    one, other = order[pair], order[pair + 1]
    keep = np.ones(len(places), bool)
    keep[ends.reshape(-1)[other]] = False
    if not len(pair):
        return places
    line = np.tile(np.arange(count), 2)
    graph = coo_array((np.ones(len(pair)), (line[one], line[other])), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    loose = np.ones(2 * count, bool)
    loose[one] = loose[other] = False
    closed = ~np.isin(label, label[line[loose]])
    return np.concatenate([places[keep], _first_of_loops(places, ends[:, closed], label[closed])])


def _first_of_loops(places: np.ndarray, ends: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """The vertex at which contourpy begins each loop; `ends` and `loop` of the lines that form loops.

    The first square of a loop is the one of the lowest row, then column. The loop crosses its right and its upper edge,
    and begins at the one that it crosses first.
    """
    length = ends[1] - ends[0] + 1
    index = np.repeat(ends[0] - np.cumsum(length) + length, length) + np.arange(length.sum())
    last = np.isin(index, ends[1])
    here, after = places[index], places[np.where(last, index, index + 1)]
    upward = (after == here + np.array([1, -1])).all(-1)  # from the right to the upper edge
    loops = np.repeat(loop, length)
    right = here[:, 1] % 2 == 0  # on an edge between two rows of cells
    here, upward, loops = here[right], upward[right], loops[right]
    order = np.lexsort((~upward, here[:, 1], here[:, 0], loops))
    first = order[np.flatnonzero(np.diff(loops[order], prepend=-1))]
    return here[first] + np.where(upward[first], 0, 1)[:, None] * np.array([1, -1], np.int32)


def distance(trained: xr.Dataset, ours: Outline, theirs: Outline) -> dict | None:
    """Mean and maximum distance between the trained and the theory's phase boundaries, in both directions.

    An isolated wrong cell has a boundary of its own, which counts only in trained_to_theory. `trained`: a map whose
    coordinates are those of all cells. None if either side has no boundary.
    """
    x, y, units = phases.scaled_axes(trained, phases.layout(phases.spec_of(trained)))
    mine, others = ours.points(x, y), theirs.points(x, y)
    if not len(mine) or not len(others):
        return None
    ways = {"theory_to_trained": (mine, others), "trained_to_theory": (others, mine)}
    distances = {name: cKDTree(goal).query(points)[0] for name, (goal, points) in ways.items()}
    thinned = max(ours.thinned, theirs.thinned)
    return {
        "units": units,
        "cell": [float(np.abs(np.diff(x)).mean()), float(np.abs(np.diff(y)).mean())],
        **{name: {"mean": float(d.mean()), "maximum": float(d.max())} for name, d in distances.items()},
        **({"thinned": thinned} if thinned > 1 else {}),
    }
