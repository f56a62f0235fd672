"""Opens a run's directory for training: finds an existing run, checks that it is the same sweep, begins a new one."""

from __future__ import annotations

import shutil
import time
import warnings
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from itertools import takewhile
from os import PathLike

from tmsjax.engine import Plan
from tmsjax.errors import RunError, SpecError, Unreadable
from tmsjax.runs import source
from tmsjax.runs.capacity import disk_bytes
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.facts import EXTENDED, FORMAT, Extent, RunFacts, tiling
from tmsjax.runs.files import check_space, is_local
from tmsjax.runs.imports import recorded
from tmsjax.runs.job import Job
from tmsjax.runs.trial import trial
from tmsjax.runs.versions import provenance
from tmsjax.spec import Record, Spec, difference, extensions, grows, part_shape, to_toml


def find(path: str | PathLike, held: ExitStack, shared: bool) -> tuple[RunDirectory, RunFacts | None]:
    """The directory `path` and run.json of the run in it, after locking and repairing it; creates nothing else.

    `shared`: whether other processes may train other units of the run at the same time.
    """
    directory = RunDirectory(path)
    if not directory.exists():
        directory.check_free()
        return directory, None
    directory.create()
    held.enter_context(directory.lock(shared))
    with directory.begin_lock():
        directory.repair()
    return directory, directory.info()


def planned(directory: RunDirectory | None, found: RunFacts | None, spec: Spec, plan: Plan, most: int) -> RunFacts:
    """What run.json will hold for training `spec`: the run that was found, with more steps or values, or a new one.

    `most`: the largest number of models in a unit of what is added. Raises RunError if the spec differs from the run's
    in any other way.
    """
    if found is None:
        new = RunFacts(to_toml(spec), {}, seed=spec.seed, spec_hash=spec.hash, plan=asdict(plan))
        return new.with_(models=spec.instances, started=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    assert directory is not None
    there = found.all_extents
    wanted = spec
    for base in _bases(found):
        spec = _recording(base[-1].loaded(), wanted)
        if (extents := _continued(base, spec, most)) is not None:
            break
    else:
        raise RunError(_refusal(directory, there[-1].loaded(), wanted))
    facts = _with_extents(found, extents, spec)
    if extents == there:
        return facts
    if extents == found.finished:
        units = len(tiling(extents, [extent.loaded() for extent in extents]))
        return facts.with_(finished=(), state="complete", models=spec.instances, units=units)
    ended = found.finished or (there if found.state == "complete" else ())
    return facts.with_(finished=ended, state="running", models=spec.instances)


def _bases(found: RunFacts) -> list[tuple[Extent, ...]]:
    """What a run may be continued from: its target, or what it had before, as a target not reached may be given up."""
    there = found.all_extents
    if found.state == "complete":
        return [there]
    if found.finished:
        return [there, found.finished]
    return [there[:count] for count in range(len(there), 0, -1)]


def _with_extents(facts: RunFacts, extents: tuple[Extent, ...], spec: Spec) -> RunFacts:
    """The facts with extents, the last of which has the spec as given: what changes no result may differ."""
    last = replace(extents[-1], spec=to_toml(spec))
    grown = len(extents) > 1
    changes = {"extents": (*extents[:-1], last), "format": EXTENDED} if grown else {"extents": (), "format": FORMAT}
    return facts.with_(spec=last.spec, spec_hash=last.spec_hash, **changes)


def _recording(there: Spec, spec: Spec) -> Spec:
    """The spec; if it leaves open which steps to record, with those that all units of the run record, then later ones.

    Units that have trained for the old number of steps have no records of others.
    """
    last = there.train.steps
    if spec.record.steps is not None or (there.record.steps is None and spec.train.steps <= last):
        return spec
    steps = (*there.record_steps, *(step for step in spec.record_steps if step > last))
    return replace(spec, record=replace(spec.record, steps=steps))


def _continued(base: tuple[Extent, ...], spec: Spec, most: int) -> tuple[Extent, ...] | None:
    """The extents of a run that goes on to `spec`: with more steps, or with more values of axes. None if it cannot."""
    there = base[-1].loaded()
    if not difference(there, spec):
        return base
    if grows(there, spec):
        train, record = spec.train, spec.record
        longer = [replace(extent.loaded(), train=train, record=record) for extent in base]
        return tuple(Extent(to_toml(s), s.hash, e.unit) for s, e in zip(longer, base, strict=True))
    specs, _ = extensions(there, spec)
    return _added(base, specs, most) if specs else None


def _added(base: tuple[Extent, ...], specs: list[Spec], most: int) -> tuple[Extent, ...]:
    """The extents with units for what each of `specs` adds."""
    extents, before = list(base), base[-1].loaded()
    for spec in specs:
        added = [new - old if new > old else new for old, new in zip(before.shape, spec.shape, strict=True)]
        whole = () if spec.replica_axis is None else (spec.replica_axis,)
        extents.append(Extent(to_toml(spec), spec.hash, part_shape(tuple(added), most, whole)))
        before = spec
    return tuple(extents)


def _refusal(directory: RunDirectory, there: Spec, spec: Spec) -> str:
    _, reason = extensions(there, spec)
    if reason:
        return f"{directory.path}: {reason}"
    changes = "\n".join(f"  {line}" for line in difference(there, spec))
    free = (
        "the [checkpoint] table, engine.unit and, one after the other, more values of axes and, if the schedule is "
        "constant and store.keep 'all', train.steps"
    )
    return (
        f"{directory.path} holds another sweep (there -> here):\n{changes}\n"
        f"  choose another --out; only {free} may change"
    )


def with_record_of(found: RunFacts | None, spec: Spec) -> Spec:
    """The spec; without records if the run that it continues dropped them, see capacity.within_record_limit."""
    kept = Record(measures=())
    if found is not None and spec.record == Record() and found.all_extents[-1].loaded().record == kept:
        return replace(spec, record=kept)
    return spec


def begin(job: Job, found: RunFacts | None, held: ExitStack, shared: bool) -> bool:
    """Prepares the job's directory for training and writes run.json; sets `job.facts`.

    `found`: the run whose lock is held. Returns False if another process has begun or changed the run meanwhile.
    """
    directory, spec = job.directory, job.spec
    assert directory is not None
    check_space(directory.path, disk_bytes(job.ensemble) - directory.held())
    if found is None:
        directory.create()
        held.enter_context(directory.lock(shared))
    trial(directory.path)
    with directory.begin_lock():
        now = directory.info() if directory.exists() else None
        if now is not None and (found is None or now.spec_hash != found.spec_hash):
            if not shared:
                raise RunError(f"{directory.path}: another process has just begun this run")
            return False
        if not shared:
            directory.clean()
        new = provenance()
        versions, before = new["versions"], (now or job.facts).versions
        changed = [f"{k} {v} -> {versions[k]}" for k, v in before.items() if versions.get(k) != v]
        if changed and directory.held():
            warnings.warn(f"resumed with other versions, bits may differ: {', '.join(changed)}", stacklevel=5)
        facts = job.facts.with_(
            state="running",
            units=len(job.units),
            plan=asdict(job.ensemble.plan) if found is None else job.facts.plan,
            **recorded(spec),
            **source.recorded(spec),
        )
        if found is None:
            facts = facts.with_(versions=versions, git_commit=new["git_commit"])
        if now is not None and now.spec_hash == facts.spec_hash:
            facts = facts.with_(steps_done=now.steps_done)
        _forget_abandoned(job, found)
        directory.write(facts)
        directory.log("start", step=facts.steps_done, versions=versions)
    job.facts = facts
    return True


def _forget_abandoned(job: Job, found: RunFacts | None) -> None:
    """Removes checkpoints of units that a larger grid would have had, which was given up."""
    if found is None or job.directory is None or not job.directory.local:
        return
    specs = [extent.loaded() for extent in found.all_extents]
    pairs = zip(found.all_extents, specs, job.facts.all_extents, job.specs, strict=False)
    common = sum(1 for _ in takewhile(lambda p: (p[0].unit, p[1].axes) == (p[2].unit, p[3].axes), pairs))
    kept = len(tiling(found.all_extents[:common], specs[:common]))
    for folder in job.directory.units.glob("[0-9]*"):
        if int(folder.name) >= kept:
            shutil.rmtree(folder, ignore_errors=True)


def check_stored(job: Job, thoroughly: bool) -> None:
    """Checks the results that are stored. Sets damaged files aside, with a warning.

    `thoroughly`: reads all of them; else only what they say about themselves.
    """
    store = job.store
    assert store is not None
    for unit in sorted(store.done()):
        try:
            if job.is_good(store, unit) and thoroughly:
                store.read(unit)
        except Unreadable:
            raise
        except (RunError, SpecError) as error:
            if not is_local(store.path(unit)):  # it may be out of reach
                raise
            with suppress(FileNotFoundError):  # another process was faster
                warnings.warn(f"{error}; set aside as {store.set_aside(unit)}", stacklevel=5)
