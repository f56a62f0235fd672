"""What a sweep needs before it runs: memory from the compiled program, time from a second of training."""

from __future__ import annotations

import time

from tmsjax.ensemble import Ensemble
from tmsjax.spec import Spec
from tmsjax.sweep import device_line, record_bytes


def estimate(spec: Spec, seconds: float = 1.0) -> dict[str, str]:
    """Facts about running `spec` on this machine's devices, as text; trains for about `seconds`."""
    ensemble = Ensemble(spec)
    memory = ensemble.compile().memory_analysis()
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
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    on_device = held * cut.blocks + memory.temp_size_in_bytes * min(ensemble.workers, cut.blocks)
    samples = speed * spec.instances * (spec.train.batch if spec.train.loss == "sampled" else 1)
    return {
        "device": device_line(ensemble.devices),
        "path": "scalars" if cut.scalars else "arrays",
        "blocks": f"{cut.blocks} of {cut.block} instances, microbatch {cut.microbatch}",
        "device memory": f"{on_device / 1e6:.0f} MB",
        "history": f"{record_bytes(spec) / 1e6:.1f} MB",
        "training time": f"{spec.train.steps / speed:.1f} s, from {step} steps at {samples:.2e} {_unit(spec)}",
    }


def _unit(spec: Spec) -> str:
    return "samples/s" if spec.train.loss == "sampled" else "model-steps/s"
