"""Memory and disk that a sweep needs, computed from its compiled program and shapes, and what is available."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import jax
import numpy as np

from tmsjax.engine import Ensemble, available_memory
from tmsjax.errors import RunError
from tmsjax.kinds import MEASURES
from tmsjax.runs.files import megabytes
from tmsjax.spec import Record, Spec

RECORD_LIMIT = 200e6  # largest history in bytes
SHARE = 0.8  # of free device memory that a run may use
COPIES = 4  # of the state in main memory while saving: the state, the gathered arrays, orbax's copies
PROGRAM = 400_000_000  # bytes used by Python, jax and compiled programs


def block_bytes(ensemble: Ensemble) -> tuple[int, int]:
    """(bytes that a block occupies between segments, additional bytes while its program runs)."""
    memory = ensemble.compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held, memory.temp_size_in_bytes


def device_bytes(ensemble: Ensemble, tile: int | None = None) -> int:
    """Bytes needed on the fullest device (on CPU: in total) for `tile` blocks at once; None: all blocks."""
    held, working = block_bytes(ensemble)
    tile = len(ensemble.part) if tile is None else tile
    workers = min(ensemble.threads, tile)
    if ensemble.platform != "cpu":
        tile, workers = math.ceil(tile / len(ensemble.devices)), 1
    return held * tile + working * workers


def fitting_tile(ensemble: Ensemble) -> int:
    """The number of blocks that fit on the devices at once: all, else at most one per thread.

    Raises RunError if a single block does not fit.
    """
    free = free_device_memory(ensemble)
    blocks = len(ensemble.part)
    for tile in (blocks, *range(min(ensemble.threads, blocks), 0, -1)):
        if free is None or device_bytes(ensemble, tile) <= SHARE * free:
            return tile
    need = f"needs {megabytes(device_bytes(ensemble, 1))}, {megabytes(free or 0)} are free"
    raise RunError(f"one block of {ensemble.plan.block} instances {need}: set engine.block lower (bits depend on it)")


def free_device_memory(ensemble: Ensemble) -> int | None:
    """Free bytes on the fullest device, on CPU in main memory. None if the platform does not report it."""
    if ensemble.platform == "cpu":
        return available_memory()
    stats = [device.memory_stats() or {} for device in ensemble.devices]
    known = [s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats if "bytes_limit" in s]
    return min(known) if len(known) == len(stats) else None


def check_main_memory(ensemble: Ensemble, rows: int) -> None:
    """Raises RunError if the run needs more main memory than is free (see `main_bytes`)."""
    need, free = main_bytes(ensemble, rows), available_memory()
    if free is not None and need > free:
        advice = "fewer instances, or `--shard 1/2` and `--shard 2/2` one after the other and `tmsjax merge`"
        raise RunError(f"needs {megabytes(need)} of main memory, {megabytes(free)} are free: {advice}")


def main_bytes(ensemble: Ensemble, rows: int) -> int:
    """Bytes of main memory for a run of `rows` instances: state, table, copies made while saving, history."""
    state = state_bytes(ensemble, rows)
    table = 4 * (2 * ensemble.spec.model.features + 8) * rows
    return PROGRAM + table + COPIES * state + 3 * record_bytes(ensemble.spec)


def state_bytes(ensemble: Ensemble, rows: int) -> int:
    """Bytes of parameters and optimizer state of `rows` instances."""
    leaves = jax.tree.leaves(ensemble.abstract_state(rows))
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def disk_bytes(ensemble: Ensemble, rows: int) -> int:
    """Bytes on disk for a run of `rows` instances: kept checkpoints, one being written, and results."""
    spec = ensemble.spec
    history = record_bytes(spec) * rows // spec.instances
    n, m = spec.model.features, spec.model.hidden
    results = 4 * (n * m + 3 * n + 2) * rows + history
    fixed = 100_000  # names, metadata, log, report
    return (spec.checkpoint.keep + 1) * (state_bytes(ensemble, rows) + history + fixed) + 2 * results + fixed


def record_bytes(spec: Spec) -> int:
    """Size of the recorded history in bytes."""
    size = {"feature": spec.model.features, "hidden": spec.model.hidden}
    floats = sum(math.prod(size[dim] for dim in MEASURES[name].dims) for name in spec.record.measures)
    return 4 * floats * len(spec.record_steps) * spec.instances


def within_record_limit(spec: Spec, stacklevel: int = 2) -> Spec:
    """The spec; drops default records that exceed RECORD_LIMIT. Raises RunError if requested records exceed it."""
    size = record_bytes(spec)
    if size <= RECORD_LIMIT:
        return spec
    if spec.record != Record():
        most = megabytes(RECORD_LIMIT)
        raise RunError(f"record: {megabytes(size)} of history; at most {most}: fewer measures or steps")
    warnings.warn(f"no history is recorded: it would take {megabytes(size)}", stacklevel=stacklevel + 1)
    return replace(spec, record=Record(measures=()))
