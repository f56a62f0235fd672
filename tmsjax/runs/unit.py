"""Trains one unit of a run, from its newest checkpoint or from step 0, and stores its results.

Whoever trains a unit (this process, a worker on this machine, a machine of a cluster) does it through a `Job`, so that
the bytes are the same.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from tmsjax.engine import Ensemble, device_line
from tmsjax.errors import CheckpointError, RunFailed
from tmsjax.runs.capacity import disk_bytes
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.faults import is_disk_full
from tmsjax.runs.files import space_line
from tmsjax.runs.progress import Listener
from tmsjax.runs.results import results
from tmsjax.runs.store import Store, kept_boxes, results_store
from tmsjax.runs.training import SECONDS, Arrays, Training, out_of_memory
from tmsjax.spec import Boxes, to_toml


@dataclass
class Job:
    """A run as those who train its units see it.

    Attributes:
        ensemble: compiled programs of the whole sweep, with its spec and plan
        directory: None keeps everything in memory
        info: run.json without the spec; a copy goes into every checkpoint
    """

    ensemble: Ensemble
    directory: RunDirectory | None
    info: dict
    store: Store | None = field(init=False)
    units: Boxes = field(init=False)
    outdated: set[int] = field(default_factory=set)  # units whose results are of fewer steps

    def __post_init__(self) -> None:
        spec = self.ensemble.spec
        self.units = self.ensemble.plan.units(spec)
        self.store = None if self.directory is None else results_store(self.directory.path, spec, self.units)

    @property
    def kept(self) -> Boxes:
        """The boxes of the units' results: without replicas if only the best of each cell is kept."""
        return kept_boxes(self.ensemble.spec, self.units)

    @property
    def single(self) -> bool:
        """Whether the whole sweep is one unit."""
        return len(self.units) == 1

    def folder(self, unit: int) -> Path | None:
        """Where a unit keeps its lock and checkpoints while it is under way; None if nothing is kept."""
        if self.directory is None or not self.directory.local:
            return None
        return self.directory.path if self.single else self.directory.unit_folder(unit)

    def checkpoints(self, unit: int) -> Checkpoints | None:
        """The checkpoints of a unit; None in memory and on object stores, where an interrupted unit begins again."""
        folder = self.folder(unit)
        return None if folder is None else Checkpoints(folder / "checkpoints", self.ensemble.spec.checkpoint.keep)

    @contextmanager
    def claim(self, unit: int) -> Iterator[bool]:
        """Locks a unit for this process. Yields False if another process trains it, or if its results exist."""
        folder = self.folder(unit)
        if self.single or folder is None:
            yield True
            return
        with self.directory.try_lock(folder) as locked:  # type: ignore[union-attr]
            yield locked and unit not in self.store.done()  # type: ignore[union-attr]

    def store_unit(self, unit: int, dataset: xr.Dataset, facts: dict) -> None:
        """Writes the results of a unit, then removes what only its training needed."""
        assert self.store is not None
        self.store.write(unit, dataset, facts)
        folder = self.folder(unit)
        if folder is not None and self.ensemble.spec.store.keep != "all":
            shutil.rmtree(folder / "checkpoints" if self.single else folder, ignore_errors=True)


def train_unit(
    job: Job, unit: int, listen: Listener | None = None, should_stop: Callable[[], bool] = lambda: False
) -> tuple[xr.Dataset, dict]:
    """Trains a unit. Returns its results, and facts about its training: models, seconds, device, host.

    Raises Interrupted if it should stop, after saving a checkpoint; RunFailed if memory, disk or device fail.
    """
    checkpoints = job.checkpoints(unit)
    before = {key: job.info.get(f"seconds_of_{key}", 0.0) for key in SECONDS}
    seconds = dict.fromkeys(SECONDS, 0.0)

    def save(step: int, arrays: Callable[[], Arrays]) -> None:
        if checkpoints is None or job.directory is None:
            return
        _note(job, before, seconds)
        info = job.info | {"steps_done": step}
        checkpoints.save(step, arrays(), info | {"spec": to_toml(job.ensemble.spec)})
        if job.single:
            job.info["steps_done"] = step
            job.directory.write(job.info, job.ensemble.spec)
            job.directory.log("checkpoint", step=step)

    training = Training(job.ensemble.on(job.units[unit]), seconds, save, listen, should_stop)
    found = _newest(job, checkpoints)
    try:
        training.begin(*found)
        training.run()
        start = time.monotonic()
        dataset, diverged = results(training)
        seconds["results"] += time.monotonic() - start
    except (MemoryError, OSError, RunFailed, jax.errors.JaxRuntimeError) as error:
        raise failure(job, unit, training.step, error) from error
    _note(job, before, seconds)
    facts: dict[str, Any] = {f"seconds_of_{key}": value for key, value in seconds.items()}
    facts |= {"models": training.ensemble.box.size, "diverged_models": diverged}
    facts["run"] = job.info | {"spec": to_toml(job.ensemble.spec)}
    facts |= {"device": device_line(job.ensemble.devices), "host": socket.gethostname()}
    return dataset, facts


def _newest(job: Job, checkpoints: Checkpoints | None) -> tuple[int, dict[str, np.ndarray]]:
    """(step, arrays) of the newest intact checkpoint; (0, {}) without one."""
    found = checkpoints.load_newest_good() if checkpoints is not None else None
    if found is None and job.single and job.directory is not None and job.info["steps_done"] > 0:
        raise CheckpointError(f"{job.directory.path}: its checkpoints are gone; --fresh starts again")
    return found or (0, {})


def _note(job: Job, before: dict[str, float], seconds: dict[str, float]) -> None:
    """Adds the seconds spent to the facts of a run of one unit. Other runs add up the facts of their units."""
    if job.single:
        job.info |= {f"seconds_of_{key}": value + seconds[key] for key, value in before.items()}


def failure(job: Job, unit: int, step: int, error: Exception) -> RunFailed:
    """The error for a failure after `step` of a unit, with the reason and how to resume."""
    reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    which = "" if job.single else f"unit {unit}: "
    if out_of_memory(error):
        reason = f"memory does not hold a unit of {job.units[unit].size:,} models, set engine.unit lower: {reason}"
    if job.directory is None:
        return RunFailed(f"in memory: {which}failed after step {step}: {reason}")
    path = job.directory.path
    if is_disk_full(error):
        reason = f"{space_line(path, disk_bytes(job.ensemble) - job.directory.held())}: {reason}"
    saved = f"up to step {job.info['steps_done']}" if job.single else "of this unit and of all finished units"
    return RunFailed(
        f"{path}: {which}failed after step {step}: {reason}\n  what was saved {saved} is intact; to continue: "
        f"tmsjax resume {path}"
    )
