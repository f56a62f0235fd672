"""The host loop of a sweep: segments of steps, records, checkpoints, resume, results."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

import jax
import numpy as np
import xarray as xr

from tmsjax import checkpoint, metrics, model
from tmsjax.checkpoint import Checkpoints
from tmsjax.ensemble import Ensemble, Plan, cores
from tmsjax.grid import instances
from tmsjax.loss import of_zero_model
from tmsjax.run import Run
from tmsjax.spec import Record, Spec, difference, load_spec
from tmsjax.store import STATUS, CheckpointError, RunDirectory, RunError, RunFailed, provenance, results_dataset
from tmsjax.train import TrainState

RECORD_LIMIT = 200e6  # bytes of history that a dataset may hold
DIVERGED = 10.0  # times the zero model's loss


class Interrupted(Exception):
    """Training stopped on request, after the current segment was saved."""


@dataclass(frozen=True)
class Progress:
    """What a run tells between segments."""

    step: int
    steps: int
    seconds: float  # of training since this call began
    models_per_second: float  # whole trainings, at the present speed
    samples_per_second: float
    mean_loss: float  # noise-free, over instances that are finite


Listener = Callable[[Progress], None]


def run_sweep(
    source: Spec | Mapping | str | PathLike,
    out: str | PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    listen: Listener | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains every instance of a spec and returns its results.

    `source`: a Spec, a dict, or the path of a TOML file. `out`: the run's directory; None keeps everything in memory.
    A directory that holds a part of the same sweep is continued, bit for bit as if it had not stopped.
    Raises SpecError (bad spec), RunError (directory unusable, or it holds another sweep), Interrupted.
    """
    spec = load_spec(source, overrides)
    spec = _within_record_limit(spec)
    if out is None:
        return Run(spec, None, _Sweep(spec, None, listen, should_stop).finish())
    directory = RunDirectory(out)
    directory.create()
    with directory.lock():
        if directory.exists():
            _check_same(directory, spec)
            if directory.complete(spec):
                return Run(spec, directory)
        else:
            directory.check_free(spec)
        return Run(spec, directory, _Sweep(spec, directory, listen, should_stop).finish())


def _check_same(directory: RunDirectory, spec: Spec) -> None:
    """Refuses a spec that differs from the one in the directory."""
    lines = difference(directory.spec(), spec)
    if lines:
        changes = "\n".join(f"  {line}" for line in lines)
        raise RunError(f"{directory.path} holds another sweep (there -> here):\n{changes}\n  choose another --out")


def record_bytes(spec: Spec) -> int:
    """Bytes of history that the spec's records take."""
    per_feature, W = spec.model.features, spec.model.features * spec.model.hidden
    size = {"loss": 1, "W": W}
    floats = sum(size.get(name, per_feature) for name in spec.record.measures)
    return 4 * floats * len(spec.record_steps) * spec.instances


def _within_record_limit(spec: Spec) -> Spec:
    """The spec, without the default records if they are too large. Raises RunError if asked-for ones are."""
    size = record_bytes(spec)
    if size <= RECORD_LIMIT:
        return spec
    if spec.record != Record():
        limit = f"{RECORD_LIMIT / 1e6:.0f} MB"
        raise RunError(f"record: {size / 1e6:.0f} MB of history; at most {limit}: fewer measures or steps")
    warnings.warn(f"no history is recorded: it would take {size / 1e6:.0f} MB", stacklevel=3)
    return replace(spec, record=Record(measures=()))


class _Sweep:
    """One run's state between segments."""

    def __init__(
        self,
        spec: Spec,
        directory: RunDirectory | None,
        listen: Listener | None,
        should_stop: Callable[[], bool],
    ):
        self.spec, self.directory, self.listen, self.should_stop = spec, directory, listen, should_stop
        self.info = self._start()
        self.ensemble = Ensemble(spec, cut=Plan(**self.info["plan"]) if "plan" in self.info else None)
        self.info["plan"] = asdict(self.ensemble.plan)
        self.info["device"] = device_line(self.ensemble.devices)
        self.checkpoints: Checkpoints | None = None
        self.history: dict[str, list[np.ndarray]] = {name: [] for name in spec.record.measures}
        self.step = 0
        self.states = (self._restore() if directory else None) or self.ensemble.init()

    def _start(self) -> dict:
        if self.directory is None:
            return {}
        if self.directory.exists():
            return self.directory.info()
        return provenance() | {
            "spec_hash": self.spec.hash,
            "seed": self.spec.seed,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "steps_done": 0,
            "state": "running",
        }

    def _restore(self) -> list[TrainState] | None:
        """The states of the newest good checkpoint, on the devices. None if there is none."""
        assert self.directory is not None
        self.directory.write_spec(self.spec)
        self.directory.write_info(self.info)
        self.checkpoints = Checkpoints(self.directory.checkpoints, self.spec.checkpoint.keep)
        found = self.checkpoints.load_newest_good()
        if found is None and self.info["steps_done"] > 0:
            raise CheckpointError(f"{self.directory.path}: its checkpoints are gone; --fresh starts again")
        versions = provenance()["versions"]
        changed = [f"{k} {v} -> {versions[k]}" for k, v in self.info["versions"].items() if versions.get(k) != v]
        if found is not None and changed:
            warnings.warn(f"resumed with other versions, bits may differ: {', '.join(changed)}", stacklevel=5)
        self.directory.log("start", step=found[0] if found else 0, device=self.info["device"], versions=versions)
        if found is None:
            return None
        self.step, arrays = found
        state = checkpoint.unflatten(arrays, "state", self.ensemble.abstract_state())
        for name in self.history:
            recorded = arrays.get(f"history.{name}")
            if recorded is not None:
                self.history[name] = list(np.moveaxis(recorded, 1, 0))
        return self.ensemble.place(state)

    def finish(self) -> xr.Dataset:
        """Trains to the last step and writes the results. Raises RunFailed if memory, disk or device give out."""
        try:
            self._train()
            with _timed(self.info, "seconds_of_results"):
                dataset = self._results()
                if self.directory is not None:
                    self.directory.write_results(dataset)
        except (MemoryError, OSError, jax.errors.JaxRuntimeError) as error:
            where = "in memory" if self.directory is None else self.directory.path
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise RunFailed(f"{where}: failed after step {self.step}: {reason}") from error
        finally:
            if self.checkpoints is not None:
                self.checkpoints.close()
        if self.directory is not None:
            self.info["state"] = "complete"
            self.info["diverged_models"] = int((dataset["status"] != STATUS["ok"]).sum())
            self.info["peak_memory_bytes"] = peak_memory()
            self.directory.write_info(self.info)
            self.directory.log("complete", step=self.step)
        return dataset

    def _train(self) -> None:
        spec = self.spec
        with _timed(self.info, "seconds_of_compiling"):
            self.states = self.ensemble.advance(self.states, self.step)
        records = [s for s in spec.record_steps if s > self.step]
        if self.step == 0 and 0 in spec.record_steps:
            self._record()
        segment, began, saved = 1, time.monotonic(), time.monotonic()
        while self.step < spec.train.steps:
            stop = min(self.step + segment, *records[:1], spec.train.steps)
            start = time.monotonic()
            with _timed(self.info, "seconds_of_training"):
                self.states = self.ensemble.advance(self.states, stop)
            speed = (stop - self.step) / (time.monotonic() - start)
            self.step, segment = stop, max(1, min(int(speed * spec.checkpoint.segment_seconds), 4 * segment))
            if records[:1] == [stop]:
                self._record()
                records.pop(0)
            self._tell(speed, time.monotonic() - began)
            last = stop == spec.train.steps
            stopping = self.should_stop() and not last
            if last or stopping or time.monotonic() - saved >= spec.checkpoint.every_seconds:
                self._save()
                saved = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped after step {self.step} of {spec.train.steps}")

    def _record(self) -> None:
        """Appends the measures of the present state to the history."""
        params = self.ensemble.gather(self.states).params
        directions = model.FAMILIES[self.spec.model.family].directions
        for name in self.history:
            if name == "loss":
                self.history[name].append(self._loss())
            elif directions is not None:
                W = directions(params)
                self.history[name].append(W if name == "W" else MEASURES[name](W).astype(np.float32))

    def _loss(self) -> np.ndarray:
        return self.ensemble.noise_free_loss(self.states)

    def _tell(self, speed: float, seconds: float) -> None:
        if self.listen is None:
            return
        spec = self.spec
        if spec.exact_loss is not None:
            losses = self._loss()
        else:
            losses = self.history["loss"][-1] if self.history.get("loss") else np.array([np.nan])
        finite = losses[np.isfinite(losses)]
        samples = speed * spec.instances * (1 if spec.train.loss == "exact" else spec.train.batch)
        rate = speed * spec.instances / spec.train.steps
        mean = float(finite.mean()) if finite.size else float("nan")
        self.listen(Progress(self.step, spec.train.steps, seconds, rate, samples, mean))

    def _save(self) -> None:
        if self.directory is None or self.checkpoints is None:
            return
        arrays = checkpoint.flatten(self.ensemble.gather(self.states), "state")
        for name, records in self.history.items():
            if records:
                arrays[f"history.{name}"] = np.stack(records, axis=1)
        self.checkpoints.save(self.step, arrays)
        self.info["steps_done"] = self.step
        self.directory.write_info(self.info)
        self.directory.log("checkpoint", step=self.step)

    def _results(self) -> xr.Dataset:
        spec = self.spec
        params = self.ensemble.gather(self.states).params
        losses = self._loss()
        table = instances(spec)
        status = _status(params, losses, of_zero_model(table.importance, table.feature_probability, spec))
        history = {name: np.stack(records, axis=1) for name, records in self.history.items() if records}
        inputs = {"importance": table.importance, "feature_probability": table.feature_probability}
        dims = dict(model.FAMILIES[spec.model.family].dims)
        directions = model.FAMILIES[spec.model.family].directions is not None
        return results_dataset(spec, dims, params, inputs, losses, status, history, spec.record_steps, directions)


MEASURES: dict[str, Callable[[Any], Any]] = {
    "norm": metrics.norms,
    "superposition": metrics.superposition,
    "dimensionality": metrics.dimensionality,
}


def _status(params: dict[str, np.ndarray], losses: np.ndarray, of_zero: np.ndarray) -> np.ndarray:
    """STATUS of every instance: non-finite, or with a loss above 10 times that of the zero model, or ok."""
    finite = np.isfinite(losses)
    for array in params.values():
        finite &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    with np.errstate(invalid="ignore"):
        diverged = losses > DIVERGED * of_zero
    return np.where(~finite, STATUS["non_finite"], np.where(diverged, STATUS["diverged"], STATUS["ok"]))


class _timed(nullcontext):
    """Adds the seconds spent inside to info[key]."""

    def __init__(self, info: dict, key: str):
        self.info, self.key = info, key

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.info[self.key] = self.info.get(self.key, 0.0) + time.monotonic() - self.start


def device_line(devices: Sequence[jax.Device]) -> str:
    """The devices in words: "cpu, 2 cores of AMD EPYC, jax 0.10.2"."""
    if devices[0].platform == "cpu":
        return f"cpu, {cores()} cores of {_cpu_name()}, jax {jax.__version__}"
    return f"{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}"


def _cpu_name() -> str:
    return _of_processor("model name") or "an unknown kind"


def processor_features() -> str:
    """What the processor can do: its instruction sets, as Linux tells them; else its name."""
    return _of_processor("flags") or _of_processor("Features") or platform.processor()


def _of_processor(what: str) -> str | None:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith(what))
    except (OSError, StopIteration):
        return None


def peak_memory() -> int:
    """Peak resident memory of this process, bytes."""
    import resource
    import sys

    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak_memory() -> None:
    """Lets `peak_memory` begin anew, where the system can (Linux)."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
