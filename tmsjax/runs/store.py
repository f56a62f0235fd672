"""One labelled dataset in a folder, one netCDF file for each unit: a box of its grid. No jax.

A file appears whole or not at all (files.py), so any number of writers, one for each unit, need no coordination. A
reader verifies a file before it uses one of its values. The whole may exceed memory: `open` is lazy, and only the parts
of the units that a selection touches are read.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from tmsjax.errors import RunError, Unreadable
from tmsjax.kinds import REPLICA
from tmsjax.runs.directory import FACTS, free_name
from tmsjax.runs.facts import Extent, tiling
from tmsjax.runs.faults import reach
from tmsjax.runs.files import (
    as_path,
    is_local,
    names_in,
    read_attributes,
    read_dataset,
    read_values,
    stamp,
    write_dataset,
)
from tmsjax.spec import Boxes, Spec, Tiling

UNIT = "unit"  # attribute of a file: which unit of which sweep it is
NUMBERS = "iufb"  # kinds of dtypes that a file stores as they are
Positions = slice | np.ndarray  # along one dimension


class Store:
    """The units of one dataset: FOLDER/00000.nc, 00001.nc, ... in the order of `boxes`; a single one is FOLDER.nc.

    Of a grid that has grown, a single first unit remains in FOLDER.nc.

    `coords`: the values along each dimension of the grid, in its order. Variables may have more dimensions, such as
    feature or step, and coordinates along them; these are the same in all units. `attrs`: attributes of the whole and
    of each unit read; default: those of the dataset written. `sweep`: a name of what is stored, such as the spec's
    hash, or one for each region of a Tiling; a file with another is refused. `remedy`: what to do about a missing or
    damaged file, for error messages.
    """

    def __init__(
        self,
        folder: str | PathLike,
        boxes: Boxes | Tiling,
        coords: Mapping[str, Any],
        attrs: Mapping[str, Any] | None = None,
        *,
        sweep: str | Sequence[str] = "",
        remedy: str = "",
    ):
        self.folder, self.boxes = as_path(folder), boxes
        self.attrs = attrs
        self.sweeps = (sweep,) if isinstance(sweep, str) else tuple(sweep)
        self.remedy = remedy or f"`tmsjax resume {self.folder.parent}` makes it again"
        self.dims = tuple(coords)
        self._labels = xr.Dataset(coords={dim: (dim, list(values)) for dim, values in coords.items()})
        if tuple(self._labels.sizes[dim] for dim in self.dims) != boxes.grid:
            raise ValueError(f"coordinates of {dict(self._labels.sizes)} for a grid of {boxes.grid}")
        self._verified: dict[int, Any] = {}  # the stamp of each file that this process has verified

    @property
    def single(self) -> bool:
        """Whether the dataset is one unit, in one file."""
        return len(self.boxes) == 1

    def path(self, unit: int) -> Path:
        if self.alone(unit):
            return self.folder.with_name(f"{self.folder.name}.nc")
        return self.folder / f"{unit:05d}.nc"

    def alone(self, unit: int) -> bool:
        """Whether a unit is, or was before the grid grew, the whole dataset."""
        return unit == 0 and len(self.boxes.regions[0].boxes) == 1

    def done(self) -> set[int]:
        """The units whose files exist. Raises Unreadable."""
        first = set()
        if self.alone(0):
            with reach(self.path(0)):
                first = {0} if self.path(0).exists() else set()
        if self.single:
            return first
        units = {int(name[:-3]) for name in names_in(self.folder) if re.fullmatch(r"[0-9]{5,}\.nc", name)}
        return first | {unit for unit in units if unit < len(self.boxes) and not self.alone(unit)}

    @property
    def bytes(self) -> int:
        """The size of all units on disk."""
        return sum(self.path(unit).stat().st_size for unit in self.done())

    def write(self, unit: int, dataset: xr.Dataset, facts: Mapping[str, Any] | None = None) -> None:
        """Writes one unit, whole or not at all, and removes what killed writers of this unit left.

        `dataset` spans the unit's box; coordinates along the grid may be absent. `facts`: JSON values to store beside
        it. A unit has one writer at a time.
        """
        labels = self._labels.isel(self._box(unit))
        sizes = {dim: dataset.sizes.get(dim, size) for dim, size in labels.sizes.items()}
        if sizes != dict(labels.sizes) or not _same_coords(dataset, labels):
            raise ValueError(f"unit {unit} spans {dict(labels.sizes)}, not {sizes}, or its coordinates differ")
        attrs = dict(dataset.attrs if self.attrs is None else self.attrs)
        attrs |= {} if self.alone(unit) else {UNIT: self._mark(unit)}
        attrs |= {} if facts is None else {FACTS: json.dumps(facts)}
        path = self.path(unit)
        if is_local(path):
            for half in path.parent.glob(f".{path.name}.*"):
                half.unlink(missing_ok=True)
        compressed = [name for name in map(str, dataset) if name.startswith("instance_") and not self.single]
        write_dataset(path, dataset.drop_encoding().assign_coords(labels.coords).assign_attrs(attrs), compressed)

    def read(self, unit: int) -> xr.Dataset:
        """One unit in memory, verified. Raises RunError if it is missing, damaged or another unit."""
        found = self.stamp(unit)
        with self._advising():
            dataset = read_dataset(self.path(unit))
        labels = self._labels.isel(self._box(unit))
        self.check_mark(unit, dataset.attrs, _same_coords(dataset, labels, strict=True))
        for name in (UNIT, FACTS) if not self.alone(unit) else (FACTS,):
            dataset.attrs.pop(name, None)
        if self.attrs is not None:
            dataset.attrs = dict(self.attrs)
        self._verified[unit] = found
        return dataset.assign_coords(labels.coords)

    def check_mark(self, unit: int, attrs: Mapping[str, Any], same: bool = True) -> None:
        """Raises RunError if a file's attributes are of another unit, or if its coordinates are not the `same`."""
        if not same or (not self.alone(unit) and attrs.get(UNIT) != self._mark(unit)):
            raise RunError(f"{self.path(unit)}: not the {self._mark(unit)}; {self.remedy}")

    def attributes(self, unit: int) -> dict:
        """The attributes of a unit, not verified. Raises RunError if its file cannot be read."""
        return read_attributes(self.path(unit))

    def facts(self, unit: int) -> dict:
        """The facts stored beside a unit's results; empty if there are none."""
        try:
            return json.loads(self.attributes(unit).get(FACTS, "{}"))
        except ValueError as error:
            raise RunError(f"{self.path(unit)}: damaged ({error}); {self.remedy}") from error

    def remove(self, unit: int) -> None:
        self.path(unit).unlink(missing_ok=True)

    def set_aside(self, unit: int) -> Path:
        """Renames a unit's file, which then counts as missing. Returns the new path."""
        path = self.path(unit)
        return path.rename(free_name(path.with_name(f"damaged-{path.name}")))

    def open(self) -> xr.Dataset:
        """The whole dataset; values are read, and files verified, when they are needed. Verifies the first unit now.

        A single unit is read into memory.

        For dask: `.chunk(dict(zip(store.dims, store.boxes.part)))`. Raises RunError if a unit is missing; later, when
        values are read, if it is damaged.
        """
        missing = sorted(set(range(len(self.boxes))) - self.done())
        if missing:
            names = ", ".join(self.path(unit).name for unit in missing[:5]) + ", ..." * (len(missing) > 5)
            raise RunError(
                f"{self.folder}: {len(missing)} of {len(self.boxes)} units are missing ({names}); {self.remedy}"
            )
        first = self.read(0)
        if self.single:
            return first
        variables = {name: self._whole(str(name), first[name].variable) for name in first.variables}
        variables = {name: variable for name, variable in variables.items() if name not in self.dims}
        coords = {name: variables.pop(name) for name in first.coords if name not in self.dims}
        return xr.Dataset(variables, {**self._labels.coords, **coords}, first.attrs)

    def _whole(self, name: str, part: xr.Variable) -> xr.Variable:
        """The lazy variable of the whole, from that of the first unit, which is kept if no axis divides it."""
        if not set(part.dims) & set(self.dims):
            return part
        lazy: Any = indexing.LazilyIndexedArray(_Whole(self, name, part))
        return xr.Variable(part.dims, indexing.CopyOnWriteArray(lazy), part.attrs)

    def _values(self, unit: int, name: str, dtype: np.dtype, positions: Sequence[Positions]) -> np.ndarray:
        """The values of a variable at all combinations of positions.

        Verifies the unit's file unless this process has already, and the file has not changed since.
        """
        if self._verified.get(unit) != self.stamp(unit) or dtype.kind not in NUMBERS:
            whole = self.read(unit)
            if name not in whole:
                raise RunError(f"{self.path(unit)}: has no {name}, unlike {self.path(0).name}; {self.remedy}")
            return whole[name].to_numpy()[_combinations(positions, whole[name].shape)]
        spans = [one if isinstance(one, slice) else slice(int(one.min()), int(one.max()) + 1) for one in positions]
        with self._advising():
            values = read_values(self.path(unit), name, tuple(spans)).astype(dtype, copy=False)
        within = [slice(None) if isinstance(one, slice) else one - one.min() for one in positions]
        return values[_combinations(within, values.shape)]

    @contextmanager
    def _advising(self) -> Iterator[None]:
        try:
            yield
        except Unreadable:
            raise
        except RunError as error:
            raise RunError(f"{error}; {self.remedy}") from error

    def stamp(self, unit: int) -> Any:
        """What changes if the file of a unit does. Raises RunError if there is none."""
        try:
            with reach(self.path(unit)):
                return stamp(self.path(unit))
        except FileNotFoundError:
            raise RunError(f"{self.path(unit)}: missing; {self.remedy}") from None

    def _mark(self, unit: int) -> str:
        region, number = self.boxes.placed(unit)
        sweep = self.sweeps[region]
        return f"unit {number} of {len(self.boxes.regions[region].boxes)}" + f" of sweep {sweep}" * bool(sweep)

    def _box(self, unit: int) -> dict[str, slice]:
        return dict(zip(self.dims, self.boxes[unit].slices, strict=True))


class _Whole(BackendArray):
    """A variable of the whole dataset, assembled from the units when it is indexed."""

    def __init__(self, store: Store, name: str, part: xr.Variable):
        grid = dict(zip(store.dims, store.boxes.grid, strict=True))
        self.store, self.name, self.dims = store, name, part.dims
        self.dtype = part.dtype if part.dtype.kind in NUMBERS else np.dtype(object)  # texts of units differ in length
        self.shape = tuple(grid.get(str(dim), size) for dim, size in part.sizes.items())

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[int | slice | np.ndarray, ...]) -> np.ndarray:
        """The values at all combinations of the positions in `key`; an integer removes its dimension."""
        wanted = [np.atleast_1d(np.arange(size)[k]) for k, size in zip(key, self.shape, strict=True)]
        out = np.empty([len(w) for w in wanted], self.dtype)
        first = 0  # unit of the region
        for region in self.store.boxes.regions:
            boxes, start = region.boxes, dict(zip(self.store.dims, region.start, strict=True))
            length, part = (dict(zip(self.store.dims, shape, strict=True)) for shape in (boxes.grid, boxes.part))
            cuts = [
                list(_cut(w, start.get(dim, 0), length.get(dim, size), part.get(dim, size)))
                for dim, w, size in zip(map(str, self.dims), wanted, self.shape, strict=True)
            ]
            for pieces in itertools.product(*cuts):
                place = {dim: piece[0] for dim, piece in zip(self.dims, pieces, strict=True)}
                unit = first + int(np.ravel_multi_index([place.get(dim, 0) for dim in self.store.dims], boxes.counts))
                _, where, within = zip(*pieces, strict=True)
                out[_combinations(where, out.shape)] = self.store._values(unit, self.name, self.dtype, within)
            first += len(boxes)
        return out[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]


def _cut(wanted: np.ndarray, start: int, length: int, part: int) -> Iterator[tuple[int, Positions, Positions]]:
    """Divides positions along a dimension among the boxes of length `part` from `start` to `start + length`.

    Yields (place of the box, where in `wanted`, positions in the box) of each box that has any.
    """
    inside = np.flatnonzero((wanted >= start) & (wanted < start + length))
    places = (wanted[inside] - start) // max(part, 1)
    order = np.argsort(places, kind="stable")
    for where in np.split(order, np.flatnonzero(np.diff(places[order])) + 1) if len(order) else []:
        place = int(places[where[0]])
        yield place, _as_slice(inside[where]), _as_slice(wanted[inside[where]] - start - place * part)


def _as_slice(positions: np.ndarray) -> Positions:
    """Evenly ascending positions as a slice, which numpy and HDF5 read faster; others unchanged."""
    steps = np.diff(positions)
    if len(steps) == 0:
        return slice(int(positions[0]), int(positions[0]) + 1)
    if steps[0] < 1 or (steps != steps[0]).any():
        return positions
    return slice(int(positions[0]), int(positions[-1]) + 1, int(steps[0]))


def _combinations(positions: Sequence[Positions], shape: tuple[int, ...]) -> tuple[Positions, ...]:
    """An index of numpy for all combinations of positions in an array of `shape`."""
    if all(isinstance(one, slice) for one in positions):
        return tuple(positions)
    return np.ix_(*(np.arange(size)[one] for one, size in zip(positions, shape, strict=True)))


def _same_coords(dataset: xr.Dataset, labels: xr.Dataset, strict: bool = False) -> bool:
    """Whether `dataset` has the coordinates `labels`; unless `strict`, some may be absent."""
    return all(
        np.array_equal(dataset[dim].to_numpy(), labels[dim].to_numpy()) if dim in dataset.coords else not strict
        for dim in labels.dims
    )


def results_store(folder: Path, extents: Sequence[Extent], specs: Sequence[Spec], name: str = "results") -> Store:
    """The results of a run whose directory is `folder`, and whose grid grew by `extents`, of which these are the specs.

    Without replicas if only the best of each cell is kept.
    """
    every = specs[-1].store.keep != "best"
    axes = [axis for axis in specs[-1].axes if every or axis.name != REPLICA]
    coords = {axis.name: axis.values for axis in axes}
    return Store(folder / name, tiling(extents, specs, every), coords, sweep=[one.spec_hash for one in extents])
