"""Trains units in this process, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import xarray as xr

from tmsjax.engine import device_line
from tmsjax.runs import capacity
from tmsjax.runs.progress import Listener, Progress
from tmsjax.runs.unit import Job, failure, train_unit
from tmsjax.spec import Spec


class Here(nullcontext):
    """Trains units in this process, one after another."""

    def platform(self, spec: Spec) -> str:
        return jax.local_devices()[0].platform

    def prepare(self, job: Job, todo: int) -> dict[str, Any]:
        capacity.check_memory(job.ensemble, job.units[0])
        return {"device": device_line(job.ensemble.devices), "platform": job.ensemble.platform}

    def train(
        self, job: Job, todo: Sequence[int], listen: Listener | None, should_stop: Callable[[], bool]
    ) -> tuple[int, list[tuple[xr.Dataset, dict]]]:
        return _train(job, todo, listen, should_stop)


def _train(
    job: Job, todo: Sequence[int], listen: Listener | None, should_stop: Callable[[], bool]
) -> tuple[int, list[tuple[xr.Dataset, dict]]]:
    """Trains units in this process, each while the one before is written. Leaves out units that others train.

    Returns the number of units trained, and (results, facts) of each if the run is in memory.
    """
    trained, kept = 0, []
    began = time.monotonic()
    with ThreadPoolExecutor(1) as writer:
        writing: list[tuple[int, Future]] = []
        for count, unit in enumerate(todo):
            heard = None if listen is None else partial(_tell, listen, count, len(todo), began)
            with ExitStack() as claim:
                if not claim.enter_context(job.claim(unit)):
                    continue
                results = train_unit(job, unit, heard, should_stop)
                trained += 1
                if job.store is None:
                    kept.append(results)
                    continue
                _wait(job, writing)
                writing = [(unit, writer.submit(_write, job, unit, results, claim.pop_all()))]
        _wait(job, writing)
    return trained, kept


def _tell(listen: Listener, units_done: int, units: int, began: float, progress: Progress) -> None:
    """Tells the listener which unit is under way, and the time since training began."""
    listen(replace(progress, units_done=units_done, units=units, seconds=time.monotonic() - began))


def _write(job: Job, unit: int, trained: tuple[xr.Dataset, dict], claim: ExitStack) -> None:
    with claim:
        job.store_unit(unit, *trained)


def _wait(job: Job, writing: list[tuple[int, Future]]) -> None:
    """Waits until a unit is written. Raises RunFailed if that fails."""
    for unit, written in writing:
        try:
            written.result()
        except (MemoryError, OSError) as error:
            raise failure(job, unit, job.ensemble.spec.train.steps, error) from error
