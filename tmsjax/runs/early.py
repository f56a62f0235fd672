"""Makes results of an interrupted run, from the newest checkpoints of its units."""

from __future__ import annotations

from tmsjax.engine import keep_programs
from tmsjax.errors import RunError
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.job import STEPS
from tmsjax.runs.join import opened
from tmsjax.runs.unit import results_so_far


def finish(directory: RunDirectory) -> str:
    """Writes results of every unit that has none, as of its newest checkpoint. Returns what they are, in words.

    Models of units that were never begun are NaN and count as not finite, so that maps mask them. The run can still be
    resumed. Raises RunError if another process trains it, or if it has results already.
    """
    with directory.lock():
        keep_programs()
        job = opened(directory.path)
        if job.facts.state == "complete" or job.replaces:
            steps = job.replaces or job.spec.train.steps
            raise RunError(
                f"{directory.path}: has results of {steps:,} steps; for others: tmsjax resume {directory.path} --set "
                "train.steps=N"
            )
        assert job.store is not None
        missing, reached, diverged = job.missing(), [], 0
        for unit in missing:
            dataset, facts = results_so_far(job, unit)
            job.write(unit, dataset, facts)
            reached.append(int(dataset.attrs[STEPS]))
            diverged += facts["diverged_models"] if reached[-1] else 0
        steps = min(reached, default=job.spec.train.steps)
        known = sum(job.store.facts(unit)["diverged_models"] for unit in set(range(len(job.units))) - set(missing))
        told = {"steps_done": steps, "diverged_models": known + diverged}
        directory.write(job.facts.with_(state="finished", finished=(), **told))
        directory.log("finished", step=steps)
    return _words(reached, len(job.units), job.spec.train.steps)


def _words(reached: list[int], units: int, steps: int) -> str:
    """How far units without results had come."""
    begun = [step for step in reached if step]
    parts = [f"{units - len(reached)} of {units} units are complete"] if units > 1 else []
    if begun:
        least, most = min(begun), max(begun)
        span = f"{most:,}" if least == most else f"{least:,} to {most:,}"
        parts.append(f"{f'{len(begun)} are' if units > 1 else 'results'} after step {span} of {steps:,}")
    if never := len(reached) - len(begun):
        parts.append(f"{f'{never} were' if units > 1 else 'it was'} never begun: their models are NaN, which maps mask")
    return "; ".join(parts)
