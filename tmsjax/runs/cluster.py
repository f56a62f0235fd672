"""Trains units on the workers of a Dask cluster. The only import of distributed.

Dask carries orders to the workers, tells which workers there are, and carries progress back. Which unit a worker trains
is decided here (crew.py): each task is pinned to one worker, so that a worker trains one unit at a time, with all its
cores or its GPU, and so that a worker takes part only after its versions and its view of the run have been checked.
"""

from __future__ import annotations

import importlib
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

import distributed

from tmsjax.errors import Interrupted, RunError, RunFailed
from tmsjax.runs import guest
from tmsjax.runs.crew import NOTICE_SECONDS, hand_out
from tmsjax.runs.guest import Order, differences
from tmsjax.runs.progress import Listener, Progress
from tmsjax.runs.remote import News
from tmsjax.runs.unit import Job
from tmsjax.spec import Spec

CONNECT_SECONDS = 8.0
RECONNECT_SECONDS = 60.0
GREET_SECONDS = 120.0  # for busy workers; later ones are checked when they answer
ROSTER_SECONDS = 1.0  # between looks at which workers there are
POLL_SECONDS = 0.02


def _train(order: Order, unit: int) -> News:
    """Trains a unit, in a worker, and tells the progress as events under the run's token."""
    worker = distributed.get_worker()

    def listen(progress: Progress) -> None:
        worker.log_event(order.token, {"unit": unit, "progress": asdict(progress)})

    return guest.train(order, unit, listen)


def connect(address: Any, security: Any = None) -> distributed.Client:
    """A client of the scheduler at `address`. Raises RunError if it does not answer."""
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(f"no Dask scheduler answers at {address} ({str(error).splitlines()[0]:.200})") from error


def address_of(client: distributed.Client) -> str:
    """The address of a client's scheduler."""
    if client.scheduler is None or client.status != "running":
        raise RunError("the Dask client is not connected to a scheduler")
    return str(client.scheduler.address)


class DaskCluster:
    """Trains units on a cluster. `client`: the scheduler's address, or a client, which stays open."""

    def __init__(self, client: Any, out: str, should_stop: Callable[[], bool]):
        self.given, self.out, self.should_stop = client, out, should_stop
        self.order = Order(f"tmsjax-{uuid.uuid4().hex[:12]}")
        self.members: dict[str, _Member] = {}
        self.told = time.monotonic()
        self.demand: Any = None
        self.stopping = False

    def __enter__(self) -> DaskCluster:
        security = None
        if isinstance(self.given, distributed.Client):
            self.address, security = address_of(self.given), self.given.security
        else:
            self.address = self.given
        self.connect = lambda: connect(self.address, security)
        self._open()
        return self

    def _open(self) -> None:
        self.events: queue.SimpleQueue = queue.SimpleQueue()
        self.client = self.connect()
        self.client.subscribe_topic(self.order.token, lambda event: self.events.put(event[1]))
        self.roster_at = 0.0

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):
            self.client.run(guest.leave, self.order.token, wait=False, on_error="ignore")
        with suppress(Exception):
            self.client.close(timeout=2)

    def platform(self, spec: Spec) -> str:
        """What the devices of the workers are. Waits for the first worker."""
        return self._greeted(spec)["platform"]

    def prepare(self, job: Job, todo: int) -> dict[str, Any]:
        """Checks that all workers agree with this process and with the run."""
        expected = dict(self.order.expected or self._greeted(job.ensemble.spec))
        was = job.info.get("platform", expected["platform"])
        if was != expected["platform"]:
            raise RunError(f"{self.out}: was begun on {was}; the workers' devices are {expected['platform']}")
        devices = {about["device"] for about in self.abouts.values()}
        if len({about["kind"] for about in self.abouts.values()}) > 1:
            warnings.warn(
                f"the workers differ ({'; '.join(sorted(devices))}): a unit's last bits can depend on which trains it",
                stacklevel=4,
            )
        return {"device": f"workers: {'; '.join(sorted(devices))}", "platform": expected["platform"]}

    def train(
        self, job: Job, todo: Sequence[int], listen: Listener | None, should_stop: Callable[[], bool]
    ) -> tuple[int, list]:
        self.order = replace(self.order, out=self.out, begun=job.info["started"])
        answers = self._results_of({address: self._submit(guest.enter, address) for address in self.abouts})
        self._refuse({address: trouble for address, trouble in answers.items() if trouble}, "cannot train this run")
        self.members = {address: _Member(entered=True) for address in answers}
        return hand_out(job, todo, self, listen, should_stop), []

    # Before the first unit

    def _greeted(self, spec: Spec) -> dict[str, str]:
        """Facts that all workers share with this process, and their platform. Raises RunError if one differs."""
        self.order = Order(self.order.token, imports=tuple(spec.imports), folder=spec.folder)
        answers: dict[str, Any] = {}
        while not answers:
            self._wait_for_a_worker()
            able = self._answers({address: self._import(address) for address in self._addresses()})
            answers = self._results_of({address: self._submit(guest.greet, address) for address in able})
        ours = guest.facts(spec.imports, spec.folder)
        platforms = [found["platform"] for found, _ in answers.values()]
        expected = ours | {"platform": max(sorted(set(platforms)), key=platforms.count)}
        self._refuse(
            {k: lines for k, (found, _) in answers.items() if (lines := differences(found, expected))},
            "differ from this process or from each other",
        )
        self.abouts = {address: about for address, (_, about) in answers.items()}
        self.order = replace(self.order, expected=expected)
        return expected

    def _wait_for_a_worker(self) -> None:
        while not self._addresses():
            self._mention_waiting()
            if self.should_stop():
                raise Interrupted(f"stopped while waiting for workers of {self.address}")
            time.sleep(0.2)
        self._withdraw_demand()

    def _mention_waiting(self) -> None:
        """Says once a minute that there are no workers. Leaves a task for any worker, for clusters that adapt."""
        if self.demand is None:
            self.told = time.monotonic() - NOTICE_SECONDS
            self.demand = self.client.submit(guest.greet, self.order, pure=False)
        if time.monotonic() - self.told >= NOTICE_SECONDS:
            self.told = time.monotonic()
            warnings.warn(f"waiting for workers of the scheduler {self.address}", stacklevel=6)

    def _withdraw_demand(self) -> None:
        if self.demand is not None:
            self.demand.cancel()
            self.demand = None

    def _addresses(self) -> set[str]:
        return set(self.client.nthreads())

    def _submit(self, task: Callable, address: str, *more: Any) -> distributed.Future:
        """A task of this run for one worker."""
        return self.client.submit(task, self.order, *more, workers=[address], pure=False, retries=0)

    def _import(self, address: str) -> distributed.Future:
        """A task that imports this module. Without it, a task of ours would not be understood, and end the worker."""
        return self.client.submit(importlib.import_module, __name__, workers=[address], pure=False, retries=0)

    def _results_of(self, asked: Mapping[str, distributed.Future]) -> dict[str, Any]:
        """The answers of the workers that give one in time."""
        answers = {address: _answer(future) for address, future in self._answers(asked).items()}
        return {address: answer for address, answer in answers.items() if answer is not None}

    def _answers(self, asked: Mapping[str, distributed.Future]) -> dict[str, distributed.Future]:
        """The tasks that end in time, of workers that stay. Raises RunError if a worker cannot run tmsjax."""
        until = time.monotonic() + GREET_SECONDS
        while any(future.status == "pending" for future in asked.values()) and time.monotonic() < until:
            if gone := set(asked) - self._addresses():
                warnings.warn(f"workers ended when they were asked: {', '.join(sorted(gone))}", stacklevel=6)
                asked = {address: future for address, future in asked.items() if address not in gone}
            if self.should_stop():
                raise Interrupted("stopped before the first unit")
            time.sleep(0.1)
        failed = {address: _answer(future) for address, future in asked.items() if future.status == "error"}
        self._refuse({address: [_unable(error)] for address, error in failed.items() if error}, "cannot take part")
        return {address: future for address, future in asked.items() if future.status == "finished"}

    def _refuse(self, trouble: Mapping[str, list[str]], what: str) -> None:
        """Raises RunError if there is any."""
        if trouble:
            lines = [f"worker {address}: {line}" for address, lines in sorted(trouble.items()) for line in lines]
            raise RunError("\n  ".join([f"{len(trouble)} workers of {self.address} {what}:", *lines]))

    # A crew (see crew.py)

    def free(self, second: bool) -> list[str]:
        return [a for a, member in self.members.items() if member.entered and len(member.units) == int(second)]

    def size(self) -> int:
        return len([member for member in self.members.values() if member.entered])

    def give(self, worker: str, unit: int) -> None:
        self.members[worker].units[unit] = self._submit(_train, worker, unit)

    def stop(self) -> None:
        self.stopping = True
        with suppress(OSError, TimeoutError):
            self.client.run(guest.stop, self.order.token, wait=False, on_error="ignore")

    def news(self, seconds: float) -> Iterator[News]:
        until, quiet = time.monotonic() + seconds, True
        try:
            while quiet and time.monotonic() < until:
                for one in chain(self._progress(), self._results(), self._roster()):  # heard before the next may raise
                    quiet = False
                    yield one
                if quiet:
                    time.sleep(POLL_SECONDS)
        except (OSError, TimeoutError, _SchedulerLost):
            yield from self._reconnect()

    def _progress(self) -> Iterator[News]:
        while True:
            try:
                told = self.events.get_nowait()
            except queue.Empty:
                return
            yield News("progress", told["unit"], Progress(**told["progress"]))

    def _results(self) -> Iterator[News]:
        """What tasks have returned."""
        for address, member in list(self.members.items()):
            for unit, future in list(member.units.items()):
                if future.status == "pending":
                    continue
                if future.status not in ("finished", "error"):  # cancelled when the scheduler ends
                    raise _SchedulerLost
                answer = _answer(future)
                del member.units[unit]
                if answer is None:
                    yield News("stopped", unit)
                elif isinstance(answer, Exception):
                    yield News("lost", unit, f"{type(answer).__name__}: {answer}")
                elif answer.kind == "unknown":  # a new process at an old address
                    member.entered, member.tests = False, [self._import(address)]
                    yield News("stopped", unit)
                else:
                    yield answer

    def _roster(self) -> Iterator[News]:
        """Notices workers that came or went, once a second. A worker's first unit was under way, the second not."""
        if time.monotonic() < self.roster_at:
            return
        self.roster_at = time.monotonic() + ROSTER_SECONDS
        if self.client.status != "running":
            raise _SchedulerLost
        now = self._addresses()
        for address in self.members.keys() - now:
            member = self.members.pop(address)
            for k, (unit, future) in enumerate(member.units.items()):
                with suppress(OSError, TimeoutError):
                    future.cancel()
                yield News("lost", unit, f"its worker {address} has gone") if k == 0 else News("stopped", unit)
        for address in now - self.members.keys():
            self.members[address] = _Member(tests=[self._import(address)])
        for address, member in self.members.items():
            if trouble := self._tested(address, member):
                yield News("warning", -1, "\n  ".join([f"worker {address} is not used:", *trouble]))
        if not self.size() and not now:
            self._mention_waiting()
        else:
            self._withdraw_demand()

    def _tested(self, address: str, member: _Member) -> list[str]:
        """Takes a late worker through its tests: importing this module, then entering the run. Returns its faults."""
        if not member.tests or member.tests[-1].status not in ("finished", "error"):
            return []
        if member.tests[-1].status == "finished" and len(member.tests) == 1:
            member.tests.append(self._submit(guest.enter, address))
            return []
        trouble = _answer(member.tests[-1])
        if trouble is None:  # it has ended
            return []
        if isinstance(trouble, Exception):
            trouble = [_unable(trouble)]
        member.tests, member.entered = [], not trouble
        return trouble

    def _reconnect(self) -> Iterator[News]:
        """Connects to a scheduler that comes back at the same address. All units under way are handed out again."""
        units = [unit for member in self.members.values() for unit in member.units]
        self.members, self.demand = {}, None
        yield from (News("stopped", unit) for unit in units)
        if self.stopping:
            return
        yield News("warning", -1, f"lost the scheduler {self.address}; waiting {RECONNECT_SECONDS:.0f} s for it")
        with suppress(Exception):
            self.client.close(timeout=1)
        until = time.monotonic() + RECONNECT_SECONDS
        while not self.should_stop():
            try:
                self._open()
                yield News("warning", -1, f"connected to the scheduler {self.address} again")
                return
            except RunError as error:
                if time.monotonic() > until:
                    again = f"all finished units are intact; to continue: tmsjax resume {self.out}"
                    raise RunFailed(f"{self.out}: {error}\n  {again}") from error
            time.sleep(1)


@dataclass
class _Member:
    """A worker: whether it takes part, or the tasks that test it; and its units, the one under way first."""

    entered: bool = False
    tests: list[distributed.Future] = field(default_factory=list)
    units: dict[int, distributed.Future] = field(default_factory=dict)


class _SchedulerLost(Exception):
    """The connection to the scheduler is broken."""


def _answer(future: distributed.Future) -> Any:
    """What a task has returned, or the exception that ended it; None if its worker ended before it was asked."""
    try:
        return future.result(timeout=CONNECT_SECONDS)
    except (TimeoutError, CancelledError):
        return None
    except Exception as error:
        return error


def _unable(error: Exception) -> str:
    return f"cannot run tmsjax: {error!r:.300}"
