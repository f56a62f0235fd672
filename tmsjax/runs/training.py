"""The training loop over segments of steps. Between segments a run records, reports progress, saves or stops."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tmsjax.engine import TrainState
from tmsjax.errors import Interrupted
from tmsjax.runs import processes
from tmsjax.runs.checkpoint import flatten
from tmsjax.runs.history import History, measured
from tmsjax.runs.part import Part
from tmsjax.runs.progress import Listener, Progress
from tmsjax.runs.writer import Writer

TILED_SEGMENT = 20.0  # minimum seconds per segment if every segment transfers all blocks to the devices and back


class Training:
    """The states of a run after `step`. Each process holds its own blocks; all call the methods in the same order."""

    def __init__(
        self, part: Part, history: History, writer: Writer, listen: Listener | None, should_stop: Callable[[], bool]
    ):
        self.spec = part.ensemble.spec
        self.part, self.history, self.writer = part, history, writer
        self.listen, self.should_stop = listen, should_stop
        self.step = 0
        self.states: list[TrainState] = []

    def begin(self, state: TrainState | None, step: int) -> None:
        """Places the state after `step` (None: initialises it) and compiles."""
        self.step = step
        with self.writer.timed("seconds_of_compiling"):
            self.states = self.part.begin(state, step)
        self.writer.info["tile"] = self.part.ensemble.tile

    def run(self) -> None:
        """Trains to the last step. Raises Interrupted, after saving, if any process should stop."""
        spec, last = self.spec, self.spec.train.steps
        if self.step == 0 and 0 in spec.record_steps:
            self._record()
        records = [s for s in spec.record_steps if s > self.step]
        aim = max(spec.checkpoint.segment_seconds, TILED_SEGMENT * self.part.ensemble.tiled)
        aim = float(processes.everyones([aim]).max())
        segment, began, saved = 1, time.monotonic(), time.monotonic()
        while self.step < last:
            stop = min(self.step + segment, *records[:1], last)
            speed = self._advance(stop)
            told = processes.everyones([speed, float(self.should_stop()), time.monotonic() - saved])
            speed, stopping, since = float(told[:, 0].min()), bool(told[:, 1].any()), float(told[0, 2])
            segment = max(1, min(int(speed * aim), 4 * segment))
            if records[:1] == [stop]:
                self._record()
                records.pop(0)
            self._tell(speed, time.monotonic() - began)
            if stop == last or stopping or since >= spec.checkpoint.every_seconds:
                self.writer.save(stop, self._arrays)
                saved = time.monotonic()
            if stopping and stop < last:
                raise Interrupted(f"stopped after step {stop} of {last}")

    def _advance(self, stop: int) -> float:
        """Trains to step `stop`. Returns the steps per second of this process."""
        start = time.monotonic()
        with self.writer.timed("seconds_of_training"):
            self.states = self.part.ensemble.advance(self.states, stop)
        speed = (stop - self.step) / (time.monotonic() - start)
        self.step = stop
        return speed

    def _record(self) -> None:
        self.history.append(self.step, measured(self.part, self.states))

    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays of a checkpoint."""
        return flatten(self.part.gather(self.states), "state") | self.history.arrays()

    def _tell(self, speed: float, seconds: float) -> None:
        """Reports progress to the listener. `speed`: steps per second."""
        if self.listen is None:
            return
        spec, models = self.spec, len(self.part.rows)
        losses = np.array([np.nan])
        if spec.exact_loss is not None:
            losses = self.part.ensemble.noise_free_loss(self.states)  # of this process only
        elif self.history.records.get("loss"):
            losses = self.history.records["loss"][-1]
        finite = losses[np.isfinite(losses)]
        mean = float(finite.mean()) if finite.size else float("nan")
        samples = speed * models * (1 if spec.train.loss == "exact" else spec.train.batch)
        steps = spec.train.steps
        self.listen(Progress(self.step, steps, seconds, speed * models / steps, samples, mean, models))
