"""The host loop of a sweep: segments of steps, records, checkpoints, resume, results."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

import jax
import numpy as np
import xarray as xr

from tmsjax.engine import Ensemble, Plan, TrainState, device_line, directions, peak_memory
from tmsjax.errors import CheckpointError, Interrupted, RunError, RunFailed
from tmsjax.kinds import FAMILIES, MEASURES
from tmsjax.models import check_spec, inputs, of_zero_model
from tmsjax.runs import capacity, checkpoint, processes
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.files import check_space, is_disk_full, megabytes, space_line
from tmsjax.runs.run import Run
from tmsjax.runs.shard import Shard
from tmsjax.runs.store import STATUS, RunDirectory, provenance, results_dataset
from tmsjax.spec import Record, Spec, difference, grows, load_spec, to_toml

RECORD_LIMIT = 200e6  # bytes of history that a dataset may hold
DIVERGED = 10.0  # times the zero model's loss
TILED_SEGMENT = 20.0  # seconds, at least, where every segment moves all blocks to the devices and back


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
    shard: str | Shard | None = None,
) -> Run:
    """Trains every instance of a spec and returns its results.

    `source`: a Spec, a dict, or the path of a TOML file. `out`: the run's directory; None keeps everything in memory.
    A directory that holds a part of the same sweep is continued, bit for bit as if it had not stopped; under a constant
    schedule the steps may be more than there. `shard`: "3/16" trains the third of 16 parts of the instances (see
    merge.merge_shards). In processes that were joined (see processes.join) each trains its part of the blocks.
    Raises SpecError (bad spec), RunError (directory unusable, or it holds another sweep; too little memory or disk),
    Interrupted, RunFailed.
    """
    spec = _within_record_limit(load_spec(source, overrides))
    check_spec(spec)
    shard = Shard.parse(shard)
    if out is None:
        return Run(spec, None, _Sweep(spec, shard, listen, should_stop).in_memory())
    directory = RunDirectory(out)
    with ExitStack() as lock:
        info = processes.from_first(lambda: _look(directory, spec, shard, lock))
        if info is not None and info["state"] == "complete":
            return Run(spec, directory)
        sweep = _Sweep(spec, shard, listen, should_stop, info)
        return Run(spec, directory, sweep.in_directory(directory, lock))


def _look(directory: RunDirectory, spec: Spec, shard: Shard | None, lock: ExitStack) -> dict | None:
    """run.json of the run that is here, locked, with state "complete" only if nothing is left to do; None if none."""
    if not directory.exists():
        directory.check_free()
        return None
    directory.create()
    lock.enter_context(directory.lock())
    directory.repair()
    info = directory.info()
    _check_same(directory, spec, shard, info)
    return info | {"state": "complete" if directory.complete(spec) else "running"}


def _check_same(directory: RunDirectory, spec: Spec, shard: Shard | None, info: dict) -> None:
    """Refuses a spec or a shard that differs from the one in the directory, but for more steps where they may grow."""
    there = directory.spec()
    lines = difference(there, spec)
    if str(shard or "") != info.get("shard", ""):
        lines.append(f"--shard: {info.get('shard') or 'none'} -> {shard or 'none'}")
    elif grows(there, spec):
        return
    if lines:
        changes = "\n".join(f"  {line}" for line in lines)
        free = "the [checkpoint] table, engine.tile and, under a constant schedule, more train.steps"
        raise RunError(
            f"{directory.path} holds another sweep (there -> here):\n{changes}\n"
            f"  choose another --out; only {free} may change"
        )


def _within_record_limit(spec: Spec) -> Spec:
    """The spec, without the default records if they are too large. Raises RunError if asked-for ones are."""
    size = capacity.record_bytes(spec)
    if size <= RECORD_LIMIT:
        return spec
    if spec.record != Record():
        most = megabytes(RECORD_LIMIT)
        raise RunError(f"record: {megabytes(size)} of history; at most {most}: fewer measures or steps")
    warnings.warn(f"no history is recorded: it would take {megabytes(size)}", stacklevel=3)
    return replace(spec, record=Record(measures=()))


class _Sweep:
    """One run's state between segments. In several processes, each has its own blocks, and all make the same moves."""

    def __init__(
        self,
        spec: Spec,
        shard: Shard | None,
        listen: Listener | None,
        should_stop: Callable[[], bool],
        info: dict | None = None,
    ):
        self.spec, self.listen, self.should_stop = spec, listen, should_stop
        self.fresh = info is None
        self.info = info or provenance() | {
            "spec_hash": spec.hash,
            "seed": spec.seed,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "steps_done": 0,
            "state": "running",
        }
        self.ensemble = Ensemble(spec, cut=Plan(**self.info["plan"]) if "plan" in self.info else None)
        self._take_part(shard)
        self._fit()
        self.info["plan"] = asdict(self.ensemble.plan)
        self.info["device"] = device_line(self.ensemble.devices)
        self.directory: RunDirectory | None = None
        self.checkpoints: Checkpoints | None = None
        self.history: dict[str, list[np.ndarray]] = {name: [] for name in spec.record.measures}
        self.recorded: list[int] = []  # steps
        self.step = 0
        self.states: list[TrainState] = []

    def _take_part(self, shard: Shard | None) -> None:
        """This shard's and this process's blocks. Raises RunError if there are fewer blocks than parts."""
        blocks, cut = range(self.ensemble.plan.blocks), self.ensemble.plan
        parts = (shard.count if shard else 1) * processes.count()
        if parts > len(blocks):
            raise RunError(
                f"{parts} shards or processes, but only {len(blocks)} blocks of {cut.block} instances: "
                f"set engine.block lower (bits depend on it)"
            )
        if shard:
            self.info["shard"] = str(shard)
            blocks = processes.share(blocks, shard.index - 1, shard.count)
        self.rows = cut.rows(blocks, self.spec.instances)
        mine = processes.share(blocks, processes.index(), processes.count())
        self.ensemble = Ensemble(self.spec, cut=cut, part=mine, tile=min(self.spec.engine.tile, len(mine)))

    def _fit(self) -> None:
        """Chooses how many blocks are on the devices at once. Raises RunError if memory does not suffice."""
        failure = None
        try:
            capacity.check_main_memory(self.ensemble, len(self.rows))
            if not self.spec.engine.tile:
                self.ensemble.shrink(capacity.fitting_tile(self.ensemble))
        except RunError as error:
            failure = error
        processes.agreed(failure)

    def in_memory(self) -> xr.Dataset:
        """Trains and returns the results."""
        return self._finish(None)

    def in_directory(self, directory: RunDirectory, lock: ExitStack) -> xr.Dataset:
        """Trains, goes on from the newest good checkpoint if there is one, and writes the results."""
        self.directory = directory
        found: dict[str, np.ndarray] = {}
        step, loads = processes.from_first(lambda: self._open(directory, lock, found))
        if self.checkpoints is None:  # not the first process
            self.checkpoints = Checkpoints(directory.checkpoints)
            for _ in range(loads):
                found = self.checkpoints.load(step)[1]
        if step is None:
            return self._finish(None)
        self.step = step
        self._restore_history(found)
        return self._finish(checkpoint.unflatten(found, "state", self.ensemble.abstract_state(len(self.rows))))

    def _open(self, directory: RunDirectory, lock: ExitStack, found: dict[str, np.ndarray]) -> tuple[int | None, int]:
        """For the first process: space, lock, run.json; puts the newest checkpoint into `found`.

        Gives its step or None, and how often orbax read a checkpoint.
        """
        check_space(directory.path, capacity.disk_bytes(self.ensemble, len(self.rows)) - directory.held())
        if self.fresh:
            directory.create()
            lock.enter_context(directory.lock())
            if directory.exists():
                raise RunError(f"{directory.path}: another process has just begun this run")
        directory.clean()
        self.checkpoints = Checkpoints(directory.checkpoints, self.spec.checkpoint.keep)
        newest = self.checkpoints.load_newest_good()
        if newest is None and self.info["steps_done"] > 0:
            raise CheckpointError(f"{directory.path}: its checkpoints are gone; --fresh starts again")
        versions = provenance()["versions"]
        changed = [f"{k} {v} -> {versions[k]}" for k, v in self.info["versions"].items() if versions.get(k) != v]
        if newest is not None and changed:
            warnings.warn(f"resumed with other versions, bits may differ: {', '.join(changed)}", stacklevel=5)
        step = None if newest is None else newest[0]
        self.info |= {"spec_hash": self.spec.hash, "steps_done": step or 0}
        directory.write(self.info, self.spec)
        directory.log("start", step=step or 0, device=self.info["device"], versions=versions)
        if newest is not None:
            found |= newest[1]
        return step, self.checkpoints.loads

    def _restore_history(self, arrays: dict[str, np.ndarray]) -> None:
        for name in self.history:
            if f"history.{name}" in arrays:
                self.history[name] = list(np.moveaxis(arrays[f"history.{name}"], 1, 0))
                steps = arrays.get("recorded", np.asarray(self.spec.record_steps))  # format 1 did not say
                self.recorded = [int(step) for step in steps[: len(self.history[name])]]

    def _finish(self, state: TrainState | None) -> xr.Dataset:
        """Trains to the last step and writes the results. Raises RunFailed if memory, disk or device give out."""
        try:
            with _timed(self.info, "seconds_of_compiling"):
                self._start(state)
            self._train()
            with _timed(self.info, "seconds_of_results"):
                dataset = self._results()
                if self.directory is not None and processes.index() == 0:
                    self.directory.write_results(dataset)
            if self.directory is not None and processes.index() == 0:
                self.info["state"] = "complete"
                self.info["diverged_models"] = int((dataset["status"] != STATUS["ok"]).sum())
                self.info["peak_memory_bytes"] = peak_memory()
                self.directory.write(self.info, self.spec)
                self.directory.log("complete", step=self.step)
        except (MemoryError, OSError, RunFailed, jax.errors.JaxRuntimeError) as error:
            raise self._failure(error) from error
        return dataset

    def _failure(self, error: Exception) -> RunFailed:
        """What went wrong, and how to go on."""
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        if self.directory is None:
            return RunFailed(f"in memory: failed after step {self.step}: {reason}")
        if is_disk_full(error):
            needed = capacity.disk_bytes(self.ensemble, len(self.rows)) - self.directory.held()
            reason = f"{space_line(self.directory.path, needed)}: {reason}"
        saved = f"what was saved up to step {self.info['steps_done']} is intact"
        again = f"to go on: tmsjax resume {self.directory.path}"
        return RunFailed(f"{self.directory.path}: failed after step {self.step}: {reason}\n  {saved}; {again}")

    def _start(self, state: TrainState | None) -> None:
        """Puts the first states on the devices and compiles; with fewer blocks at once if memory does not suffice."""
        ensemble = self.ensemble
        mine = range(ensemble.rows.start - self.rows.start, ensemble.rows.stop - self.rows.start)
        if state is not None:
            state = jax.tree.map(lambda x: x[mine.start : mine.stop] if np.ndim(x) else x, state)
        while True:
            try:
                states = ensemble.init() if state is None else ensemble.place(state)
                self.states = ensemble.advance(states, self.step)
                break
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                smaller = min(ensemble.tile // 2, ensemble.threads)
                if smaller == 0 or not _is_out_of_memory(error):
                    raise
            warnings.warn(f"memory does not hold {ensemble.tile} blocks at once; {smaller} from now on", stacklevel=6)
            states = []
            ensemble.shrink(smaller)
        self.info["tile"] = ensemble.tile

    def _train(self) -> None:
        spec = self.spec
        if self.step == 0 and 0 in spec.record_steps:
            self._record()
        records = [s for s in spec.record_steps if s > self.step]
        aim = max(spec.checkpoint.segment_seconds, TILED_SEGMENT * self.ensemble.tiled)
        aim = float(processes.everyones([aim]).max())
        segment, began, saved = 1, time.monotonic(), time.monotonic()
        while self.step < spec.train.steps:
            stop = min(self.step + segment, *records[:1], spec.train.steps)
            start = time.monotonic()
            with _timed(self.info, "seconds_of_training"):
                self.states = self.ensemble.advance(self.states, stop)
            speed = (stop - self.step) / (time.monotonic() - start)
            told = processes.everyones([speed, float(self.should_stop()), time.monotonic() - saved])
            speed, stopping, since = float(told[:, 0].min()), bool(told[:, 1].any()), float(told[0, 2])
            self.step, segment = stop, max(1, min(int(speed * aim), 4 * segment))
            if records[:1] == [stop]:
                self._record()
                records.pop(0)
            self._tell(speed, time.monotonic() - began)
            last = stop == spec.train.steps
            if last or stopping or since >= spec.checkpoint.every_seconds:
                self._save()
                saved = time.monotonic()
            if stopping and not last:
                raise Interrupted(f"stopped after step {self.step} of {spec.train.steps}")

    def _gather(self, blocks: list) -> Any:
        """All instances of this run as numpy arrays, on every process."""
        return processes.gathered(self.ensemble.gather(blocks))

    def _losses(self) -> np.ndarray:
        return processes.gathered(self.ensemble.noise_free_loss(self.states))

    def _record(self) -> None:
        """Appends the measures of the present state to the history."""
        if not self.history:
            return
        params = self._gather([state.params for state in self.states])
        W = directions(params, self.spec)
        self.recorded.append(self.step)
        for name in self.history:
            if name == "loss":
                self.history[name].append(self._losses())
            elif W is not None:
                measure = MEASURES[name].function
                assert measure is not None
                with np.errstate(divide="ignore", invalid="ignore"):  # of W = 0, or diverged
                    self.history[name].append(np.asarray(measure(W), np.float32))

    def _tell(self, speed: float, seconds: float) -> None:
        if self.listen is None:
            return
        spec = self.spec
        if spec.exact_loss is not None:
            losses = self.ensemble.noise_free_loss(self.states)  # of this process
        else:
            losses = self.history["loss"][-1] if self.history.get("loss") else np.array([np.nan])
        finite = losses[np.isfinite(losses)]
        samples = speed * len(self.rows) * (1 if spec.train.loss == "exact" else spec.train.batch)
        rate = speed * len(self.rows) / spec.train.steps
        mean = float(finite.mean()) if finite.size else float("nan")
        self.listen(Progress(self.step, spec.train.steps, seconds, rate, samples, mean))

    def _save(self) -> None:
        if self.directory is None or self.checkpoints is None:
            return
        arrays = checkpoint.flatten(self._gather(self.states), "state")
        for name, records in self.history.items():
            if records:
                arrays[f"history.{name}"] = np.stack(records, axis=1)
                arrays["recorded"] = np.asarray(self.recorded, np.int32)
        info = self.info | {"steps_done": self.step}
        self.checkpoints.save(self.step, arrays, info | {"spec": to_toml(self.spec)})
        self.info = info
        if processes.index() == 0:
            self.directory.write(info, self.spec)
            self.directory.log("checkpoint", step=self.step)

    def _results(self) -> xr.Dataset:
        spec = self.spec
        params = self._gather([state.params for state in self.states])
        losses = self._losses()
        given = inputs(spec, self.rows)
        status = _status(params, losses, of_zero_model(given["importance"], given["feature_probability"], spec))
        history = {name: np.stack(records, axis=1) for name, records in self.history.items() if records}
        dims = dict(FAMILIES[spec.model.family].parameters)
        W = directions(params, spec)
        if W is not None and "W" not in params:
            params, dims = params | {"W": W}, dims | {"W": ("hidden", "feature")}
        return results_dataset(
            spec, self.rows, dims, params, given, losses, status, history, self.recorded, W is not None
        )


def _status(params: dict[str, np.ndarray], losses: np.ndarray, of_zero: np.ndarray) -> np.ndarray:
    """STATUS of every instance: non-finite, or with a loss above 10 times that of the zero model, or ok."""
    finite = np.isfinite(losses)
    for array in params.values():
        finite &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    with np.errstate(invalid="ignore"):
        diverged = losses > DIVERGED * of_zero
    return np.where(~finite, STATUS["non_finite"], np.where(diverged, STATUS["diverged"], STATUS["ok"]))


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "ut of memory" in str(error)


class _timed(nullcontext):
    """Adds the seconds spent inside to info[key]."""

    def __init__(self, info: dict, key: str):
        self.info, self.key = info, key

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.info[self.key] = self.info.get(self.key, 0.0) + time.monotonic() - self.start
