"""How this process trains a run: it claims a missing unit, trains it and stores it, until none is left.

A unit is locked while it is trained and its file appears whole, so any number of processes may do this at once.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path

import jax
import xarray as xr

from tmsjax.engine import Ensemble, device_line, memory_group, resident_memory, stored_plan
from tmsjax.errors import Interrupted, RunError, RunFailed, Unreadable
from tmsjax.runs.capacity import check_memory
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.imports import with_imports
from tmsjax.runs.job import Job
from tmsjax.runs.progress import Listener, Progress
from tmsjax.runs.source import check_unchanged, with_source
from tmsjax.runs.unit import failure, store, train_unit
from tmsjax.runs.versions import decisive, differences
from tmsjax.spec import Spec

LOOK_SECONDS = 2.0  # between looks at what other processes do
SEE_SECONDS = 10.0  # until a network file system shows a new run to all processes
NOTICE_SECONDS = 60.0


def train_units(
    job: Job, listen: Listener | None, should_stop: Callable[[], bool]
) -> tuple[int, list[tuple[xr.Dataset, dict]]]:
    """Trains the missing units, each while the one before is written, and waits for those that other processes train.

    Returns the number of units trained here, and (results, facts) of each if the run is in memory. Raises Interrupted
    if it should stop, RunFailed.
    """
    count, kept = Count(job, listen), []
    with ThreadPoolExecutor(1) as writer:
        writing: list[tuple[int, Future]] = []
        while missing := _missing(count):
            if not (free := [unit for unit in missing if unit not in (k for k, _ in writing)]):
                _wait(job, writing)
                continue
            if (count.own or count.waited) and should_stop():  # else asked after the first segment
                raise Interrupted(f"stopped with {count.done} of {len(job.units)} units done")
            unit, claim = _claimed(job, free)
            with claim:
                if unit is None:  # others train them
                    _wait(job, writing)
                    count.wait(missing)
                    continue
                results = train_unit(job, unit, count.listen, should_stop)
                count.own += 1
                if job.store is None:
                    kept.append(results)
                    continue
                _wait(job, writing)
                writing = [(unit, writer.submit(_write, job, unit, results, claim.pop_all()))]
        _wait(job, writing)
    return count.own, kept


def _missing(count: Count) -> list[int]:
    """The units that are not stored. Raises RunFailed if the folder is out of reach."""
    try:
        return count.missing()
    except Unreadable as error:
        again = f"what was saved is intact; when it is back: tmsjax resume {count.job.directory.path}"  # type: ignore[union-attr]
        raise RunFailed(f"{error}\n  {again}") from error


def train_one(job: Job, unit: int, should_stop: Callable[[], bool]) -> bool:
    """Trains and stores a unit, if it is missing. Returns False if another process trains it."""
    with job.claim(unit) as mine:
        if mine:
            store(job, unit, *train_unit(job, unit, None, should_stop))
        return mine or unit in job.done()


def opened(path: str | PathLike, started: str = "", expected: Iterable[tuple[str, str]] = ()) -> Job:
    """The run in the directory `path`, as its job, after executing the files that it imports.

    `started`, `expected`: when another process began it, and what must be as in that process, see versions.decisive.
    Raises RunError if this process must not train it, SpecError.
    """
    directory = RunDirectory(path)
    until = time.monotonic() + SEE_SECONDS
    while started and not directory.exists() and time.monotonic() < until:
        time.sleep(0.5)
    stored, facts = directory.spec(), directory.info()
    if started not in ("", facts.started):
        raise RunError(f"sees another run in {path}; workers need a shared file system")
    if wrong := differences(decisive(stored), dict(expected)):
        raise RunError("; ".join(wrong))
    spec = with_source(with_imports(stored, stored, run=directory, worker=bool(expected)))
    check_unchanged(spec, facts, path)
    job = Job(Ensemble(spec, cut=stored_plan(facts.plan)), directory, facts)
    check_memory(job.ensemble, job.units[0])
    return job


def about(spec: Spec) -> dict[str, str]:
    """What this process is: what must agree with others that train the run, and its device."""
    devices = jax.local_devices()
    return decisive(spec) | {"platform": devices[0].platform, "device": device_line(devices)}


def _claimed(job: Job, missing: list[int]) -> tuple[int | None, ExitStack]:
    """The first unit that this process can claim, and what ends the claim."""
    for unit in missing:
        claim = ExitStack()
        if claim.enter_context(job.claim(unit)):
            return unit, claim
        claim.close()
    return None, ExitStack()


def _write(job: Job, unit: int, trained: tuple[xr.Dataset, dict], claim: ExitStack) -> None:
    with claim:
        store(job, unit, *trained)


def _wait(job: Job, writing: list[tuple[int, Future]]) -> None:
    """Waits until a unit is written. Raises RunFailed if that fails."""
    while writing:
        unit, written = writing.pop()
        try:
            written.result()
        except (MemoryError, OSError) as error:
            raise failure(job, unit, job.spec.train.steps, error) from error


class Count:
    """How many units this process and others have finished, which it tells the listener."""

    def __init__(self, job: Job, listen: Listener | None):
        self.job, self.own, self.waited = job, 0, False
        self.listen = None if listen is None else self._tell
        self._listen = listen
        self.began = self.looked = self.noticed = time.monotonic()
        self.first = self.done = self.stored = 0 if job.store is None else len(job.done())

    def missing(self) -> list[int]:
        """The units that are not stored; in memory, those that are not trained."""
        if self.job.store is None:
            return list(range(self.own, len(self.job.units)))
        missing = self.job.missing()
        self.done = self.stored = len(self.job.units) - len(missing)
        self.looked = time.monotonic()
        return missing

    def _tell(self, progress: Progress) -> None:
        """Adds to a progress of one unit what is known of the others."""
        assert self._listen is not None
        if self.job.store is not None and time.monotonic() - self.looked > LOOK_SECONDS:
            with suppress(RunError):  # the folder may be away for a while
                self.missing()
        seconds, done = time.monotonic() - self.began, max(self.done, self.first + self.own)
        others = progress.models * (done - self.first - self.own) / max(seconds, LOOK_SECONDS)
        units = len(self.job.units)
        self._listen(replace(progress, units_done=min(done, units - 1), units=units, seconds=seconds, others=others))

    def of_tasks(self, finished: int) -> None:
        """Tells that other processes have finished so many units since `missing` looked."""
        spec, units, seconds = self.job.spec, len(self.job.units), time.monotonic() - self.began
        done, models = self.stored + finished, self.job.units[0].size
        if self._listen is None or not finished or done == self.done:
            return
        self.done, steps = done, spec.train.steps
        speed, samples = models * (done - self.first) / seconds, 1 if spec.train.loss == "exact" else spec.train.batch
        step = steps if done == units else 0
        before = min(done, units - 1)
        self._listen(Progress(step, steps, seconds, speed, speed * steps * samples, math.nan, models, before, units))

    def wait(self, missing: list[int]) -> None:
        """Waits a little for the units that are missing, which other processes train; says so once a minute."""
        now = time.monotonic()
        if self._listen is not None:
            self._tell(Progress.of_waiting(self.job.spec))
        if now - self.noticed > NOTICE_SECONDS:
            self.noticed = now
            names = ", ".join(map(str, missing[:5]))
            warnings.warn(f"waiting for other processes that train units of this run: {names}", stacklevel=4)
        self.waited = True
        time.sleep(LOOK_SECONDS / 2)


@contextmanager
def beside_others(directory: RunDirectory, needed: int) -> Iterator[int]:
    """Notes that this process will need some bytes of memory.

    Yields the bytes that other processes which have joined the run, and share this machine's or job's memory, have yet
    to take.
    """
    here, group = socket.gethostname(), memory_group()
    folder, own = _notes(directory)
    with directory.try_lock(own):
        try:
            note = {"process": os.getpid(), "host": here, "group": group, "bytes": needed}
            (own / "needs.json").write_text(json.dumps(note), encoding="utf-8")
            yield sum(_yet_to_take(each, note) for each in _others(directory, folder, own))
        finally:
            shutil.rmtree(own, ignore_errors=True)
            with suppress(OSError):
                folder.rmdir()


def others_train(directory: RunDirectory) -> bool:
    """Whether other processes which have joined the run train its units."""
    folder, own = _notes(directory)
    return folder.is_dir() and any(True for _ in _others(directory, folder, own))


def _notes(directory: RunDirectory) -> tuple[Path, Path]:
    """The folder of what processes note, and where this one does."""
    folder = directory.path / ".joined"
    return folder, folder / f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident():x}"


def _others(directory: RunDirectory, folder: Path, own: Path) -> Iterator[dict]:
    """What other processes have noted; removes the notes of the dead."""
    for each in sorted(folder.iterdir()):
        if each == own:
            continue
        with directory.try_lock(each) as dead, suppress(OSError, ValueError):
            if dead:
                shutil.rmtree(each, ignore_errors=True)
            else:
                yield json.loads((each / "needs.json").read_text(encoding="utf-8"))


def _yet_to_take(other: dict, own: dict) -> int:
    if (other["host"], other["group"]) != (own["host"], own["group"]):
        return 0
    return max(0, other["bytes"] - (resident_memory(other["process"]) or 0))
