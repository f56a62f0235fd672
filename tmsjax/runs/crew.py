"""The coordinator of a run's workers: hands out units, repeats those that failed, collects progress and facts.

It knows nothing of processes and networks: workers.py and cluster.py provide a `Crew` each.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from tmsjax.errors import Interrupted, RunFailed
from tmsjax.runs.progress import Listener, Progress
from tmsjax.runs.remote import SECONDS, News
from tmsjax.runs.unit import Job

TRIES = 3  # of a unit, before it is left out
FAILURES = 10  # units that are left out before the run is given up
AGAIN_SECONDS = 2.0  # until a unit that another process holds is tried again
NOTICE_SECONDS = 60.0
WAIT_SECONDS = 0.2


class Crew(Protocol):
    """Workers that train units, one at a time; each takes a second unit while the results of the first are written."""

    def free(self, second: bool) -> list[Any]:
        """Workers without a unit; with `second`, those that train one and can take the next."""

    def size(self) -> int:
        """The number of workers."""

    def give(self, worker: Any, unit: int) -> None:
        """Has a worker train a unit."""

    def news(self, seconds: float) -> Iterable[News]:
        """What has happened, after at most about `seconds`."""

    def stop(self) -> None:
        """Asks all workers to save their units and to stop."""


def hand_out(
    job: Job, todo: Sequence[int], crew: Crew, listen: Listener | None, should_stop: Callable[[], bool]
) -> int:
    """Has a crew train units. Returns their number.

    A unit that fails, or whose worker dies, is tried again, `TRIES` times in all; the others are trained meanwhile.
    Raises Interrupted if the run should stop, after units under way are saved; RunFailed if units failed for good.
    """
    desk = _Desk(job, todo, crew, listen)
    stopping = False
    while desk.open(stopping):
        if not stopping and (desk.hopeless or should_stop()):
            stopping = True
            crew.stop()
        if not stopping:
            desk.assign()
        for news in crew.news(WAIT_SECONDS):
            desk.hear(news)
    left = bool(desk.waiting or desk.held)
    if desk.hopeless or (desk.failed and not left):
        raise RunFailed(desk.complaint())
    if left:
        raise Interrupted(f"stopped with {desk.stored} of {len(todo)} units done")
    return desk.stored


class _Desk:
    """The state of each unit: waiting, under way, held by another process until a time, stored or failed."""

    def __init__(self, job: Job, todo: Sequence[int], crew: Crew, listen: Listener | None):
        self.job, self.crew, self.listen = job, crew, listen
        self.units, self.began = len(todo), time.monotonic()
        self.waiting = deque(todo)
        self.under_way: dict[int, Progress | None] = {}
        self.latest: Progress | None = None  # of any unit
        self.held: dict[int, float] = {}
        self.told = self.began  # when the user was told of held units
        self.tries: Counter[int] = Counter()
        self.failed: dict[int, str] = {}
        self.full: str | None = None
        self.stored = 0

    def open(self, stopping: bool) -> bool:
        """Whether there is something to wait for."""
        return bool(self.under_way) or (not stopping and bool(self.waiting or self.held))

    @property
    def hopeless(self) -> bool:
        """Whether to give up the run."""
        return self.full is not None or len(self.failed) >= FAILURES

    def assign(self) -> None:
        """Hands waiting units to workers. Those at work get a second unit only if there are plenty."""
        now = time.monotonic()
        for unit in [unit for unit, when in self.held.items() if when <= now]:
            del self.held[unit]
            self.waiting.append(unit)
        self._mention_held(now)
        for second in (False, True):
            for worker in self.crew.free(second):
                if len(self.waiting) > (2 * self.crew.size() if second else 0):
                    unit = self.waiting.popleft()
                    self.under_way[unit] = None
                    self.crew.give(worker, unit)

    def _mention_held(self, now: float) -> None:
        if self.held and not self.waiting and not self.under_way and now - self.told > NOTICE_SECONDS:
            self.told = now
            units = ", ".join(map(str, sorted(self.held)[:5]))
            warnings.warn(f"waiting for other processes that train units of this run: {units}", stacklevel=4)

    def hear(self, news: News) -> None:
        """Notes what has happened to a unit."""
        if news.kind == "warning":
            warnings.warn(news.value, stacklevel=3)
            return
        if news.kind == "progress":
            self.latest = news.value  # may come after the unit's end, or not at all
        if news.unit not in self.under_way:
            return
        if news.kind == "progress":
            self.under_way[news.unit] = news.value
            self._tell()
            return
        del self.under_way[news.unit]
        if news.kind == "stored":
            self.stored += 1
            self._note(news.value)
            if self.stored == self.units:
                self._tell(self.latest)
        elif news.kind == "stopped":
            self.waiting.appendleft(news.unit)
        elif news.kind == "held":
            self.held[news.unit] = time.monotonic() + AGAIN_SECONDS
        else:
            self._failed(news)

    def _failed(self, news: News) -> None:
        if news.kind == "full":
            self.full = f"unit {news.unit}: {news.value}"
        self.tries[news.unit] += 1
        if self.tries[news.unit] < TRIES:  # soon, so that a fault of all units is noticed after few of them
            self.waiting.insert(2 * self.crew.size(), news.unit)
        else:
            self.failed[news.unit] = news.value

    def _note(self, facts: dict) -> None:
        """Adds what a worker says about a stored unit to run.json."""
        info = self.job.info
        info |= {key: facts[key] for key in SECONDS if key in facts}
        info["peak_memory_bytes"] = max(info.get("peak_memory_bytes", 0), facts.get("peak_memory_bytes", 0))

    def _tell(self, last: Progress | None = None) -> None:
        """Tells the listener the sum over units under way. `last`: of any unit, when all are stored."""
        reports = [one for one in self.under_way.values() if one is not None] if last is None else [last]
        if self.listen is None or not reports:
            return
        models = sum(one.models for one in reports)
        total = replace(
            reports[0],
            step=sum(one.step for one in reports) if last is None else 0,
            seconds=time.monotonic() - self.began,
            models_per_second=sum(one.models_per_second for one in reports),
            samples_per_second=sum(one.samples_per_second for one in reports),
            mean_loss=sum(one.mean_loss * one.models for one in reports) / models,
            models=max(one.models for one in reports),
            units_done=self.stored,
            units=self.units,
            workers=max(1, self.crew.size()),
        )
        if total.share < 1 or last is not None:
            self.listen(total)

    def complaint(self) -> str:
        """The message about units that failed for good."""
        assert self.job.directory is not None
        path = self.job.directory.path
        if self.full is not None:
            what, lines = "the disk is full", [self.full]
        else:
            names = sorted(self.failed)
            what = f"{len(names)} of {self.units} units failed, each in {TRIES} attempts"
            if self.hopeless:
                what += "; given up"
            lines = [f"unit {unit}: {self.failed[unit]}" for unit in names]
        again = f"{self.stored} units were stored; to try the others again: tmsjax resume {path}"
        return "\n  ".join([f"{path}: {what}:", *lines, again])
