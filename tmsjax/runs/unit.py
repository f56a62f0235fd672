"""Trains one unit of a run, from its newest checkpoint or from step 0."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from tmsjax.engine import device_line, peak_memory
from tmsjax.errors import CheckpointError, RunError, RunFailed
from tmsjax.runs.capacity import disk_bytes
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.facts import SECONDS, RunFacts
from tmsjax.runs.faults import is_disk_full
from tmsjax.runs.files import space_line
from tmsjax.runs.history import measured
from tmsjax.runs.job import STEPS, Job
from tmsjax.runs.progress import Listener
from tmsjax.runs.results import results
from tmsjax.runs.training import Arrays, Training, out_of_memory


def train_unit(
    job: Job, unit: int, listen: Listener | None = None, should_stop: Callable[[], bool] = lambda: False
) -> tuple[xr.Dataset, dict]:
    """Trains a unit. Returns its results, and facts about its training: models, seconds, device, host.

    Raises Interrupted if it should stop, after saving a checkpoint; RunFailed if memory, disk or device fail.
    """
    checkpoints, began = job.checkpoints(unit), job.facts
    seconds = dict.fromkeys(SECONDS, 0.0)

    def save(step: int, arrays: Callable[[], Arrays], last: bool) -> None:
        if checkpoints is None or job.directory is None:
            return
        job.facts = _with_seconds(job, began, seconds)
        try:
            checkpoints.save(step, arrays(), job.facts.with_(steps_done=step).to_json())
            if job.single:
                job.facts = job.facts.with_(steps_done=step)
                job.directory.write(job.facts)
                job.directory.log("checkpoint", step=step)
        except (RunFailed, OSError) as error:
            if last:
                raise
            warnings.warn(f"{error}; training goes on, and the next interval tries again", stacklevel=2)

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
    job.facts = _with_seconds(job, began, seconds)
    return dataset, _facts(job, training, diverged, seconds)


def results_so_far(job: Job, unit: int) -> tuple[xr.Dataset, dict]:
    """The results of a unit's newest checkpoint, and facts about its training; NaN without one.

    Raises CheckpointError.
    """
    step, arrays = _newest(job, job.checkpoints(unit))
    training = Training(job.ensemble.on(job.units[unit]), dict.fromkeys(SECONDS, 0.0), lambda *_: None, None, bool)
    training.place(step, arrays)
    if step == 0:
        training.states = [replace(s, params=jax.tree.map(lambda x: x * np.nan, s.params)) for s in training.states]
    steps, history = list(job.spec.record_steps), training.history
    if history.records and not history.steps:
        unknown = {name: value * np.nan for name, value in measured(training.ensemble, training.states).items()}
        history.append(steps[0], unknown)
    dataset, diverged = results(training)
    if history.steps:
        dataset = dataset.reindex(step=steps)
    return dataset.assign_attrs({STEPS: step}), _facts(job, training, diverged, training.seconds)


def _facts(job: Job, training: Training, diverged: int, seconds: dict[str, float]) -> dict[str, Any]:
    """What is stored beside a unit's results, as JSON."""
    return {f"seconds_of_{key}": value for key, value in seconds.items()} | {
        "models": training.ensemble.box.size,
        "diverged_models": diverged,
        "run": job.facts.to_json(),
        "device": device_line(job.ensemble.devices),
        "host": socket.gethostname(),
        "peak_memory_bytes": peak_memory(),
    }


def _newest(job: Job, checkpoints: Checkpoints | None) -> tuple[int, dict[str, np.ndarray]]:
    """(step, arrays) of the newest intact checkpoint; (0, {}) without one."""
    found = checkpoints.load_newest_good() if checkpoints is not None else None
    if found is None and job.single and job.directory is not None and job.facts.steps_done > 0:
        raise CheckpointError(f"{job.directory.path}: its checkpoints are gone; --fresh starts again")
    return found or (0, {})


def _with_seconds(job: Job, began: RunFacts, seconds: dict[str, float]) -> RunFacts:
    """The facts of a run of one unit with the seconds spent. Other runs add up those of their units."""
    if not job.single:
        return job.facts
    spent = {f"seconds_of_{key}": getattr(began, f"seconds_of_{key}") + value for key, value in seconds.items()}
    return job.facts.with_(**spent)


def store(job: Job, unit: int, dataset: xr.Dataset, facts: dict) -> None:
    """Stores the results of a unit; where that fails, in a local temporary folder that the error names.

    Raises RunFailed.
    """
    try:
        job.store_unit(unit, dataset, facts)
    except (OSError, RunError) as error:
        elsewhere = None
        with suppress(OSError):
            elsewhere = job.write_elsewhere(unit, dataset, facts)
        raise failure(job, unit, job.spec.train.steps, error, elsewhere) from error


def failure(job: Job, unit: int, step: int, error: Exception, elsewhere: Path | None = None) -> RunFailed:
    """The error for a failure after `step` of a unit, with the reason and how to resume.

    `elsewhere`: where its results are that the run's directory could not take.
    """
    reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    which = "" if job.single else f"unit {unit}: "
    if out_of_memory(error):
        reason = f"memory does not hold a unit of {job.units[unit].size:,} models, set engine.unit lower: {reason}"
    if job.directory is None:
        return RunFailed(f"in memory: {which}failed after step {step}: {reason}")
    path = job.directory.path
    if is_disk_full(error):
        reason = f"{space_line(path, disk_bytes(job.ensemble) - job.directory.held())}: {reason}"
    if elsewhere is not None and job.store is not None:
        reason += f"; its results are in {elsewhere}: copy them to {job.store.path(unit)}"
    saved = f"up to step {job.facts.steps_done}" if job.single else "of this unit and of all finished units"
    return RunFailed(
        f"{path}: {which}failed after step {step}: {reason}\n  what was saved {saved} is intact; to continue: "
        f"tmsjax resume {path}"
    )


def failures(job: Job, failed: Mapping[int, str], attempts: int) -> RunFailed:
    """The error for units that failed for good, with the reason of each."""
    assert job.directory is not None
    path = job.directory.path
    lines = [f"unit {unit}: {why}" for unit, why in sorted(failed.items())]
    again = f"{len(job.done())} units are stored; to try the others again: tmsjax resume {path}"
    what = f"{path}: {len(failed)} of {len(job.units)} units failed, each in {attempts} attempts:"
    return RunFailed("\n  ".join([what, *lines, again]))
