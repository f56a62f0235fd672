"""Memory and disk that a sweep needs, from its compiled program and its shapes, beside what there is."""

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

RECORD_LIMIT = 200e6  # bytes of history that a dataset may hold
SHARE = 0.8  # of what is free that a plan may count on
COPIES = 4  # of the state in main memory while a checkpoint is written: itself, gathered, those of orbax
PROGRAM = 400_000_000  # bytes that Python, jax and compiled programs take


def block_bytes(ensemble: Ensemble) -> tuple[int, int]:
    """(bytes that a block keeps on its device between segments, more bytes while its program runs)."""
    memory = ensemble.compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held, memory.temp_size_in_bytes


def device_bytes(ensemble: Ensemble, tile: int | None = None) -> int:
    """Bytes that the fullest device (on CPU: all together) needs for `tile` blocks at once, by default all."""
    held, working = block_bytes(ensemble)
    tile = len(ensemble.part) if tile is None else tile
    workers = min(ensemble.threads, tile)
    if ensemble.platform != "cpu":
        tile, workers = math.ceil(tile / len(ensemble.devices)), 1
    return held * tile + working * workers


def fitting_tile(ensemble: Ensemble) -> int:
    """Blocks that may be on the devices at once: all if they fit, else one for each thread, or fewer.

    Raises RunError if not even one fits.
    """
    free = free_device_memory(ensemble)
    blocks = len(ensemble.part)
    for tile in (blocks, *range(min(ensemble.threads, blocks), 0, -1)):
        if free is None or device_bytes(ensemble, tile) <= SHARE * free:
            return tile
    need = f"needs {megabytes(device_bytes(ensemble, 1))}, {megabytes(free or 0)} are free"
    raise RunError(f"one block of {ensemble.plan.block} instances {need}: set engine.block lower (bits depend on it)")


def free_device_memory(ensemble: Ensemble) -> int | None:
    """Free bytes on the fullest device; main memory on CPU. None where the platform does not say."""
    if ensemble.platform == "cpu":
        return available_memory()
    stats = [device.memory_stats() or {} for device in ensemble.devices]
    known = [s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats if "bytes_limit" in s]
    return min(known) if len(known) == len(stats) else None


def check_main_memory(ensemble: Ensemble, rows: int) -> None:
    """Raises RunError if main memory cannot hold the state, the table and the copies that saving makes."""
    need, free = main_bytes(ensemble, rows), available_memory()
    if free is not None and need > free:
        advice = "fewer instances, or `--shard 1/2` and `--shard 2/2` one after the other and `tmsjax merge`"
        raise RunError(f"needs {megabytes(need)} of main memory, {megabytes(free)} are free: {advice}")


def main_bytes(ensemble: Ensemble, rows: int) -> int:
    """Bytes of main memory that a run of `rows` instances needs: state, table, copies that saving makes, history."""
    state = state_bytes(ensemble, rows)
    table = 4 * (2 * ensemble.spec.model.features + 8) * rows
    return PROGRAM + table + COPIES * state + 3 * record_bytes(ensemble.spec)


def state_bytes(ensemble: Ensemble, rows: int) -> int:
    """Bytes of parameters and optimizer state of `rows` instances."""
    leaves = jax.tree.leaves(ensemble.abstract_state(rows))
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def disk_bytes(ensemble: Ensemble, rows: int) -> int:
    """Bytes on disk of a run of `rows` instances: the checkpoints that are kept, one being written, and the results."""
    spec = ensemble.spec
    history = record_bytes(spec) * rows // spec.instances
    n, m = spec.model.features, spec.model.hidden
    results = 4 * (n * m + 3 * n + 2) * rows + history
    fixed = 100_000  # names, metadata, log, report
    return (spec.checkpoint.keep + 1) * (state_bytes(ensemble, rows) + history + fixed) + 2 * results + fixed


def record_bytes(spec: Spec) -> int:
    """Bytes of history that the spec's records take."""
    size = {"feature": spec.model.features, "hidden": spec.model.hidden}
    floats = sum(math.prod(size[dim] for dim in MEASURES[name].dims) for name in spec.record.measures)
    return 4 * floats * len(spec.record_steps) * spec.instances


def within_record_limit(spec: Spec, stacklevel: int = 2) -> Spec:
    """The spec, without the default records if they are too large. Raises RunError if asked-for ones are."""
    size = record_bytes(spec)
    if size <= RECORD_LIMIT:
        return spec
    if spec.record != Record():
        most = megabytes(RECORD_LIMIT)
        raise RunError(f"record: {megabytes(size)} of history; at most {most}: fewer measures or steps")
    warnings.warn(f"no history is recorded: it would take {megabytes(size)}", stacklevel=stacklevel + 1)
    return replace(spec, record=Record(measures=()))
