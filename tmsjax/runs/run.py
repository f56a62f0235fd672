"""Handle to a run: spec, labelled dataset, restored parameters. Opens on any machine, without jax."""

from __future__ import annotations

import warnings
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.errors import RunError
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.facts import Extent, tiling
from tmsjax.runs.store import Store, results_store
from tmsjax.spec import Box, Boxes, Spec, Tiling, difference, stored_spec, to_toml


class Run:
    """Handle to a finished or unfinished run. `dataset` is loaded on first access.

    Examples:
        >>> run.spec.name, run.units_done, len(run.units), len(run.cells)
        ('small', 1, 1, 1)
    """

    def __init__(self, spec: Spec, directory: RunDirectory | None, dataset: xr.Dataset | None = None):
        self.spec = spec
        self.directory = directory
        self.trained = 0  # units that the call that returned this handle has trained
        self._dataset = dataset

    def __repr__(self) -> str:
        where = "in memory" if self.directory is None else str(self.directory.path)
        return f"<Run {self.spec.name}: {self.spec.instances} instances, {where}>"

    def _repr_html_(self) -> str:
        from tmsjax.runs.html import html

        return html(self)

    def explore(self, **options: Any) -> Any:
        """The run's map in a frame of a notebook: click a cell to see its models. See `tmsjax.explore` for options.

        Examples:
            >>> run.explore(select="paper").name
            'small'
        """
        from tmsjax.explorer import explore  # a room above: see the exceptions of the layers in pyproject.toml

        return explore(self, **options)

    @property
    def units(self) -> Tiling:
        """The parts of the grid that were trained one by one: boxes over the dimensions of `dataset`."""
        return tiling(*self._extents, self.spec.store.keep != "best")

    @cached_property
    def cells(self) -> Boxes:
        """Boxes that tile the grid without the replica axis: those of the units, if units hold whole cells."""
        axis, extents = self.spec.replica_axis, self._extents[0]
        shapes = (self.spec.shape, extents[0].unit or self._extents[1][0].shape)
        return Boxes(*(tuple(length for k, length in enumerate(shape) if k != axis) for shape in shapes))

    @property
    def spec_hash(self) -> str:
        """The hash of the spec that run.json recorded: what is hashed may change with the version.

        Examples:
            >>> run.spec_hash == run.spec.hash  # trained by this version
            True
        """
        return self._extents[0][-1].spec_hash or self.spec.hash

    @cached_property
    def _extents(self) -> tuple[tuple[Extent, ...], list[Spec]]:
        """How the grid grew until this spec was reached, and the spec of each extent."""
        if self.directory is None:
            return (Extent(""),), [self.spec]
        facts = self.directory.info()
        extents = facts.finished or facts.all_extents
        return extents, [*(extent.loaded() for extent in extents[:-1]), self.spec]

    @cached_property
    def _store(self) -> Store:
        assert self.directory is not None
        return results_store(self.directory.path, *self._extents)

    @property
    def dataset(self) -> xr.Dataset:
        """The results: W, b, loss, status, ... over the spec's axes. Raises RunError if the run is unfinished.

        If the run has several units, values are read when they are needed.

        Examples:
            >>> run.dataset["loss"].dims
            ('feature_probability', 'extra_importance', 'replica')
        """
        if self._dataset is None:
            self._check_complete()
            self._dataset = self._checked(self._store.open())
        return self._dataset

    def part(self, number: int) -> xr.Dataset:
        """The results of one box of `cells`, in memory. Raises RunError if the run is unfinished or a unit damaged.

        Examples:
            >>> run.part(0)["W"].shape
            (3, 3, 2, 1, 2)
        """
        if self._dataset is not None and len(self.units) == 1:
            return self._dataset
        box = self._with_replicas(self.cells[number])
        if self.directory is not None and number < len(self.units) and self.units[number] == box:
            self._check_complete()
            return self._checked(self._store.read(number))
        dims = self.dataset["loss"].dims
        return self.dataset.isel(dict(zip(dims, box.slices, strict=True))).load()

    def _with_replicas(self, cells: Box) -> Box:
        """A box of cells with all their replicas, over the dimensions of `dataset`."""
        axis = self.spec.replica_axis
        if axis is None or len(self.units.grid) < len(self.spec.shape):
            return cells
        return Box((*cells.ranges[:axis], range(self.spec.shape[axis]), *cells.ranges[axis:]))

    @property
    def units_done(self) -> int:
        """The number of units whose results are stored."""
        return len(self.units) if self.directory is None else len(self._store.done())

    def _check_complete(self) -> None:
        assert self.directory is not None
        facts, path = self.directory.info(), self.directory.path
        done = self.units_done
        if not (facts.state in ("complete", "finished") or facts.finished) or done < len(self.units):
            told = f"{facts.steps_done} steps" if len(self.units) == 1 else f"{done} of {len(self.units)} units"
            again = f"`tmsjax resume {path}` continues it, `tmsjax finish {path}` makes results of what is trained"
            raise RunError(f"{path}: no results yet ({told} done); {again}")

    def _checked(self, results: xr.Dataset) -> xr.Dataset:
        assert self.directory is not None
        found = stored_spec(results.attrs["spec"], "results")
        if all(difference(found, spec) for spec in self._extents[1]):
            raise RunError(f"{self.directory.path}: these are the results of another spec")
        results.attrs.pop("steps_done", None)
        return results.assign_attrs(spec=to_toml(self.spec))

    def finish(self) -> Run:
        """The run with results of its newest checkpoints, which this writes into its directory.

        Warns of what they are. The run can still be resumed. Raises RunError if another process trains it, or if it has
        results already.

        Examples:
            >>> run.finish()
            Traceback (most recent call last):
            tmsjax.errors.RunError: ...: has results of 300 steps; for others: tmsjax resume ... --set train.steps=N
        """
        from tmsjax.runs.early import finish  # which imports jax

        if self.directory is None:
            raise RunError("a run in memory is finished")
        warnings.warn(finish(self.directory), stacklevel=2)
        return open_run(self.directory.path)

    def steps(self, unit: int = 0) -> list[int]:
        """Steps of a unit's checkpoints that can be restored.

        Examples:
            >>> run.steps()[-1]
            300
        """
        return self._checkpoints(unit).steps()

    def restore(self, step: int | None = None, unit: int = 0) -> dict[str, np.ndarray]:
        """Parameters, optimizer state and history of a unit's checkpoint (default: the newest), checksums verified.

        Names are paths such as "state.params.W"; arrays have a leading instance axis, in C order of the unit's axes.
        Raises CheckpointError if the step is absent or damaged.

        Examples:
            >>> run.restore()["state.params.W"].shape
            (18, 1, 2)
        """
        return self._checkpoints(unit).load(step)[1]

    def _checkpoints(self, unit: int) -> Any:
        from tmsjax.runs.checkpoint import Checkpoints

        if self.directory is None:
            raise RunError("a run in memory has no checkpoints; give run_sweep an `out`")
        if not 0 <= unit < len(self.units):
            raise RunError(f"{self.directory.path}: no unit {unit}; has {len(self.units)}")
        alone = self._store.alone(unit)
        return Checkpoints(self.directory.checkpoints if alone else self.directory.unit_folder(unit) / "checkpoints")


def as_run(run: Run | str | PathLike) -> Run:
    """`run` itself, or the run in the directory `run`. Raises RunError like `open_run`."""
    return run if isinstance(run, Run) else open_run(run)


def results_of(results: xr.Dataset | Run | str | PathLike) -> xr.Dataset:
    """The dataset of a run, of the run in a directory, or `results` itself. Raises RunError like `open_run`."""
    return results if isinstance(results, xr.Dataset) else as_run(results).dataset


def open_run(path: str | PathLike) -> Run:
    """Opens the run in the directory `path`. Raises RunError if it is missing, damaged or too new.

    Examples:
        >>> tmsjax.open_run(folder / "small").dataset["loss"].shape
        (3, 3, 2)
    """
    if not isinstance(path, (str, PathLike)) and not hasattr(path, "fs"):  # a UPath is no PathLike
        raise RunError(f"needs the path of a run's directory, not {path!r:.80}")
    directory = RunDirectory(path)
    facts = directory.info()
    extents = facts.finished or facts.all_extents
    return Run(extents[-1].loaded(str(directory.info_file), facts.folder), directory)
