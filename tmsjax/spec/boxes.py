"""Rectangular parts of a sweep's grid. A grid may have more cells than memory holds: only positions are computed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """Consecutive positions along each axis of a grid, in the order of the axes."""

    ranges: tuple[range, ...]

    @classmethod
    def whole(cls, grid: Shape) -> Box:
        """All positions of a grid."""
        return cls(tuple(map(range, grid)))

    @classmethod
    def at(cls, axes: Mapping[str, Sized], position: Mapping[str, int]) -> Box:
        """One cell: its position along each axis, 0 where none is given. Raises ValueError if there is no such one."""
        if unknown := position.keys() - axes.keys():
            raise ValueError(f"no axis {', '.join(sorted(unknown))} (axes: {', '.join(axes)})")
        at = [position.get(name, 0) for name in axes]
        for name, k in zip(axes, at, strict=True):
            if not 0 <= k < len(axes[name]):
                raise ValueError(f"{name}: no position {k}; the axis has {len(axes[name])} values")
        return cls(tuple(range(k, k + 1) for k in at))

    @property
    def shape(self) -> Shape:
        return tuple(len(r) for r in self.ranges)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(r.start, r.stop) for r in self.ranges)

    def without(self, axis: int | None) -> Box:
        """The box in the grid without one axis; None removes nothing."""
        return self if axis is None else Box(self.ranges[:axis] + self.ranges[axis + 1 :])


class Boxes(Sequence[Box]):
    """The boxes of shape `part` that tile a grid, in C order. The last along an axis may be smaller."""

    def __init__(self, grid: Shape, part: Shape):
        self.grid, self.part = tuple(grid), tuple(part)
        self.counts = tuple(math.ceil(length / step) for length, step in zip(grid, part, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __getitem__(self, index: int) -> Box:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        places = []
        for count in reversed(self.counts):
            index, place = divmod(index, count)
            places.append(place)
        axes = zip(reversed(places), self.part, self.grid, strict=True)
        return Box(tuple(range(k * step, min((k + 1) * step, length)) for k, step, length in axes))

    def without(self, axis: int | None) -> Boxes:
        """The boxes in the grid without one axis, along which every box must be whole; None removes nothing."""
        if axis is None:
            return self
        assert self.counts[axis] == 1
        return Boxes(self.grid[:axis] + self.grid[axis + 1 :], self.part[:axis] + self.part[axis + 1 :])

    @property
    def regions(self) -> tuple[Region, ...]:
        """The grid itself, see Tiling."""
        return (Region((0,) * len(self.grid), self),)

    def placed(self, index: int) -> tuple[int, int]:
        """(0, index), see Tiling."""
        return 0, index

    def overlapping(self, box: Box) -> Iterator[int]:
        """The indices of the boxes that share a position with `box`, in ascending order."""
        spans = [
            range(r.start // step, math.ceil(r.stop / step)) for r, step in zip(box.ranges, self.part, strict=True)
        ]
        for places in itertools.product(*spans):
            index = 0
            for place, count in zip(places, self.counts, strict=True):
                index = index * count + place
            yield index


@dataclass(frozen=True)
class Region:
    """A part of a larger grid, from position `start` on, and the boxes that tile it."""

    start: Shape
    boxes: Boxes


class Tiling(Sequence[Box]):
    """Boxes that tile a grid which has grown along its axes: those of its first grid, then those of each addition.

    `grids`: the shapes that the grid has had, each longer than the one before along one axis. `parts`: the shape of the
    boxes in each addition.
    """

    def __init__(self, grids: Sequence[Shape], parts: Sequence[Shape]):
        self.grid = tuple(grids[-1])
        before = (0,) * len(self.grid)
        regions: list[Region] = []
        for grid, part in zip(grids, parts, strict=True):
            longer = [k for k, (old, new) in enumerate(zip(before, grid, strict=True)) if old != new]
            start = tuple(before[k] if longer == [k] and regions else 0 for k in range(len(grid)))
            size = tuple(length - first for length, first in zip(grid, start, strict=True))
            regions.append(Region(start, Boxes(size, part)))
            before = grid
        self.regions = tuple(regions)

    def __len__(self) -> int:
        return sum(len(region.boxes) for region in self.regions)

    def __getitem__(self, index: int) -> Box:  # type: ignore[override]  # no slices
        region, index = self.placed(index)
        ranges = zip(self.regions[region].boxes[index].ranges, self.regions[region].start, strict=True)
        return Box(tuple(range(r.start + first, r.stop + first) for r, first in ranges))

    def placed(self, index: int) -> tuple[int, int]:
        """(the number of a box's region, the box's number in it)."""
        for region, each in enumerate(self.regions):
            if 0 <= index < len(each.boxes):
                return region, index
            index -= len(each.boxes)
        raise IndexError(index)


def part_shape(grid: Shape, most: int, whole: Collection[int] = ()) -> Shape:
    """The shape of boxes of at most `most` positions that are consecutive in C order, apart from the axes in `whole`.

    Boxes never divide the axes in `whole`, even if a box then exceeds `most`.
    """
    part = [length if k in whole else 1 for k, length in enumerate(grid)]
    for axis in reversed(range(len(grid))):
        if axis in whole:
            continue
        pieces = math.ceil(grid[axis] / max(1, most // math.prod(part)))
        part[axis] = math.ceil(grid[axis] / pieces)
        if pieces > 1:
            break
    return tuple(part)
