"""Writes a forecast for a chip that is not here (engine/forecast.py) as lines of text."""

from __future__ import annotations

import jax

from tmsjax.engine import LAUNCH_SECONDS, READ_SECONDS, Forecast, Launches, forecast
from tmsjax.runs.files import megabytes
from tmsjax.runs.source import with_source
from tmsjax.spec import Spec

COUNTED = "counted in the compiler's text"
PROGRAMS = {"init": "of init", "step": "of the step", "loss": "of the loss"}


def forecast_lines(spec: Spec, name: str) -> dict[str, str]:
    """Facts about running `spec` on the chip called `name`, as text. Says of each number where it comes from."""
    spec = with_source(spec)
    facts = forecast(spec, name)
    return _plan(spec, facts) | _memory(facts) | _kernels(spec, facts) | _times(facts)


def _plan(spec: Spec, facts: Forecast) -> dict[str, str]:
    plan, models = facts.plan, facts.plan.units(spec)[0].size
    blocks = f"{plan.blocks} of {plan.block:,} models in a unit, {plan.microbatch:,} samples at once"
    return {
        "device": f"{facts.chip.title}, not here: compiled for it by jax {jax.__version__}",
        "program": plan.program,
        "units": f"{facts.units:,} of {models:,} models",
        "blocks": blocks,
    }


def _memory(facts: Forecast) -> dict[str, str]:
    lines = {
        f"memory {where}": f"{megabytes(facts.memory[key].held)} held, {megabytes(facts.memory[key].working)} "
        "working, a block (compiler)"
        for key, where in PROGRAMS.items()
    }
    need, have = megabytes(facts.unit_bytes), megabytes(facts.chip.memory)
    verdict = "fits" if facts.fits else "DOES NOT FIT: set engine.unit lower, which changes no bit, or engine.block"
    return lines | {"memory of a unit": f"{need} of the chip's {have}: {verdict} (arithmetic)"}


def _kernels(spec: Spec, facts: Forecast) -> dict[str, str]:
    tpu = facts.chip.platform == "tpu"
    groups = ", ".join(_group(group, "of a single number" if tpu else "of a single thread") for group in facts.launches)
    again = f"{_bytes(2 * facts.state_bytes)} would read and write the training state once"
    whole = "" if facts.span == 1 else f", a segment of all {facts.span:,} steps"
    span = "a step" if facts.span == 1 else "a segment"
    lines = {
        f"kernels {span}": f"{_number(facts.launched * facts.span)}: {groups} ({COUNTED})",
        "bytes a step": f"{_bytes(facts.bytes)}{whole} ({COUNTED}); {again}",
    }
    if tpu:
        return lines | {
            "copies a step": f"{_number(facts.copies)} beside the kernels ({COUNTED})",
            "cycles a step": f"{facts.cycles:,.0f} in its fusions (the compiler's estimate)",
        }
    per = "sample" if spec.train.loss == "sampled" else "model"
    missing = f", without {facts.uncounted} kernels" if facts.uncounted else ""
    if facts.unknown:
        missing += f", {facts.unknown} loops of unknown length as one turn"
    spills = f"{facts.spills:,} bytes of spills" if facts.spills else "no spills"
    return lines | {
        "host": f"reads a loop's condition {_number(facts.reads)} times a step ({COUNTED})",
        "instructions": f"{facts.instructions / facts.samples:,.1f} a {per} (counted in PTX{missing})",
        "registers": f"{facts.registers} a thread at most, {spills} (compiler)",
    }


def _group(group: Launches, single: str) -> str:
    some = f" ({group.single} {single})" if group.single else ""
    if group.turns == 1:
        return f"{group.kernels} once{some}"
    if group.turns < 1:
        return f"{group.kernels} every {_number(1 / group.turns)} steps{some}"
    return f"{group.kernels} in each of {_number(group.turns)} turns of a loop{some}"


def _times(facts: Forecast) -> dict[str, str]:
    chip = facts.chip
    rates = f"{chip.bandwidth / 1e9:,.0f} GB/s"
    if chip.lanes:
        rates += f", {chip.lanes:.3g} instructions/s, cache {megabytes(chip.cache)}"
    if chip.matrix:
        rates += f", {chip.matrix / 1e12:,.0f} TFLOP/s of matrix products in bfloat16"
    if chip.clock:
        rates += f", {chip.clock / 1e9:g} GHz (from the latter)"
    words = {"kernels": "kernels one after another, each limited by one of both"}
    times = ", ".join(f"{1e3 * seconds:.3g} ms of {words.get(what, what)}" for what, seconds in facts.seconds.items())
    if facts.products:
        times += f"; {facts.products / facts.serial:.0%} of the kernels' time in matrix products"
    if facts.cached:
        times += "; a block fits the cache"
    assumed = ""
    if "launches" in facts.seconds:
        assumed = f", assuming {1e6 * LAUNCH_SECONDS:g} us a launch and {1e6 * READ_SECONDS:g} us a read by the host"
    alone = " alone: the clock that its cycles need is not published," if chip.matrix and not chip.clock else ""
    return {
        "rates": f"{rates} ({chip.source})",
        "time a step": f"{times} at these rates (arithmetic{assumed})",
        "time of the run": f"{facts.run_seconds:,.3g} s of {facts.bound}{alone} on one chip (arithmetic)",
    }


def _bytes(size: float) -> str:
    return megabytes(size) if size >= 1e5 else f"{size:,.0f} bytes"


def _number(value: float) -> str:
    return f"{value:,.3g}" if value < 1 else f"{value:,.0f}"
