"""What a sweep needs before it runs: memory from the compiled program, time from a second of training."""

from __future__ import annotations

import time
from pathlib import Path

from tmsjax.engine import Ensemble, available_memory, device_line
from tmsjax.runs.capacity import device_bytes, disk_bytes, fitting_tile, free_device_memory, main_bytes, record_bytes
from tmsjax.runs.files import free_space, megabytes
from tmsjax.spec import Spec


def estimate(spec: Spec, seconds: float = 1.0) -> dict[str, str]:
    """Facts about running `spec` on this machine's devices, as text; trains for about `seconds`."""
    ensemble = Ensemble(spec)
    ensemble.shrink(spec.engine.tile or fitting_tile(ensemble))
    states = ensemble.advance(ensemble.init(), 0)
    step, segment, speed = 0, 1, 0.0
    began = time.monotonic()
    while time.monotonic() - began < seconds and step < spec.train.steps:
        stop = min(step + segment, spec.train.steps)
        start = time.monotonic()
        states = ensemble.advance(states, stop)
        speed = (stop - step) / (time.monotonic() - start)
        step, segment = stop, min(2 * segment, max(1, int(speed * seconds / 4)))
    cut = ensemble.plan
    samples = speed * spec.instances * (spec.train.batch if spec.train.loss == "sampled" else 1)
    return {
        "device": device_line(ensemble.devices),
        "path": "scalars" if cut.scalars else "arrays",
        "blocks": f"{cut.blocks} of {cut.block} instances, microbatch {cut.microbatch}",
        "tile": f"{ensemble.tile} blocks at once" if ensemble.tiled else "all blocks at once",
        "device memory": f"{megabytes(device_bytes(ensemble, ensemble.tile))}{_of(free_device_memory(ensemble))}",
        "main memory": f"{megabytes(main_bytes(ensemble, spec.instances))} at least{_of(available_memory())}",
        "disk": f"{megabytes(disk_bytes(ensemble, spec.instances))}{_of(free_space(Path('runs')))}",
        "history": megabytes(record_bytes(spec)),
        "training time": f"{spec.train.steps / speed:.1f} s, from {step} steps at {samples:.2e} {_unit(spec)}",
    }


def _unit(spec: Spec) -> str:
    return "samples/s" if spec.train.loss == "sampled" else "model-steps/s"


def _of(free: int | None) -> str:
    return "" if free is None else f" of {megabytes(free)} that are free"
