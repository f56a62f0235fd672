"""Opens a run's directory for training: finds an existing run, checks that it is the same sweep, and resumes it."""

from __future__ import annotations

import warnings
from contextlib import ExitStack

import numpy as np

from tmsjax.errors import CheckpointError, RunError
from tmsjax.runs import processes
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.directory import RunDirectory, provenance
from tmsjax.runs.files import check_space
from tmsjax.runs.shard import Shard
from tmsjax.runs.writer import Writer
from tmsjax.spec import Spec, difference, grows


def find(directory: RunDirectory, held: ExitStack) -> dict | None:
    """run.json of the run in `directory`, after locking and repairing it. None if there is no run; creates nothing."""
    if not directory.exists():
        directory.check_free()
        return None
    directory.create()
    held.enter_context(directory.lock())
    directory.repair()
    return directory.info()


def is_complete(directory: RunDirectory, spec: Spec, shard: Shard | None, info: dict) -> bool:
    """Whether the run is complete. Raises RunError if it has another spec or shard."""
    _check_same(directory, spec, shard, info)
    return directory.complete(spec)


def _check_same(directory: RunDirectory, spec: Spec, shard: Shard | None, info: dict) -> None:
    """Raises RunError if the spec or shard differs from the directory's, unless only the steps grow and may do so."""
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


def open_directory(writer: Writer, held: ExitStack, fresh: bool) -> tuple[int, dict[str, np.ndarray]]:
    """Prepares the writer's directory. Returns (step, arrays) of the newest intact checkpoint, (0, {}) without one.

    `fresh`: whether the run is new, so that its lock is not held yet. Collective: all processes call it.
    """
    found: dict[str, np.ndarray] = {}
    step, loads = processes.from_first(lambda: _open(writer, held, fresh, found))
    if writer.checkpoints is None:  # on all but the first process; orbax needs the same count of loads everywhere
        assert writer.directory is not None
        writer.checkpoints = Checkpoints(writer.directory.checkpoints)
        for _ in range(loads):
            found = writer.checkpoints.load(step)[1]
    return step or 0, found


def _open(writer: Writer, held: ExitStack, fresh: bool, found: dict[str, np.ndarray]) -> tuple[int | None, int]:
    """On the first process: checks space, locks, writes run.json, and loads the newest checkpoint into `found`.

    Returns its step, or None, and the number of checkpoints that orbax read.
    """
    directory, info = writer.directory, writer.info
    assert directory is not None
    check_space(directory.path, writer.needed - directory.held())
    if fresh:
        directory.create()
        held.enter_context(directory.lock())
        if directory.exists():
            raise RunError(f"{directory.path}: another process has just begun this run")
    directory.clean()
    writer.checkpoints = Checkpoints(directory.checkpoints, writer.spec.checkpoint.keep)
    newest = writer.checkpoints.load_newest_good()
    if newest is None and info["steps_done"] > 0:
        raise CheckpointError(f"{directory.path}: its checkpoints are gone; --fresh starts again")
    versions = provenance()["versions"]
    changed = [f"{k} {v} -> {versions[k]}" for k, v in info["versions"].items() if versions.get(k) != v]
    if newest is not None and changed:
        warnings.warn(f"resumed with other versions, bits may differ: {', '.join(changed)}", stacklevel=7)
    step = None if newest is None else newest[0]
    info |= {"spec_hash": writer.spec.hash, "steps_done": step or 0}
    directory.write(info, writer.spec)
    directory.log("start", step=step or 0, device=info["device"], versions=versions)
    if newest is not None:
        found |= newest[1]
    return step, writer.checkpoints.loads
