"""A run as those who train its units see it: which units it has, which are stored, who trains one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.engine import Ensemble
from tmsjax.errors import RunError
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.facts import RunFacts, tiling
from tmsjax.runs.faults import patiently
from tmsjax.runs.store import Store, results_store
from tmsjax.runs.trial import write_elsewhere
from tmsjax.spec import Spec, Tiling, difference, grows, stored_spec

NEXT = "results-next"  # results of more steps, until all of them are there
STEPS = "steps_done"  # attribute of results of fewer steps than the spec wants


@dataclass
class Job:
    """Whoever trains a unit (this process, another that has joined it, a worker of a cluster) does it through a Job.

    Attributes:
        ensemble: compiled programs of the whole sweep, with its spec and plan
        directory: None keeps everything in memory
        facts: what run.json holds; a copy goes into every checkpoint
    """

    ensemble: Ensemble
    directory: RunDirectory | None
    facts: RunFacts
    _known: dict[int, tuple[Any, bool]] = field(default_factory=dict)  # by unit: its file's stamp, whether it is good

    @property
    def spec(self) -> Spec:
        return self.ensemble.spec

    @cached_property
    def specs(self) -> list[Spec]:
        """The spec of each extent."""
        return [*(extent.loaded() for extent in self.facts.all_extents[:-1]), self.spec]

    @cached_property
    def units(self) -> Tiling:
        """The parts of the grid that are trained one by one."""
        return tiling(self.facts.all_extents, self.specs)

    @property
    def kept(self) -> Tiling:
        """The boxes of the units' results: without replicas if only the best of each cell is kept."""
        return tiling(self.facts.all_extents, self.specs, self.spec.store.keep != "best")

    @property
    def single(self) -> bool:
        """Whether the whole sweep is one unit."""
        return len(self.units) == 1

    @property
    def replaces(self) -> int | None:
        """The steps of the finished results that this job replaces by those of more steps; None if there are none."""
        steps = self.facts.finished[-1].loaded().train.steps if self.facts.finished else self.spec.train.steps
        return None if steps == self.spec.train.steps else steps

    @cached_property
    def store(self) -> Store | None:
        """Where results are written; None in memory."""
        return None if self.directory is None else self._results(NEXT if self.replaces else "results")

    @cached_property
    def stored(self) -> Store:
        """Where the results of a complete run are."""
        return self._results("results")

    def _results(self, name: str) -> Store:
        assert self.directory is not None
        return results_store(self.directory.path, self.facts.all_extents, self.specs, name)

    def done(self) -> set[int]:
        """The units whose results are stored. Raises RunError if a file is damaged or of another sweep."""
        assert self.store is not None
        found = {unit for unit in self.store.done() if self.is_good(self.store, unit)}
        if self.replaces:  # the last process moves them
            found |= {unit for unit in self.stored.done() - found if self.is_good(self.stored, unit)}
        return found

    def is_good(self, store: Store, unit: int) -> bool:
        """Whether a unit's file has results of all steps, as its attributes say."""
        try:
            stamp = (store.folder.name, store.stamp(unit))
            if self._known.get(unit, (None,))[0] != stamp:
                self._known[unit] = stamp, self._has_all_steps(store, unit)
        except RunError:
            if store.path(unit).exists():
                raise
            return False  # it was moved meanwhile
        return self._known[unit][1]

    def _has_all_steps(self, store: Store, unit: int) -> bool:
        found, wanted = store.attributes(unit), self.specs[self.units.placed(unit)[0]]
        there = stored_spec(found.get("spec"), str(store.path(unit)))
        if grows(there, wanted):
            return False
        if difference(there, wanted):
            raise RunError(f"{store.path(unit)}: these are the results of another spec")
        store.check_mark(unit, found)
        return bool(np.all(found.get(STEPS, wanted.train.steps) == wanted.train.steps))  # HDF5 has lists of one

    def missing(self) -> list[int]:
        """The units whose results are not stored, ascending; all of a run in memory."""
        return sorted(set(range(len(self.units))) - (set() if self.directory is None else self.done()))

    def folder(self, unit: int) -> Path | None:
        """Where a unit keeps its checkpoints; None in memory and in object stores, which keep none."""
        if self.directory is None or not self.directory.local:
            return None
        assert self.store is not None
        return self.directory.path if self.store.alone(unit) else self.directory.unit_folder(unit)

    def checkpoints(self, unit: int) -> Checkpoints | None:
        """The checkpoints of a unit; None where there are none, and an interrupted unit begins again."""
        folder = self.folder(unit)
        kept = () if self.replaces is None else (self.replaces,)
        steps, keep = self.spec.train.steps, self.spec.checkpoint.keep
        return None if folder is None else Checkpoints(folder / "checkpoints", keep, most=steps, protected=kept)

    @contextmanager
    def claim(self, unit: int) -> Iterator[bool]:
        """Locks a unit for this process. Yields False if another process trains it, or if its results exist."""
        if self.directory is None or not self.directory.local:  # no locks there
            yield self.directory is None or unit not in self.done()
            return
        with self.directory.try_lock(self.directory.unit_folder(unit)) as locked:
            mine = locked and unit not in self.done()
            if mine and self.single:  # another process may have trained it for a while
                self.facts = self.directory.info()
            yield mine

    def store_unit(self, unit: int, dataset: xr.Dataset, facts: dict) -> None:
        """Writes the results of a unit, then removes what only its training needed."""
        self.write(unit, dataset, facts)
        if self.directory is None or not self.directory.local:
            return
        own, folder = self.directory.unit_folder(unit), self.folder(unit)
        if self.spec.store.keep != "all" and folder is not None:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        if not (own / "checkpoints").exists():
            shutil.rmtree(own, ignore_errors=True)

    def write(self, unit: int, dataset: xr.Dataset, facts: dict) -> None:
        """Writes the results of a unit; tries again for some seconds what fails with an error that may pass."""
        assert self.store is not None
        patiently(partial(self.store.write, unit, self._labelled(unit, dataset), facts))

    def write_elsewhere(self, unit: int, dataset: xr.Dataset, facts: dict) -> Path:
        """Writes the results of a unit into a new temporary folder. Returns the file's path."""
        assert self.store is not None
        return write_elsewhere(self.store, unit, self._labelled(unit, dataset), facts)

    def _labelled(self, unit: int, dataset: xr.Dataset) -> xr.Dataset:
        """The results of a unit with the spec of its extent."""
        return dataset.assign_attrs(spec=self.facts.all_extents[self.units.placed(unit)[0]].spec)

    def publish(self) -> None:
        """Replaces finished results by those of more steps, when all of these are stored."""
        if not self.replaces or self.store is None:
            return
        for unit in sorted(self.store.done()):
            self.stored.path(unit).parent.mkdir(parents=True, exist_ok=True)
            self.store.path(unit).replace(self.stored.path(unit))
        if self.store.folder.is_dir():
            self.store.folder.rmdir()
