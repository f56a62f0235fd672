"""The engine's rate over sweep sizes, and over ways to split a sweep (the only search for block sizes)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import jax
import xarray as xr

from tmsjax.engine import Ensemble, Plan, plan
from tmsjax.spec import Engine, Spec

SEGMENT = 0.4  # seconds per timing
ROUNDS = 3
INSTANCES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 4_000_000)
BATCHES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def rate(spec: Spec, cut: Plan | None = None, seconds: float = SEGMENT, rounds: int = ROUNDS) -> float:
    """Samples/s (model-steps/s with the exact loss): the median of `rounds` timings of about `seconds` each."""
    ensemble = Ensemble(spec, cut=cut)
    states, step, segment, spent = ensemble.init(), 0, 1, 0.0
    timed: list[float] = []
    while len(timed) < rounds:
        start = time.perf_counter()
        states = ensemble.advance(states, step + segment)
        spent = time.perf_counter() - start
        if step and spent >= seconds / 2:
            timed.append(segment / spent)
        elif step:  # the first call compiles
            segment = max(segment + 1, min(round(segment * seconds / spent), 32 * segment))
        step = int(states[0].step)
    samples = 1 if spec.train.loss == "exact" else spec.train.batch
    return spec.instances * samples * statistics.median(timed)


def curve(spec_of: Callable[[int, int], Spec], say: Callable[[str], None]) -> xr.Dataset:
    """Rates over the number of models at batch 64, and over batch at 10,000 models. `spec_of` takes (models, batch)."""

    def along(cases: Iterable[tuple[int, int]]) -> list[float]:
        rates = []
        for models, batch in cases:
            rates.append(rate(spec_of(models, batch)))
            say(f"{models:>9,} models  batch {batch:4d}  {rates[-1]:.2e} samples/s")
        return rates

    return xr.Dataset(
        {
            "rate_of_models": ("models", along((models, 64) for models in INSTANCES)),
            "rate_of_batch": ("batch", along((10_000, batch) for batch in BATCHES)),
        },
        coords={"models": list(INSTANCES), "batch": list(BATCHES)},
        attrs={"unit": "samples/s", "batch_of_models": 64, "models_of_batch": 10_000},
    )


def cuts(spec: Spec, platform: str) -> list[Plan]:
    """Plans to try: first the rule's, then blocks and microbatches around it."""
    rule = plan(replace(spec, engine=Engine(kernel=spec.engine.kernel)), platform)
    blocks = sorted({max(1, min(spec.instances, round(rule.block * factor))) for factor in (0.25, 0.5, 1, 2, 4)})
    engines = [{"block": block} for block in blocks]
    divisors = [d for d in (8, 16, 32, 64, 256, 1024) if spec.train.batch % d == 0 and d != rule.microbatch]
    if spec.train.loss == "sampled":
        engines += [{"microbatch": d} for d in divisors]
    found = [plan(replace(spec, engine=Engine(kernel=spec.engine.kernel, **engine)), platform) for engine in engines]
    return [rule, *(cut for cut in found if cut != rule)]


def tune(spec: Spec, say: Callable[[str], None]) -> Plan:
    """The fastest of `cuts` on this machine. Measures and prints each, the rule's first."""
    platform = jax.default_backend()
    tried = cuts(spec, platform)
    rule, rates = tried[0], {}
    for cut in tried:
        rates[cut] = rate(spec, cut)
        mark = "  (the rule)" if cut == rule else ""
        say(f"block {cut.block:6d}  microbatch {cut.microbatch:5d}  {rates[cut]:.2e}{mark}")
    best = max(rates, key=lambda cut: rates[cut])
    say(f"fastest: {rates[best] / rates[rule]:.2f} x the rule's rate")
    say(f"[engine]\nblock = {best.block}\nmicrobatch = {best.microbatch}")
    return best
