"""The training loop of a unit over segments of steps. Between segments it records, reports, saves or stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import jax
import numpy as np

from tmsjax.engine import Ensemble, TrainState
from tmsjax.errors import Interrupted
from tmsjax.runs.checkpoint import flatten, unflatten
from tmsjax.runs.history import History, measured
from tmsjax.runs.progress import Listener, Progress

MEASURE_SECONDS = 1.0  # between measurements of the mean loss
Arrays = dict[str, np.ndarray]
Save = Callable[[int, Callable[[], Arrays], bool], None]


class Training:
    """The states of a unit's instances after `step`.

    `seconds`: the time spent, by facts.SECONDS, to which it adds. `save`: called with a step, a function that returns
    the arrays of its checkpoint, and whether training stops here; it must not refer to this object, whose memory would
    then outlive it.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        seconds: dict[str, float],
        save: Save,
        listen: Listener | None,
        should_stop: Callable[[], bool],
    ):
        self.spec, self.ensemble, self.seconds = ensemble.spec, ensemble, seconds
        self.save, self.listen, self.should_stop = save, listen, should_stop
        self.history = History(self.spec)
        self.step = 0
        self.mean_loss, self.measured = math.nan, -math.inf  # as last reported, and when
        self.states: list[TrainState] = []

    def begin(self, step: int, arrays: Arrays) -> None:
        """Places the state of a checkpoint after `step`, and compiles."""
        start = time.monotonic()
        self.place(step, arrays)
        self.states = self.ensemble.advance(self.states, step)
        self.seconds["compiling"] += time.monotonic() - start

    def place(self, step: int, arrays: Arrays) -> None:
        """Places the state of a checkpoint after `step` on the devices, or initialises it."""
        self.step = step
        self.history.restore(arrays)
        if arrays:
            state = unflatten(arrays, "state", self.ensemble.abstract_state(self.ensemble.box.size))
            self.states = self.ensemble.place(state)
        else:
            self.states = self.ensemble.init()

    def run(self) -> None:
        """Trains to the last step. Raises Interrupted, after saving, if the run should stop."""
        spec, last = self.spec, self.spec.train.steps
        if self.step == 0 and 0 in spec.record_steps:
            self._record()
        records = [s for s in spec.record_steps if s > self.step]
        segment, began, saved = 1, time.monotonic(), time.monotonic()
        while self.step < last:
            stop = min(self.step + segment, *records[:1], last)
            speed = self._advance(stop)
            segment = max(1, min(int(speed * spec.checkpoint.segment_seconds), 4 * segment))
            if records[:1] == [stop]:
                self._record()
                records.pop(0)
            self._tell(speed, time.monotonic() - began)
            stopping = stop < last and self.should_stop()
            due = time.monotonic() - saved >= spec.checkpoint.every_seconds
            if stopping or (stop < last and due) or (stop == last and spec.store.keep == "all"):
                self.save(stop, self._arrays, stopping)
                saved = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped after step {stop} of {last}")

    def _advance(self, stop: int) -> float:
        """Trains to step `stop`. Returns the steps per second."""
        start = time.monotonic()
        self.states = self.ensemble.advance(self.states, stop)
        seconds = time.monotonic() - start
        self.seconds["training"] += seconds
        speed = (stop - self.step) / seconds
        self.step = stop
        return speed

    def _record(self) -> None:
        self.history.append(self.step, measured(self.ensemble, self.states))

    def _arrays(self) -> Arrays:
        """The arrays of a checkpoint."""
        return flatten(self.ensemble.gather(self.states), "state") | self.history.arrays()

    def _tell(self, speed: float, seconds: float) -> None:
        """Reports progress to the listener. `speed`: steps per second."""
        if self.listen is None:
            return
        spec, models = self.spec, self.ensemble.box.size
        samples = speed * models * (1 if spec.train.loss == "exact" else spec.train.batch)
        steps = spec.train.steps
        self.listen(Progress(self.step, steps, seconds, speed * models / steps, samples, self._mean_loss(), models))

    def _mean_loss(self) -> float:
        """The mean noise-free loss over finite instances, measured at most once a second; NaN if it is not known."""
        if time.monotonic() - self.measured < MEASURE_SECONDS and self.step < self.spec.train.steps:
            return self.mean_loss
        losses = np.array([np.nan])
        if self.spec.exact_loss is not None:
            losses = self.ensemble.noise_free_loss(self.states)
        elif self.history.records.get("loss"):
            losses = self.history.records["loss"][-1]
        finite = losses[np.isfinite(losses)]
        self.mean_loss, self.measured = float(finite.mean()) if finite.size else math.nan, time.monotonic()
        return self.mean_loss


def out_of_memory(error: Exception) -> bool:
    """Whether memory of the host or a device did not suffice."""
    named = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError) or named or "ut of memory" in str(error)
