"""Predicts memory and time of a sweep, from its compiled programs and from a second of training on a few blocks."""

from __future__ import annotations

import time
from pathlib import Path

import jax

from tmsjax.engine import Ensemble, available_memory, compile_for, device_line, slow_path
from tmsjax.runs.capacity import (
    device_bytes,
    disk_bytes,
    free_device_memory,
    main_bytes,
    record_bytes,
    within_record_limit,
)
from tmsjax.runs.files import free_space, megabytes
from tmsjax.runs.progress import rate_unit
from tmsjax.runs.source import with_source
from tmsjax.spec import Boxes, Spec, part_shape

PROBED = 16  # blocks to train, or one per thread if that is more


def estimate(spec: Spec, seconds: float = 1.0) -> dict[str, str]:
    """Facts about running `spec` on this machine's devices, as text. Trains some blocks for about `seconds`.

    Its own memory and time do not grow with the number of instances, since it never builds the whole table.
    """
    spec = with_source(spec)
    whole = Ensemble(spec)
    units = whole.plan.units(spec)
    spec = within_record_limit(spec, units[0])
    ensemble = Ensemble(spec, cut=whole.plan, box=units[0])
    models, steps = _speed(ensemble, seconds)
    total = spec.instances * spec.train.steps / models
    samples = models * (spec.train.batch if spec.train.loss == "sampled" else 1)
    return {
        "device": device_line(ensemble.devices),
        **_plan(ensemble),
        "device memory": f"{megabytes(device_bytes(ensemble, units[0]))}{_of(free_device_memory(ensemble))}",
        "main memory": f"{megabytes(main_bytes(ensemble, units[0]))} at least{_of(available_memory())}",
        "disk": f"{megabytes(disk_bytes(ensemble))}{_of(free_space(Path('runs')))}",
        "recorded measures": megabytes(record_bytes(spec)),
        "training time": f"{total:.1f} s, from {steps} steps at {samples:.2e} {rate_unit(spec)}",
    }


def estimate_for(spec: Spec, chip: str) -> dict[str, str]:
    """Facts about the memory of `spec` on a chip that is not here (see engine.compile_for), as text."""
    compiled = compile_for(with_source(spec), chip)
    verdict = "fits" if compiled.fits else "DOES NOT FIT: set engine.unit lower, which changes no bit, or engine.block"
    return {
        "device": f"{chip}, not here: compiled for it by jax {jax.__version__}",
        **_plan(compiled.ensemble),
        "device memory": f"{megabytes(compiled.unit_bytes)} of the chip's {megabytes(compiled.memory)}: {verdict}",
    }


def _plan(ensemble: Ensemble) -> dict[str, str]:
    cut, units = ensemble.plan, ensemble.plan.units(ensemble.spec)
    reason = slow_path(ensemble.spec, cut, ensemble.platform)
    return {
        "program": reason or cut.program,
        "units": f"{len(units):,} of {units[0].size:,} models",
        "blocks": f"{cut.blocks:,} of {cut.block:,} models in a unit, {cut.microbatch:,} samples at once",
    }


def _speed(ensemble: Ensemble, seconds: float) -> tuple[float, int]:
    """(model-steps per second of the whole ensemble, steps trained), measured on enough blocks to use all devices."""
    spec = ensemble.spec
    most = max(PROBED, ensemble.threads) * ensemble.plan.block
    probe = ensemble.on(Boxes(spec.shape, part_shape(spec.shape, most))[0])
    states = probe.advance(probe.init(), 0)
    last, step, segment, speed = spec.train.steps, 0, 1, 0.0
    began = time.monotonic()
    while time.monotonic() - began < seconds and step < last:
        stop = min(step + segment, last)
        start = time.monotonic()
        states = probe.advance(states, stop)
        speed = (stop - step) / (time.monotonic() - start)
        step, segment = stop, min(2 * segment, max(1, int(speed * seconds / 4)))
    return speed * probe.box.size, step


def _of(free: int | None) -> str:
    return "" if free is None else f" of {megabytes(free)} that are free"
