"""What a worker does: it opens a run that a coordinator has begun, then trains and stores units of it.

Workers on this machine (workers.py) and those of a Dask cluster (cluster.py) share this code, so that a unit's bytes do
not depend on who trains it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from tmsjax.engine import Ensemble, peak_memory, stored_plan
from tmsjax.errors import Interrupted
from tmsjax.runs.capacity import check_memory
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.faults import is_disk_full
from tmsjax.runs.imports import with_imports
from tmsjax.runs.progress import Listener
from tmsjax.runs.source import check_unchanged, with_source
from tmsjax.runs.unit import Job, train_unit

SECONDS = ("seconds_of_training", "seconds_of_compiling", "seconds_of_results")


@dataclass(frozen=True)
class News:
    """What a worker tells the coordinator.

    kind   value
    progress  a Progress of the unit
    stored    facts for run.json: the unit's results are stored
    failed    the reason
    full      the reason: the disk is full, which would stop other units, too
    held      None: another process trains the unit
    stopped   None: the unit stopped on request, or was not begun
    lost      how its worker died
    warning   a warning's text (unit -1)
    """

    kind: str
    unit: int
    value: Any = None


def open_job(out: str) -> Job:
    """The run in `out`, after executing the files that it imports, if they are those that it recorded.

    Raises RunError if the directory cannot be seen, or if the devices cannot hold a unit; SpecError.
    """
    directory = RunDirectory(out)
    stored = directory.spec()
    spec = with_imports(stored, stored, run=directory, worker=True)
    facts = _facts(directory)
    spec = with_source(spec)
    check_unchanged(spec, facts, out)
    job = Job(Ensemble(spec, cut=stored_plan(facts["plan"])), directory, facts)
    if jax.default_backend() != "cpu":  # the coordinator has checked main memory for all workers
        check_memory(job.ensemble, job.units[0])
    return job


def _facts(directory: RunDirectory) -> dict:
    """run.json without the spec."""
    return {key: value for key, value in directory.info().items() if key != "spec"}


def work(job: Job, unit: int, turn: AbstractContextManager, listen: Listener, should_stop: Callable[[], bool]) -> News:
    """Trains and stores a unit. Returns what became of it: stored, failed, full, held or stopped.

    `turn`: held while the unit trains, not while it is written, so that a second thread trains the next one meanwhile.
    """
    assert job.directory is not None
    assert job.store is not None
    try:
        with ExitStack() as claim:
            with turn:
                if should_stop():
                    return News("stopped", unit)
                if not claim.enter_context(_claimed(job, unit)):
                    return News("stored", unit, {}) if unit in job.store.done() else News("held", unit)
                if job.single:  # an earlier attempt may have saved checkpoints
                    job.info = _facts(job.directory)
                dataset, facts = train_unit(job, unit, listen, should_stop)
            job.store_unit(unit, dataset, facts)
    except Interrupted:
        return News("stopped", unit)
    except Exception as error:
        full = is_disk_full(error) or (isinstance(error.__cause__, Exception) and is_disk_full(error.__cause__))
        return News("full" if full else "failed", unit, _reason(job, unit, error))
    total = {key: job.info[key] for key in SECONDS if key in job.info} if job.single else {}
    return News("stored", unit, total | {"peak_memory_bytes": peak_memory()})


@contextmanager
def _claimed(job: Job, unit: int) -> Iterator[bool]:
    """Locks a unit, also the only one of a run: the coordinator holds the lock of the directory itself."""
    assert job.directory is not None
    assert job.store is not None
    if not job.directory.local:  # no locks there
        yield unit not in job.store.done()
        return
    if not job.single:
        with job.claim(unit) as mine:
            yield mine
        return
    with job.directory.try_lock(job.directory.unit_folder(unit)) as mine:
        yield mine and unit not in job.store.done()
        if mine and unit in job.store.done():
            shutil.rmtree(job.directory.units, ignore_errors=True)


def _reason(job: Job, unit: int, error: Exception) -> str:
    """The first line of an error, without the run's path and the unit's number."""
    assert job.directory is not None
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return line.removeprefix(f"{job.directory.path}: ").removeprefix(f"unit {unit}: ")
