"""Runs a sweep: loads the spec, finds or begins the directory, trains the units that are missing, and sums up."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from os import PathLike
from typing import Any

from tmsjax.engine import Ensemble, check_not_forked, peak_memory, plan, slow_path, stored_plan
from tmsjax.errors import Diverged
from tmsjax.models import check_spec
from tmsjax.runs import capacity, imports, opening
from tmsjax.runs.dataset import assembled
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.interrupts import how_to_go_on, stopping
from tmsjax.runs.progress import Listener, Progress, progress_bar
from tmsjax.runs.results import WHAT_DIVERGED
from tmsjax.runs.run import Run
from tmsjax.runs.share import Share
from tmsjax.runs.source import check_unchanged, with_source
from tmsjax.runs.trainers import chosen
from tmsjax.runs.unit import Job
from tmsjax.spec import Spec, load_spec


def run_sweep(
    source: Spec | Mapping | str | PathLike,
    out: str | PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    progress: bool = True,
    listen: Listener | None = None,
    should_stop: Callable[[], bool] | None = None,
    units: str | Share | None = None,
    workers: int | None = None,
    client: Any = None,
) -> Run:
    """Trains every instance of a spec and returns its results.

    An unfinished run of the same sweep in `out` is resumed, with the same bits as without the interruption; under a
    constant schedule, `train.steps` may be larger than before. The bytes do not depend on who trains.

    Args:
        source: a Spec, a dict, or the path of a TOML file; the files that it imports are executed
        out: the run's directory or the URL of an object store; None keeps everything in memory
        overrides: changes of the spec, such as "train.steps=2000"
        progress: whether to show a bar in a terminal or notebook
        listen: called with a Progress between segments and before a program is compiled, instead of the bar
        should_stop: asked between segments; if it returns True, the run stops with Interrupted
        units: "3/16" trains the third of 16 shares of the run's units, beside other processes that train the other
            shares in the same `out`
        workers: trains units on that many processes of this machine
        client: trains units on the workers of a Dask cluster; a dask.distributed.Client or the address of a scheduler

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
    spec = load_spec(source, overrides)  # refuses bad input before anything is written or executed
    share = Share.parse(units)
    directory = None if out is None else RunDirectory(out)
    with ExitStack() as held:
        should_stop = should_stop or held.enter_context(stopping(then=how_to_go_on(out)))
        trainer = chosen(workers, client, units, out, should_stop)
        held.enter_context(trainer)
        info = None if directory is None else opening.find(directory, held, share is not None)
        if spec.imports:
            spec = imports.with_imports(spec, source, overrides, directory)
        spec = with_source(spec)
        check_unchanged(spec, info or {}, out)
        check_spec(spec)
        cut = stored_plan(info["plan"]) if info and "plan" in info else plan(spec, trainer.platform(spec))
        spec = capacity.within_record_limit(spec, cut.units(spec)[0])
        if directory is not None and info is not None:
            opening.check_same(directory, spec)
        job = Job(Ensemble(spec, cut=cut), directory, info or {})
        wanted = range(len(job.units)) if share is None else share.of(len(job.units))
        done = opening.finished(job, wanted) if info else set()
        todo = [unit for unit in wanted if unit not in done]
        if not todo and info and info["state"] == "complete":
            return Run(spec, directory)
        if todo and (reason := slow_path(spec, job.ensemble.plan, job.ensemble.platform)):
            warnings.warn(f"trains on {reason}", stacklevel=2)
        shown = progress and listen is None
        with progress_bar(spec) if shown else nullcontext(listen) as listener:
            if listener is not None:
                job.ensemble.on_compiling = partial(listener, Progress.of_compiling(spec))
            facts = trainer.prepare(job, len(todo)) if todo else {}
            if directory is not None:
                job.info = opening.begin(job, info, held, facts=facts, shared=share is not None)
            trained, parts = trainer.train(job, todo, listener, should_stop) if todo else (0, [])
        diverged = _sum_up(job, [facts for _, facts in parts])
        in_memory = assembled([dataset for dataset, _ in parts], job.kept) if directory is None else None
    if diverged:
        warnings.warn(
            f"{diverged:,} of {spec.instances:,} models diverged ({WHAT_DIVERGED}); maps mask them",
            Diverged,
            stacklevel=2,
        )
    run = Run(spec, directory, in_memory)
    run.trained = trained
    return run


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
        job.info |= done | {"peak_memory_bytes": max(peak_memory(), job.info.get("peak_memory_bytes", 0))}
        job.directory.write(job.info, job.ensemble.spec)
        job.directory.log("complete", step=job.info["steps_done"])
    return diverged
