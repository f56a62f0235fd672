"""Runs a sweep: loads the spec, finds or begins the directory, trains the units that are missing, and sums up."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any

import jax

from tmsjax.engine import Ensemble, check_not_forked, device_line, peak_memory, plan, slow_path, stored_plan
from tmsjax.errors import Diverged, RunError, RunFailed, SpecError, first_line
from tmsjax.models import check_spec
from tmsjax.runs import capacity, imports, opening
from tmsjax.runs.dataset import assembled
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.facts import SECONDS, RunFacts
from tmsjax.runs.faults import patiently
from tmsjax.runs.interrupts import how_to_go_on, stopping
from tmsjax.runs.job import Job
from tmsjax.runs.join import beside_others, others_train, train_units
from tmsjax.runs.progress import Listener, Progress, progress_bar
from tmsjax.runs.results import WHAT_DIVERGED
from tmsjax.runs.run import Run
from tmsjax.runs.source import check_unchanged, with_source
from tmsjax.spec import Spec, load_spec

SHARED_UNITS = 32  # at least, where blocks allow, if several processes are to train a run


def run_sweep(
    source: Spec | Mapping | str | PathLike,
    out: str | PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    progress: bool = True,
    listen: Listener | None = None,
    should_stop: Callable[[], bool] | None = None,
    join: bool = False,
    client: Any = None,
    **gone: Any,
) -> Run:
    """Trains every instance of a spec and returns its results.

    An unfinished run of the same sweep in `out` is resumed, with the same bits as without the interruption. A run can
    be continued with more values of its axes, and under a constant schedule with more steps. The bytes do not depend
    on who trains.

    Args:
        source: a Spec, a dict, or the path of a TOML file; the files that it imports are executed
        out: the run's directory or the URL of an object store; None keeps everything in memory
        overrides: changes of the spec, such as "train.steps=2000"
        progress: whether to show a bar in a terminal or notebook
        listen: called with a Progress between segments and before a program is compiled, instead of the bar
        should_stop: asked between segments; if it returns True, the run stops with Interrupted. By default, SIGINT
            (Ctrl-C, a notebook's stop button), SIGTERM and SIGHUP stop the run
        join: trains beside any number of other processes that do the same in `out`, until the run is complete
        client: trains units on the workers of a Dask cluster; a dask.distributed.Client or the address of a scheduler
        **gone: options of earlier versions, which are refused

    Warns (Diverged) if models diverged. Raises SpecError (bad spec), RunError (unusable directory, another sweep in
    it, too little memory or disk, workers that differ), Interrupted, RunFailed.

    Examples:
        >>> spec = {
        ...     "name": "small",
        ...     "model": {"features": 2, "hidden": 1},
        ...     "axes": {
        ...         "feature_probability": {"log": [1.0, 0.1], "count": 3},
        ...         "extra_importance": {"log": [0.25, 4.0], "count": 3},
        ...         "replica": {"count": 2},
        ...     },
        ...     "instance": {"importance": [1.0, "extra_importance"], "feature_probability": "feature_probability"},
        ...     "train": {"steps": 300, "batch": 32, "learning_rate": 0.03},
        ... }
        >>> run = tmsjax.run_sweep(spec, folder / "small", progress=False)
        >>> dict(run.dataset["W"].sizes)
        {'feature_probability': 3, 'extra_importance': 3, 'replica': 2, 'hidden': 1, 'feature': 2}
    """
    check_not_forked()
    check_options(join, client, gone)
    if out is None and (join or client is not None):
        raise SpecError("join, client", [("", "several processes need `out`, where they store what they have trained")])
    spec = load_spec(source, overrides)  # refuses bad input before anything is written or executed
    with ExitStack() as held:
        stop = should_stop or held.enter_context(stopping(then=how_to_go_on(out)))
        cluster = None if client is None else held.enter_context(_cluster().DaskCluster(client, stop))
        shared = join or cluster is not None
        directory, found = (None, None) if out is None else opening.find(out, held, shared)
        if join and directory is not None and not directory.local:
            raise RunError(f"{out}: --join needs locks, which object stores do not have: use one process, or Dask")
        if spec.imports:
            spec = imports.with_imports(spec, source, overrides, directory)
        spec = opening.with_record_of(found, with_source(spec))
        check_unchanged(spec, found, out)
        check_spec(spec)
        listener = held.enter_context(progress_bar(spec)) if progress and listen is None else listen
        while True:
            job = _job(directory, found, spec, cluster, shared)
            if _is_complete(job, found, join):
                return Run(job.spec, directory)
            if listener is not None:
                job.ensemble.on_compiling = partial(listener, Progress.of_compiling(spec))
            if left := job.missing():
                _prepare(job, left[0], cluster, join, held)
            if directory is None or opening.begin(job, found, held, shared):
                break
            found = directory.info()  # another process has begun the run meanwhile
        how = train_units if cluster is None else cluster.train
        trained, parts = how(job, listener, stop) if left else (0, [])
        diverged = _sum_up(job, [facts for _, facts in parts])
        in_memory = assembled([dataset for dataset, _ in parts], job.kept) if directory is None else None
    if diverged:
        warnings.warn(
            f"{diverged:,} of {spec.instances:,} models diverged ({WHAT_DIVERGED}); maps mask them",
            Diverged,
            stacklevel=2,
        )
    run = Run(job.spec, directory, in_memory)
    run.trained = trained
    return run


def check_options(join: bool, client: Any, gone: Mapping[str, Any]) -> None:
    """Raises SpecError if options do not fit together, or went; TypeError for unknown ones."""
    for name, value in gone.items():
        if name.lstrip("-") not in ("workers", "units"):
            raise TypeError(f"run_sweep() got an unexpected keyword argument {name!r}")
        if value is not None:
            instead = "start any number of processes with --join (join=True), which divide the units by themselves"
            raise SpecError(name, [("", f"went: {instead}")])
    if join and client is not None:
        raise SpecError("--join, --dask", [("", "choose one of them")])


def _cluster() -> Any:
    """The module that needs Dask."""
    try:
        from tmsjax.runs import cluster
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise RunError("--dask needs Dask: pip install 'tmsjax[dask]'") from error
    return cluster


def connect(address: str) -> Any:
    """A dask.distributed.Client of the scheduler at `address`. Raises RunError if it or Dask is missing."""
    return _cluster().connect(address)


def _job(directory: RunDirectory | None, found: RunFacts | None, spec: Spec, cluster: Any, shared: bool) -> Job:
    """The run to train: what was found, or a new one. Raises RunError if it cannot go on as `spec`."""
    units = SHARED_UNITS if shared else 1
    if found is not None:
        cut, new = stored_plan(found.plan), plan(spec, found.platform or "cpu", units)
    else:
        platform = jax.local_devices()[0].platform if cluster is None else cluster.devices(spec)[1]
        cut = new = plan(spec, platform, units)
        spec = capacity.within_record_limit(spec, cut.units(spec)[0])
    facts = opening.planned(directory, found, spec, cut, new.units(spec)[0].size)
    spec = replace(spec, record=facts.all_extents[-1].loaded().record)
    return Job(Ensemble(spec, cut=cut), directory, facts)


def _is_complete(job: Job, found: RunFacts | None, join: bool) -> bool:
    """Whether nothing is left to do, after checking what is stored. Raises RunError if `job` would disturb others."""
    if job.directory is None or found is None:
        return False
    if join and job.facts.spec_hash != found.spec_hash and others_train(job.directory):
        where = job.directory.path
        raise RunError(f"{where}: other processes train this run with another spec; join with theirs, or wait")
    opening.check_stored(job, thoroughly=not join)
    if job.missing() or job.facts.state != "complete":
        return False
    if job.facts != found:
        job.directory.write(job.facts)
    return True


def _prepare(job: Job, unit: int, cluster: Any, join: bool, held: ExitStack) -> None:
    """Checks memory, or the workers of a cluster; notes the device. Warns if a slow path trains."""
    if reason := slow_path(job.spec, job.ensemble.plan, job.ensemble.platform):
        warnings.warn(f"trains on {reason}", stacklevel=3)
    if cluster is not None:
        device, platform = cluster.devices(job.spec)
        if job.facts.platform not in ("", platform):
            raise RunError(f"the run was begun on {job.facts.platform}; the workers' devices are {platform}")
    else:
        ensemble, box, others = job.ensemble, job.units[unit], 0
        if join and job.directory is not None:
            others = held.enter_context(beside_others(job.directory, capacity.needed_bytes(ensemble, box)))
        capacity.check_memory(ensemble, box, others)
        device, platform = device_line(ensemble.devices), ensemble.platform
    job.facts = job.facts.with_(device=device, platform=job.facts.platform or platform)


def _sum_up(job: Job, facts: list[dict]) -> int:
    """The number of diverged models. Completes run.json, unless another process has.

    `facts`: of all units of a run in memory.
    """
    if job.directory is None:
        return sum(one["diverged_models"] for one in facts)
    with job.directory.begin_lock():
        now = job.directory.info()
        if now.state != "complete" or now.spec_hash != job.facts.spec_hash:
            try:
                patiently(job.publish)
                job.facts = _summed(job)
                patiently(partial(job.directory.write, job.facts))
            except OSError as error:
                where = f"{job.directory.path}: all results are stored, but run.json cannot be written"
                again = f"to complete the run: tmsjax resume {job.directory.path}"
                raise RunFailed(f"{where} ({first_line(error)})\n  {again}") from error
            job.directory.log("complete", step=job.facts.steps_done)
            if job.directory.local and job.spec.store.keep != "all":
                shutil.rmtree(job.directory.units, ignore_errors=True)
            elif job.directory.local:
                with suppress(OSError):  # it is not empty
                    job.directory.units.rmdir()
        else:
            job.facts = now
    return job.facts.diverged_models or 0


def _summed(job: Job) -> RunFacts:
    """The facts of a complete run, from those of its units."""
    units = [job.stored.facts(unit) for unit in range(len(job.units))]
    spent = [one["run"] for one in units] if job.single else units  # one unit: of all sessions
    done = {f"seconds_of_{key}": sum(one.get(f"seconds_of_{key}", 0.0) for one in spent) for key in SECONDS}
    peaks = [peak_memory(), job.facts.peak_memory_bytes, *(one.get("peak_memory_bytes", 0) for one in units)]
    return job.facts.with_(
        **done,
        state="complete",
        steps_done=job.spec.train.steps,
        diverged_models=sum(one["diverged_models"] for one in units),
        peak_memory_bytes=max(peaks),
        finished=(),
    )
