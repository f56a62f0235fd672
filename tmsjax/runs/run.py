"""Handle to a run: spec, labelled dataset, restored parameters. Opens on any machine, without jax."""

from __future__ import annotations

from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.errors import RunError
from tmsjax.kinds import REPLICA
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.store import Store, kept_boxes, results_store
from tmsjax.spec import Boxes, Spec, difference, stored_spec


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
    def units(self) -> Boxes:
        """The parts of the grid that were trained one by one: boxes over the dimensions of `dataset`."""
        return kept_boxes(self.spec, Boxes(self.spec.shape, self._unit or self.spec.shape))

    @property
    def cells(self) -> Boxes:
        """The boxes of the units in the grid without the replica axis. Raises RunError if units divide this axis."""
        names = list(self.spec.axis)
        axis = names.index(REPLICA) if REPLICA in names and len(self.units.grid) == len(names) else None
        if axis is not None and self.units.counts[axis] > 1:
            raise RunError(f"{self.spec.name}: several units share the replicas of a cell; `engine.unit` is too small")
        return self.units.without(axis)

    @cached_property
    def _unit(self) -> tuple[int, ...] | None:
        """The shape of the units; None for one."""
        if self.directory is None:
            return None
        plan = self.directory.info().get("plan")
        unit = plan.get("unit") if isinstance(plan, dict) else None
        if unit is None:
            return None
        axes = len(self.spec.shape)
        if not isinstance(unit, list) or len(unit) != axes or not all(type(k) is int and k > 0 for k in unit):
            raise RunError(f"{self.directory.info_file}: damaged: its units have no shape of {axes} axes")
        return tuple(unit)

    @cached_property
    def _store(self) -> Store:
        assert self.directory is not None
        return results_store(self.directory.path, self.spec, Boxes(self.spec.shape, self._unit or self.spec.shape))

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

    def part(self, unit: int) -> xr.Dataset:
        """The results of one unit, in memory. Raises RunError if the run is unfinished or the unit damaged.

        Examples:
            >>> run.part(0)["W"].shape
            (3, 3, 2, 1, 2)
        """
        if self._dataset is not None and len(self.units) == 1:
            return self._dataset
        self._check_complete()
        return self._checked(self._store.read(unit))

    @property
    def units_done(self) -> int:
        """The number of units whose results are stored."""
        return len(self.units) if self.directory is None else len(self._store.done())

    def _check_complete(self) -> None:
        assert self.directory is not None
        info, path = self.directory.info(), self.directory.path
        done = self.units_done
        if info["state"] != "complete" or done < len(self.units):
            told = f"{info['steps_done']} steps" if len(self.units) == 1 else f"{done} of {len(self.units)} units"
            raise RunError(f"{path}: no results yet ({told} done); `tmsjax resume {path}` continues it")

    def _checked(self, results: xr.Dataset) -> xr.Dataset:
        assert self.directory is not None
        if difference(stored_spec(results.attrs["spec"], "results"), self.spec):
            raise RunError(f"{self.directory.path}: these are the results of another spec")
        return results

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
        single = len(self.units) == 1
        return Checkpoints(self.directory.checkpoints if single else self.directory.unit_folder(unit) / "checkpoints")


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
    directory.info()
    return Run(directory.spec(), directory)
