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
from tmsjax.spec import Box, Record, Source, Spec

RECORD_LIMIT = 200e6  # largest history in bytes
SHARE = 0.8  # of free device memory that a run may use
COPIES = 4  # of the state in main memory while saving: the state, the gathered arrays, orbax's copies
PROGRAM = 400_000_000  # bytes used by Python, jax and compiled programs


def block_bytes(ensemble: Ensemble) -> tuple[int, int]:
    """(bytes that a block occupies between segments, additional bytes while its program runs)."""
    memory = ensemble.compile().memory_analysis()
    assert memory is not None  # XLA's backends all have it
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return held, memory.temp_size_in_bytes


def device_bytes(ensemble: Ensemble, box: Box) -> int:
    """Bytes needed on the fullest device (on CPU: in total) to train the instances in `box`."""
    held, working = block_bytes(ensemble)
    blocks = math.ceil(box.size / ensemble.plan.block)
    workers = min(ensemble.threads, blocks)
    if ensemble.platform != "cpu":
        blocks, workers = math.ceil(blocks / len(ensemble.devices)), 1
    return held * blocks + working * workers


def free_device_memory(ensemble: Ensemble) -> int | None:
    """Free bytes on the fullest device, on CPU in main memory. None if the platform does not report it."""
    if ensemble.platform == "cpu":
        return available_memory()
    stats = [device.memory_stats() or {} for device in ensemble.devices]
    known = [s["bytes_limit"] - s.get("bytes_in_use", 0) for s in stats if "bytes_limit" in s]
    return min(known) if len(known) == len(stats) else None


def check_memory(ensemble: Ensemble, box: Box, others: int = 0) -> None:
    """Raises RunError if main memory or the devices cannot hold a unit, whose instances are those in `box`.

    `others`: bytes of main memory that other processes will take.
    """
    unit = f"a unit of {box.size:,} models needs"
    beside = f" beside the {megabytes(others)} that other processes of this run will take" if others else ""
    advice = "set engine.unit lower, which changes no bit, or engine.block, which does"
    need, free = device_bytes(ensemble, box), free_device_memory(ensemble)
    if free is not None and need > SHARE * max(0, free - (others if ensemble.platform == "cpu" else 0)):
        raise RunError(f"{unit} {megabytes(need)} on the device{beside}, {megabytes(free)} are free: {advice}")
    need, free = main_bytes(ensemble, box), available_memory()
    if free is not None and need + others > free:
        raise RunError(f"{unit} {megabytes(need)} of main memory{beside}, {megabytes(free)} are free: {advice}")


def needed_bytes(ensemble: Ensemble, box: Box) -> int:
    """Bytes of main memory that a process takes to train a unit."""
    return max(main_bytes(ensemble, box), device_bytes(ensemble, box) if ensemble.platform == "cpu" else 0)


def main_bytes(ensemble: Ensemble, box: Box) -> int:
    """Bytes of main memory to train a unit: its state, table, copies made while saving, history, and results."""
    spec = ensemble.spec
    table = 4 * (2 * spec.model.features + 8 + _stored(spec)) * box.size
    records = record_bytes(spec, box.size)
    return PROGRAM + table + COPIES * state_bytes(ensemble, box.size) + 3 * records + 2 * results_bytes(spec, box.size)


def _stored(spec: Spec) -> int:
    """Numbers of the stored model whose hidden layer is the data; 0 if there is none."""
    return spec.source.weights + spec.source.features if isinstance(spec.source, Source) else 0


def state_bytes(ensemble: Ensemble, models: int) -> int:
    """Bytes of parameters and optimizer state of some models."""
    leaves = jax.tree.leaves(ensemble.abstract_state(models))
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def results_bytes(spec: Spec, models: int) -> int:
    """Bytes of the results of some models, without history."""
    n, m = spec.model.features, spec.model.hidden
    of_one = 4 * (n * m + 3 * n + 1 + _stored(spec)) + 1  # W, b, importance and probability; loss; status
    if spec.store.keep != "best":
        return of_one * models
    replicas = 1 if spec.replica_axis is None else spec.shape[spec.replica_axis]
    return (of_one + 5 * 4) * models // replicas


def disk_bytes(ensemble: Ensemble) -> int:
    """Bytes on disk for a run: results, and the checkpoints that are kept or under way."""
    spec, units = ensemble.spec, ensemble.plan.units(ensemble.spec)
    fixed = 100_000  # names, metadata, log, report
    results = results_bytes(spec, spec.instances) + record_bytes(spec)
    one = state_bytes(ensemble, units[0].size) + record_bytes(spec, units[0].size) + fixed
    kept = (spec.checkpoint.keep + 1) * one
    if spec.store.keep == "all":  # the last checkpoint of every unit
        kept += (len(units) - 1) * min(spec.checkpoint.keep, 2) * one
    return results + results_bytes(spec, units[0].size) + kept + fixed


def record_bytes(spec: Spec, models: int | None = None) -> int:
    """Size of the recorded history of some models in bytes; None: of all."""
    size = {"feature": spec.model.features, "hidden": spec.model.hidden}
    floats = sum(math.prod(size[dim] for dim in MEASURES[name].dims) for name in spec.record.measures)
    return 4 * floats * len(spec.record_steps) * (spec.instances if models is None else models)


def within_record_limit(spec: Spec, unit: Box, stacklevel: int = 2) -> Spec:
    """The spec; drops default records that exceed RECORD_LIMIT in the whole sweep.

    Raises RunError if requested records exceed it in a unit.
    """
    size = record_bytes(spec)
    if size <= RECORD_LIMIT:
        return spec
    if spec.record == Record():
        warnings.warn(f"no history is recorded: it would take {megabytes(size)}", stacklevel=stacklevel + 1)
        return replace(spec, record=Record(measures=()))
    size = record_bytes(spec, unit.size)
    if size > RECORD_LIMIT:
        most = megabytes(RECORD_LIMIT)
        raise RunError(
            f"record: {megabytes(size)} of history of a unit of {unit.size:,} models; at most {most}: fewer measures "
            "or steps, or a lower engine.unit"
        )
    return spec
