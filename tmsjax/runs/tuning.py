"""Finds the blocks and microbatches that train a sweep fastest on this machine, by trying. A run never searches."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import jax

from tmsjax.engine import Ensemble, plan
from tmsjax.errors import RunError
from tmsjax.runs.capacity import check_memory
from tmsjax.runs.progress import rate_unit
from tmsjax.runs.source import with_source
from tmsjax.spec import Boxes, Engine, Spec, part_shape

SECONDS, ROUNDS = 0.4, 3  # of one timing; timings
BLOCKS = 16  # blocks to train, or one per thread if that is more


def tune(spec: Spec, say: Callable[[str], None]) -> str:
    """The [engine] table, as TOML, of the fastest plan. Trains a part of the sweep with each plan.

    Args:
        spec: The sweep. Its own block and microbatch do not matter.
        say: Receives a line for each plan that was tried.
    """
    spec = with_source(spec)
    tried, rates = tables(spec, jax.default_backend()), {}
    for number, engine in enumerate(tried, 1):
        ensemble = Ensemble(replace(spec, engine=engine))
        most = max(BLOCKS, ensemble.threads) * engine.block
        part = ensemble.on(Boxes(spec.shape, part_shape(spec.shape, most))[0])
        try:
            check_memory(ensemble, part.box)
            rates[engine] = rate(part)
            found = f"{rates[engine]:.2e} {rate_unit(spec)}"
        except RunError as error:
            found = str(error)
        words = f"block {engine.block:,}" + (f", microbatch {engine.microbatch:,}" if engine.microbatch else "")
        say(f"{number} of {len(tried)}: {words}: {found}{' (the default)' if number == 1 else ''}")
    if not rates:
        raise RunError("no plan fits this machine's memory")
    best = max(rates, key=rates.__getitem__)
    if tried[0] in rates:
        say(f"the fastest has {rates[best] / rates[tried[0]]:.2f} times the default's rate")
    changed = {key: value for key, value in asdict(best).items() if value != getattr(Engine(), key)}
    return "\n".join(["[engine]", *(f"{key} = {json.dumps(value)}" for key, value in changed.items())])


def tables(spec: Spec, platform: str) -> list[Engine]:
    """The tables to try: that of the default plan, then blocks and microbatches around it."""
    free = replace(spec.engine, block=0, microbatch=0)
    default = plan(replace(spec, engine=free), platform)
    sampled = spec.train.loss == "sampled"
    first = replace(free, block=default.block, microbatch=default.microbatch if sampled else 0)
    blocks = [max(1, min(spec.instances, round(default.block * factor))) for factor in (0.25, 0.5, 2, 4)]
    divisors = [size for size in (8, 16, 32, 64, 256, 1024) if sampled and spec.train.batch % size == 0]
    others = [replace(first, block=block) for block in blocks] + [replace(first, microbatch=d) for d in divisors]
    return list(dict.fromkeys([first, *others]))


def rate(ensemble: Ensemble, seconds: float = SECONDS, rounds: int = ROUNDS) -> float:
    """Samples/s (model-steps/s with the exact loss): the median of `rounds` timings of about `seconds` each."""
    spec, states, step, segment = ensemble.spec, ensemble.init(), 0, 1
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
    return ensemble.box.size * samples * statistics.median(timed)
