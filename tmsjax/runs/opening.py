"""Opens a run's directory for training: finds an existing run, checks that it is the same sweep, begins a new one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict

from tmsjax.errors import RunError, SpecError, Unreadable
from tmsjax.runs import source
from tmsjax.runs.capacity import disk_bytes
from tmsjax.runs.directory import RunDirectory, provenance
from tmsjax.runs.files import check_space, is_local
from tmsjax.runs.imports import recorded
from tmsjax.runs.trial import trial
from tmsjax.runs.unit import Job
from tmsjax.spec import Spec, difference, grows, stored_spec, to_toml


def find(directory: RunDirectory, held: ExitStack, shared: bool) -> dict | None:
    """run.json of the run in `directory`, after locking and repairing it. None if there is no run; creates nothing.

    `shared`: whether other processes may train other units of the run at the same time.
    """
    if not directory.exists():
        directory.check_free()
        return None
    directory.create()
    held.enter_context(directory.lock(shared))
    with directory.begin_lock():
        directory.repair()
    return directory.info()


def check_same(directory: RunDirectory, spec: Spec) -> bool:
    """Whether `spec` has more steps than the run in `directory` and may continue it.

    Raises RunError if the spec differs from the directory's in any other way.
    """
    there = directory.spec()
    if grows(there, spec):
        return True
    if lines := difference(there, spec):
        changes = "\n".join(f"  {line}" for line in lines)
        free = "the [checkpoint] table, engine.unit and, if the schedule is constant and store.keep 'all', train.steps"
        raise RunError(
            f"{directory.path} holds another sweep (there -> here):\n{changes}\n"
            f"  choose another --out; only {free} may change"
        )
    return False


def begin(job: Job, info: dict | None, held: ExitStack, *, facts: dict, shared: bool) -> dict:
    """Prepares the job's directory for training and writes run.json; returns its content without the spec.

    `info`: run.json of an existing run, whose lock is held. `facts`: about the devices, for run.json; the platform is
    that of the first call. Removes the results of fewer steps that the job continues.
    """
    directory, spec = job.directory, job.ensemble.spec
    assert directory is not None
    assert job.store is not None
    check_space(directory.path, disk_bytes(job.ensemble) - directory.held())
    if info is None:
        directory.create()
        held.enter_context(directory.lock(shared))
    trial(directory.path)
    with directory.begin_lock():
        if info is None and directory.exists():
            if not shared:
                raise RunError(f"{directory.path}: another process has just begun this run")
            check_same(directory, spec)
            info = directory.info()
        if not shared:
            directory.clean()
        new = provenance() | {
            "seed": spec.seed,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "steps_done": 0,
        }
        versions, before = new["versions"], (info or new)["versions"]
        changed = [f"{k} {v} -> {versions[k]}" for k, v in before.items() if versions.get(k) != v]
        if changed and directory.held():
            warnings.warn(f"resumed with other versions, bits may differ: {', '.join(changed)}", stacklevel=5)
        facts = facts | {"plan": asdict(job.ensemble.plan), "models": spec.instances, "units": len(job.units)}
        if info is not None and "platform" in info:
            facts["platform"] = info["platform"]
        info = (info or new) | facts | {"spec_hash": spec.hash, "state": "running"}
        info |= recorded(spec) | source.recorded(spec)
        info.pop("spec", None)
        directory.write(info, spec)
        directory.log("start", step=info["steps_done"], versions=versions)
    for unit in job.outdated:
        job.store.remove(unit)
    return info


def finished(job: Job, units: Iterable[int]) -> set[int]:
    """Those of `units` whose results are stored; reads all of them. Sets damaged files aside, with a warning.

    Notes units in `job.outdated` that the job continues with more steps; their checkpoints hold the state.
    """
    store, spec = job.store, job.ensemble.spec
    assert store is not None
    good, text = set(), to_toml(spec)
    for unit in sorted(store.done() & set(units)):
        try:
            stored = store.attributes(unit).get("spec")
            there = spec if stored == text else stored_spec(stored, str(store.path(unit)))
            if grows(there, spec):
                job.outdated.add(unit)
            elif difference(there, spec):
                raise RunError(f"{store.path(unit)}: these are the results of another spec")
            else:
                store.read(unit)
                good.add(unit)
        except Unreadable:
            raise
        except (RunError, SpecError) as error:
            if not is_local(store.path(unit)):  # it may be out of reach
                raise
            warnings.warn(f"{error}; set aside as {store.set_aside(unit)}", stacklevel=5)
    return good
