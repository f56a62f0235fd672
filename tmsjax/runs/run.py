"""Handle to a run: spec, labelled dataset, restored parameters. Opens on any machine, without jax."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.errors import RunError
from tmsjax.kinds import REPLICA
from tmsjax.runs.directory import RunDirectory
from tmsjax.spec import Boxes, Spec


class Run:
    """Handle to a finished or unfinished run. `dataset` is loaded on first access."""

    def __init__(self, spec: Spec, directory: RunDirectory | None, dataset: xr.Dataset | None = None):
        self.spec = spec
        self.directory = directory
        self._dataset = dataset

    def __repr__(self) -> str:
        where = "in memory" if self.directory is None else str(self.directory.path)
        return f"<Run {self.spec.name}: {self.spec.instances} instances, {where}>"

    def _repr_html_(self) -> str:
        from tmsjax.runs.html import html

        return html(self)

    @property
    def dataset(self) -> xr.Dataset:
        """The results: W, b, loss, status, ... over the spec's axes. Raises RunError if the run is unfinished."""
        if self._dataset is None:
            assert self.directory is not None
            self._dataset = self.directory.results()
        return self._dataset

    @property
    def units(self) -> Boxes:
        """The boxes of the sweep's grid that were trained and stored on their own."""
        grid = tuple(self.dataset["loss"].shape)
        return Boxes(grid, grid)

    @property
    def cells(self) -> Boxes:
        """The boxes of the units in the grid without the replica axis."""
        dims = self.dataset["loss"].dims
        return self.units.without(dims.index(REPLICA) if REPLICA in dims else None)

    def part(self, unit: int) -> xr.Dataset:
        """The results of one unit in memory."""
        assert unit == 0
        return self.dataset

    def steps(self) -> list[int]:
        """Steps of the checkpoints that can be restored."""
        return self._checkpoints().steps()

    def restore(self, step: int | None = None) -> dict[str, np.ndarray]:
        """Parameters, optimizer state and history of a checkpoint (default: the newest), checksums verified.

        Names are paths such as "state.params.W"; arrays have a leading instance axis, in C order of the axes.
        Raises CheckpointError if the step is absent or damaged.
        """
        return self._checkpoints().load(step)[1]

    def _checkpoints(self) -> Any:
        from tmsjax.runs.checkpoint import Checkpoints

        if self.directory is None:
            raise RunError("a run in memory has no checkpoints; give run_sweep an `out`")
        return Checkpoints(self.directory.checkpoints)


def open_run(path: str | PathLike) -> Run:
    """Opens the run in the directory `path`. Raises RunError if it is missing, damaged or too new."""
    if not isinstance(path, (str, PathLike)):
        raise RunError(f"needs the path of a run's directory, not {path!r:.80}")
    directory = RunDirectory(path)
    directory.info()
    return Run(directory.spec(), directory)
