"""Runs a sweep: loads the spec, finds or begins the directory, trains, and writes the results."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from functools import partial
from os import PathLike

import jax
import xarray as xr

from tmsjax.engine import Plan, device_line
from tmsjax.errors import Diverged, RunFailed
from tmsjax.models import check_spec
from tmsjax.runs import capacity, imports, opening, processes
from tmsjax.runs.checkpoint import unflatten
from tmsjax.runs.directory import RunDirectory, provenance
from tmsjax.runs.history import History
from tmsjax.runs.part import Part, take_part
from tmsjax.runs.progress import Listener, progress_bar
from tmsjax.runs.results import diverged_models, results
from tmsjax.runs.run import Run
from tmsjax.runs.shard import Shard
from tmsjax.runs.training import Training
from tmsjax.runs.writer import Writer
from tmsjax.spec import Spec, load_spec


def run_sweep(
    source: Spec | Mapping | str | PathLike,
    out: str | PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    progress: bool = True,
    listen: Listener | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    shard: str | Shard | None = None,
) -> Run:
    """Trains every instance of a spec and returns its results.

    `source`: a Spec, a dict, or the path of a TOML file; the files that it imports are executed. `out`: the run's
    directory; None keeps everything in memory. An unfinished run of the same sweep in `out` is resumed, with the same
    bits as without the interruption; under a constant schedule, `train.steps` may be larger than before. `progress`:
    whether to show a bar in a terminal or notebook. `listen`: called with a Progress between segments, instead of the
    bar. `shard`: "3/16" trains the third of 16 parts of the instances (see merge.merge_shards). After processes.join,
    each process trains its part of the blocks.
    Warns (Diverged) if models diverged. Raises SpecError (bad spec), RunError (unusable directory, another sweep in
    it, too little memory or disk), Interrupted, RunFailed.
    """
    spec = load_spec(source, overrides)  # refuses bad input before anything is written or executed
    shard = Shard.parse(shard)
    directory = None if out is None else RunDirectory(out)
    with ExitStack() as held:
        info = None if directory is None else processes.from_first(partial(opening.find, directory, held))
        if spec.imports:
            spec = imports.with_imports(spec, source, overrides, directory)
        with processes.agreeing():
            check_spec(spec)
        spec = capacity.within_record_limit(spec, stacklevel=2)
        if directory is not None and info is not None:
            if processes.from_first(partial(opening.is_complete, directory, spec, shard, info)):
                return Run(spec, directory)
            info["state"] = "running"
        part = take_part(spec, shard, Plan(**info["plan"]) if info and "plan" in info else None)
        shown = progress and listen is None and processes.index() == 0
        with progress_bar(spec) if shown else nullcontext(listen) as listener:
            dataset = _train(part, shard, directory, info, held, listener, should_stop)
    if diverged := diverged_models(dataset):
        warnings.warn(f"{diverged:,} of {len(part.rows):,} models diverged; maps mask them", Diverged, stacklevel=2)
    return Run(spec, directory, dataset)


def _train(
    part: Part,
    shard: Shard | None,
    directory: RunDirectory | None,
    info: dict | None,
    held: ExitStack,
    listen: Listener | None,
    should_stop: Callable[[], bool],
) -> xr.Dataset:
    """Trains, from the newest intact checkpoint if there is one, and writes. `info`: run.json of a resumed run.

    Raises RunFailed if memory, disk or device fail.
    """
    spec, ensemble, rows = part.ensemble.spec, part.ensemble, len(part.rows)
    facts = {"plan": asdict(ensemble.plan), "device": device_line(ensemble.devices), "models": rows}
    facts |= {"shard": str(shard)} if shard else {}
    needed = 0 if directory is None else capacity.disk_bytes(ensemble, rows)
    writer = Writer(spec, (info or _beginning(spec)) | facts | imports.recorded(spec), directory, needed)
    step, found = (0, {}) if directory is None else opening.open_directory(writer, held, fresh=info is None)
    history = History(spec)
    history.restore(found)
    state = unflatten(found, "state", ensemble.abstract_state(rows)) if found else None
    training = Training(part, history, writer, listen, should_stop)
    try:
        training.begin(state, step)
        del state, found  # frees main memory
        training.run()
        with writer.timed("seconds_of_results"):
            dataset = results(part, training.states, history)
            writer.write_results(dataset)
        writer.complete(training.step, diverged_models(dataset))
    except (MemoryError, OSError, RunFailed, jax.errors.JaxRuntimeError) as error:
        raise writer.failure(training.step, error) from error
    return dataset


def _beginning(spec: Spec) -> dict:
    """run.json of a new run."""
    return provenance() | {
        "spec_hash": spec.hash,
        "seed": spec.seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "steps_done": 0,
        "state": "running",
    }
