"""Runs a sweep: loads the spec, finds or begins the directory, trains the units that are missing, and sums up."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from os import PathLike

import jax
import xarray as xr

from tmsjax.engine import Ensemble, device_line, peak_memory, plan, stored_plan
from tmsjax.errors import Diverged
from tmsjax.models import check_spec
from tmsjax.runs import capacity, imports, opening
from tmsjax.runs.dataset import assembled
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.progress import Listener, Progress, progress_bar
from tmsjax.runs.run import Run
from tmsjax.runs.share import Share
from tmsjax.runs.unit import Job, failure, train_unit
from tmsjax.spec import Spec, load_spec


def run_sweep(
    source: Spec | Mapping | str | PathLike,
    out: str | PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    progress: bool = True,
    listen: Listener | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    units: str | Share | None = None,
) -> Run:
    """Trains every instance of a spec and returns its results.

    `source`: a Spec, a dict, or the path of a TOML file; the files that it imports are executed. `out`: the run's
    directory or the URL of an object store; None keeps everything in memory. An unfinished run of the same sweep in
    `out` is resumed, with the same bits as without the interruption; under a constant schedule, `train.steps` may be
    larger than before. `progress`: whether to show a bar in a terminal or notebook. `listen`: called with a Progress
    between segments, instead of the bar. `units`: "3/16" trains the third of 16 shares of the run's units, beside other
    processes that train the other shares in the same `out`.
    Warns (Diverged) if models diverged. Raises SpecError (bad spec), RunError (unusable directory, another sweep in
    it, too little memory or disk), Interrupted, RunFailed.
    """
    spec = load_spec(source, overrides)  # refuses bad input before anything is written or executed
    share = Share.parse(units)
    directory = None if out is None else RunDirectory(out)
    with ExitStack() as held:
        info = None if directory is None else opening.find(directory, held, share is not None)
        if spec.imports:
            spec = imports.with_imports(spec, source, overrides, directory)
        check_spec(spec)
        cut = stored_plan(info["plan"]) if info and "plan" in info else plan(spec, jax.local_devices()[0].platform)
        spec = capacity.within_record_limit(spec, cut.units(spec)[0])
        if directory is not None and info is not None:
            opening.check_same(directory, spec)
        job = Job(Ensemble(spec, cut=cut), directory, info or {})
        wanted = range(len(job.units)) if share is None else share.of(len(job.units))
        done = opening.finished(job, wanted) if info else set()
        todo = [unit for unit in wanted if unit not in done]
        if not todo and info and info["state"] == "complete":
            return Run(spec, directory)
        _begin(job, info, held, share)
        shown = progress and listen is None
        with progress_bar(spec) if shown else nullcontext(listen) as listener:
            trained, parts = _train_here(job, todo, listener, should_stop)
        diverged = _sum_up(job, [facts for _, facts in parts])
        in_memory = assembled([dataset for dataset, _ in parts], job.kept) if directory is None else None
    if diverged:
        warnings.warn(f"{diverged:,} of {spec.instances:,} models diverged; maps mask them", Diverged, stacklevel=2)
    run = Run(spec, directory, in_memory)
    run.trained = trained
    return run


def _begin(job: Job, info: dict | None, held: ExitStack, share: Share | None) -> None:
    """Checks that memory and disk suffice, and writes run.json. `info`: that of an existing run."""
    capacity.check_memory(job.ensemble, job.units[0])
    if job.directory is None:
        return
    facts = {"device": device_line(job.ensemble.devices)}
    needed = capacity.disk_bytes(job.ensemble)
    job.info = opening.begin(job, info, held, needed=needed, shared=share is not None) | facts


def _train_here(
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


def _sum_up(job: Job, facts: list[dict]) -> int:
    """The number of diverged models. Completes run.json if the results of all units are stored.

    `facts`: of all units of a run in memory.
    """
    if job.store is not None and job.directory is not None:
        if len(job.store.done()) < len(job.units):
            return 0
        facts = [job.store.facts(unit) for unit in range(len(job.units))]
        if not job.single:
            keys = [key for key in facts[0] if key.startswith("seconds_of_")]
            job.info |= {key: sum(one.get(key, 0.0) for one in facts) for key in keys}
    diverged = sum(one["diverged_models"] for one in facts)
    if job.directory is not None:
        done = {"state": "complete", "steps_done": job.ensemble.spec.train.steps, "diverged_models": diverged}
        job.info |= done | {"peak_memory_bytes": peak_memory()}
        job.directory.write(job.info, job.ensemble.spec)
        job.directory.log("complete", step=job.info["steps_done"])
    return diverged
