"""Trains units as tasks of a Dask cluster. The only import of distributed.

Dask assigns units to workers, repeats those that fail, and copes with workers and schedulers that come and go. Futures
are never the record: what the store lacks is submitted until it lacks nothing.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import distributed

from tmsjax.engine import keep_programs
from tmsjax.errors import Interrupted, RunError, RunFailed, first_line
from tmsjax.runs.job import Job
from tmsjax.runs.join import Count, about, opened, train_one
from tmsjax.runs.progress import Listener
from tmsjax.runs.unit import failures
from tmsjax.runs.versions import decisive, disagreements
from tmsjax.spec import Spec

TRIES, FAILURES = 3, 10  # of a unit before it is left out; units left out before the run is given up
AGAIN, CONNECT, PATIENCE = 2.0, 8.0, 60.0  # seconds
_turn = threading.Lock()  # a worker trains one unit at a time, whatever the number of its threads
_stopping: set[str] = set()  # tokens of runs that a worker should not train any more


def _train(token: str, unit: int, *of_run: Any) -> None:
    """The task of a worker: trains and stores a unit, or returns at once if the run is stopped."""
    if not _turn.acquire(timeout=AGAIN):
        raise distributed.Reschedule
    try:
        if token not in _stopping and not train_one(_opened(token, *of_run), unit, lambda: token in _stopping):
            time.sleep(AGAIN)  # a process that joined trains it, or a worker that the scheduler believes dead
            raise distributed.Reschedule
    except Interrupted:
        return
    except Exception as error:
        if isinstance(error, distributed.Reschedule):
            raise
        raise RunFailed(first_line(error)) from None  # some types cannot be sent
    finally:
        _turn.release()


@lru_cache(maxsize=1)
def _opened(token: str, *of_run: Any) -> Job:
    """The run. A worker that must not train it says so, and leaves its units to others."""
    try:
        keep_programs()
        return opened(*of_run)
    except Exception as error:
        worker = distributed.get_worker()
        worker.log_event(token, (worker.address, first_line(error)))
        time.sleep(AGAIN)
        raise distributed.Reschedule from None


def _stop(token: str) -> None:
    _stopping.add(token)


def connect(address: Any, security: Any = None, seconds: float = CONNECT) -> distributed.Client:
    """A client of the scheduler at `address`. Raises RunError if it does not answer."""
    try:
        return distributed.Client(address, timeout=seconds, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(f"no Dask scheduler answers at {address} ({first_line(error)})") from error


class DaskCluster:
    """Trains units on a cluster. `given`: the scheduler's address, or a client, which stays open."""

    def __init__(self, given: Any, should_stop: Callable[[], bool]):
        self.address = given if isinstance(given, str) else str(given.scheduler.address)
        self.security = getattr(given, "security", None)
        self.token, self.should_stop, self.refused = f"tmsjax-{uuid.uuid4().hex[:12]}", should_stop, set[str]()

    def __enter__(self, seconds: float = CONNECT) -> DaskCluster:
        self.client = connect(self.address, self.security, seconds)
        self.client.subscribe_topic(self.token, lambda event: self._refuse(*event[1]))
        return self

    def _refuse(self, address: str, reason: str) -> None:
        self.refused.add(address)
        warnings.warn(f"worker {address} is not used: {reason}", stacklevel=1)

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):
            self.client.close(timeout=2)

    def devices(self, spec: Spec) -> tuple[str, str]:
        """(the workers' devices, their platform). Waits for the first worker; raises RunError if workers differ."""
        self._wait([self.client.submit(os.getpid, pure=False)])  # for which a cluster that adapts starts a worker
        answers = self.client.run(about, spec, on_error="return")
        if wrong := disagreements(answers, decisive(spec)):
            raise RunError("\n  ".join([f"workers of {self.address} differ from this process or each other:", *wrong]))
        devices = sorted({one["device"] for one in answers.values()})
        if len(devices) > 1:
            warnings.warn("the workers differ: a unit's last bits can depend on which trains it", stacklevel=4)
        return f"workers: {'; '.join(devices)}", next(iter(answers.values()))["platform"]

    def train(self, job: Job, listen: Listener | None, should_stop: Callable[[], bool]) -> tuple[int, list]:
        """Trains the missing units. Raises Interrupted if it should stop, RunFailed if units fail for good."""
        path, count, failed = str(job.directory.path), Count(job, listen), dict[int, str]()  # type: ignore[union-attr]
        of_run = (path, job.facts.started, tuple(decisive(job.spec).items()))
        while len(failed) < FAILURES and (todo := [unit for unit in count.missing() if unit not in failed]):
            tasks = {self.client.submit(_train, self.token, k, *of_run, retries=TRIES - 1, pure=False): k for k in todo}
            self._wait(list(tasks), count)
            failed |= {k: str(task.exception()) for task, k in tasks.items() if task.status == "error"}
            if self.client.status != "running" or any(task.status in ("cancelled", "lost") for task in tasks):
                what = f"lost the scheduler {self.address}; waiting {PATIENCE:.0f} s for it"
                warnings.warn(f"{what}; finished units are stored, `tmsjax resume {path}` continues", stacklevel=4)
                self.__exit__()
                self.__enter__(PATIENCE)
        if failed:
            raise failures(job, failed, TRIES)
        return count.done - count.first, []

    def _wait(self, tasks: list[distributed.Future], count: Count | None = None) -> None:
        """Waits until tasks end, the scheduler goes, or too many fail. Raises Interrupted after workers have saved."""
        running, hoped = True, time.monotonic()
        while running and self.client.status == "running":
            with suppress(OSError, TimeoutError):  # the scheduler is going
                workers = set(self.client.nthreads())
                if self.should_stop():
                    self.client.run(_stop, self.token, on_error="ignore")
                    running = bool(workers)
                elif workers - self.refused:
                    hoped = time.monotonic()
                elif time.monotonic() - hoped > PATIENCE:
                    if workers:
                        raise RunFailed(f"no worker of {self.address} can train this run; warnings say why")
                    hoped = time.monotonic()
                    warnings.warn(f"waiting for workers of the scheduler {self.address}", stacklevel=4)
            time.sleep(0.2)
            states = [task.status for task in tasks]
            running = running and "pending" in states and states.count("error") < FAILURES
            if count is not None:
                count.of_tasks(states.count("finished"))
        if self.should_stop():
            raise Interrupted("stopped; finished units are stored, units under way were saved")
