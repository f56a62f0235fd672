"""Trains units as tasks of a Dask cluster. The only import of distributed.

Dask assigns units to workers, repeats those that fail, and copes with workers and schedulers that come and go. Futures
are never the record: what the store lacks is submitted until it lacks nothing.
"""

from __future__ import annotations

import threading
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import distributed
import jax

from tmsjax.engine import device_line, keep_programs
from tmsjax.errors import Interrupted, RunError, RunFailed, first_line
from tmsjax.runs.capacity import check_memory
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.job import Job
from tmsjax.runs.join import Count, opened
from tmsjax.runs.progress import Listener
from tmsjax.runs.versions import decisive, differences
from tmsjax.runs.unit import train_unit
from tmsjax.spec import Spec

TRIES, FAILURES = 3, 10  # of a unit before it is left out; units left out before the run is given up
AGAIN, NOTICE, CONNECT, RECONNECT = 2.0, 60.0, 8.0, 60.0  # seconds
_turn = threading.Lock()  # a worker trains one unit at a time, whatever the number of its threads
_jobs: dict[str, Job] = {}  # of a worker: the newest, by its token
_stopping: set[str] = set()  # tokens of runs that a worker should not train any more


def _about(spec: Spec) -> dict[str, str]:
    """What a worker is: what must agree, and its device."""
    devices = jax.local_devices()
    return decisive(spec) | {"platform": devices[0].platform, "device": device_line(devices)}


def _train(token: str, unit: int, *where: Any) -> None:
    """The task of a worker: trains and stores a unit."""
    if not _turn.acquire(timeout=AGAIN):
        raise distributed.Reschedule
    try:
        if token in _stopping:
            return
        job = _opened(token, *where)
        with job.claim(unit) as mine:
            if mine:
                job.store_unit(unit, *train_unit(job, unit, should_stop=lambda: token in _stopping))
            elif unit not in job.done():  # a worker that the scheduler believes dead trains it, or a joined process
                time.sleep(AGAIN)
                raise distributed.Reschedule
    except (Interrupted, distributed.Reschedule):
        if token not in _stopping:
            raise
    except Exception as error:  # some types cannot be sent
        raise RunFailed(first_line(error)) from None
    finally:
        _turn.release()


def _opened(token: str, out: str, *of_run: Any) -> Job:
    """The run; one at a time is open. Leaves its units to other workers, and says so, if this one must not train it."""
    if token not in _jobs:
        try:
            keep_programs()
            job = opened(RunDirectory(out), *of_run)
            check_memory(job.ensemble, job.units[0])
        except Exception as error:
            worker = distributed.get_worker()
            worker.log_event(token, f"worker {worker.address} is not used: {first_line(error)}")
            time.sleep(AGAIN)
            raise distributed.Reschedule from None
        _jobs.clear()
        _jobs[token] = job
    return _jobs[token]


def _stop(token: str) -> None:
    _stopping.add(token)


def connect(address: Any, security: Any = None) -> distributed.Client:
    """A client of the scheduler at `address`. Raises RunError if it does not answer."""
    try:
        return distributed.Client(address, timeout=CONNECT, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(f"no Dask scheduler answers at {address} ({str(error).splitlines()[0]:.200})") from error


class DaskCluster:
    """Trains units on a cluster. `given`: the scheduler's address, or a client, which stays open."""

    def __init__(self, given: Any, should_stop: Callable[[], bool]):
        self.address = given if isinstance(given, str) else str(given.scheduler.address)
        self.connect = lambda: connect(self.address, getattr(given, "security", None))
        self.token, self.should_stop, self.told = f"tmsjax-{uuid.uuid4().hex[:12]}", should_stop, time.monotonic()

    def __enter__(self) -> DaskCluster:
        self.client = self.connect()
        self.client.subscribe_topic(self.token, lambda event: warnings.warn(event[1], stacklevel=1))
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):
            self.client.close(timeout=2)

    def platform(self, spec: Spec) -> str:
        """What the workers' devices are. Waits for the first worker; raises RunError if one does not fit."""
        first = self.client.submit(_about, spec, pure=False)  # for which a cluster that adapts starts a worker
        self._wait([first])
        answers, ours = self.client.run(_about, spec, on_error="return"), decisive(spec)
        found = {k: answer for k, answer in answers.items() if isinstance(answer, dict)}
        platforms = [about["platform"] for about in found.values()]
        ours["platform"] = max(sorted(platforms), key=platforms.count, default="")
        wrong = [f"worker {k}: cannot run tmsjax: {answers[k]!r:.300}" for k in answers.keys() - found.keys()]
        wrong += [f"worker {k}: {line}" for k, about in found.items() for line in differences(about, ours)]
        if wrong:
            raise RunError("\n  ".join([f"workers of {self.address} differ from this process or each other:", *wrong]))
        self.devices = sorted({about["device"] for about in found.values()})
        return ours["platform"]

    def prepare(self, job: Job) -> tuple[str, str]:
        """(the devices, their platform). Raises RunError if they cannot go on with the run."""
        platform, was = self.platform(job.spec), job.facts.platform
        if was not in ("", platform):
            raise RunError(f"the run was begun on {was}; the workers' devices are {platform}")
        if len(self.devices) > 1:
            warnings.warn("the workers differ: a unit's last bits can depend on which trains it", stacklevel=4)
        return f"workers: {'; '.join(self.devices)}", platform

    def train(self, job: Job, listen: Listener | None, should_stop: Callable[[], bool]) -> tuple[int, list]:
        """Trains the missing units. Raises Interrupted if it should stop, RunFailed if units fail for good."""
        assert job.directory is not None
        where = (str(job.directory.path), job.facts.started, decisive(job.spec))
        count = Count(job, listen)
        failed: dict[int, str] = {}
        while len(failed) < FAILURES and (todo := [unit for unit in count.missing() if unit not in failed]):
            tasks = {self.client.submit(_train, self.token, k, *where, retries=TRIES - 1, pure=False): k for k in todo}
            self._wait(list(tasks), count)
            failed |= {k: first_line(t.exception()) for t, k in tasks.items() if t.status == "error"}
            if self.client.status != "running" or any(t.status in ("cancelled", "lost") for t in tasks):
                self._reconnect(job)
        stored = count.done - count.first
        if failed:
            lines = [f"unit {unit}: {why}" for unit, why in sorted(failed.items())]
            what = f"{job.directory.path}: {len(failed)} units failed, each in {TRIES} attempts:"
            raise RunFailed("\n  ".join([what, *lines, f"to try them again: tmsjax resume {job.directory.path}"]))
        return stored, []

    def _wait(self, tasks: list[distributed.Future], count: Count | None = None) -> None:
        """Waits until tasks end, the scheduler goes, or too many fail. Raises Interrupted after workers have saved."""
        stopping = False
        while self.client.status == "running" and any(task.status == "pending" for task in tasks):
            with suppress(OSError, TimeoutError):  # the scheduler is going
                if not self.client.nthreads() and (stopping or self.should_stop()):
                    break
                if self.client.nthreads():
                    self.told = time.monotonic()
                elif time.monotonic() - self.told > NOTICE:
                    self.told = time.monotonic()
                    warnings.warn(f"waiting for workers of the scheduler {self.address}", stacklevel=4)
                if self.should_stop():
                    stopping = True
                    self.client.run(_stop, self.token, on_error="ignore")
            if count is not None:
                count.of_tasks(sum(task.status == "finished" for task in tasks))
            if sum(task.status == "error" for task in tasks) >= FAILURES:
                break
            time.sleep(0.2)
        if stopping or self.should_stop():
            raise Interrupted("stopped; finished units are stored, units under way were saved")

    def _reconnect(self, job: Job) -> None:
        """Connects to a scheduler that comes back at the same address. Raises RunFailed if it does not."""
        warnings.warn(f"lost the scheduler {self.address}; waiting {RECONNECT:.0f} s for it", stacklevel=4)
        until = time.monotonic() + RECONNECT
        while True:
            self.__exit__()
            try:
                self.__enter__()
                return
            except RunError as error:
                if time.monotonic() > until or self.should_stop():
                    again = f"finished units are intact; to continue: tmsjax resume {job.directory.path}"  # type: ignore[union-attr]
                    raise RunFailed(f"{error}\n  {again}") from error
            time.sleep(1)
