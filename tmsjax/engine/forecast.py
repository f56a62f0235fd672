"""What a spec's programs need on a chip that is not here, and how long that takes at the chip's rates.

Memory, kernels and bytes are those of the compiled programs. Times are arithmetic on paper: bytes and instructions over
the chip's rates, and launches times an assumed duration. Nothing is measured, and programs rarely reach the rates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import numpy as np

from tmsjax.engine import hlo, listing
from tmsjax.engine.ahead import LOWERED_FOR, Compiled, compile_ahead, device
from tmsjax.engine.chips import Chip, chip
from tmsjax.engine.ensemble import Ensemble
from tmsjax.engine.plan import Plan
from tmsjax.spec import Spec

# Assumed, not measured: a GPU's time from one tiny kernel to the next, and for the host to read a loop's condition.
LAUNCH_SECONDS = 2e-6
READ_SECONDS = 10e-6
SMALL = 2**15  # threads of kernels whose instructions do not matter


@dataclass(frozen=True)
class Memory:
    """Bytes that one program needs for a block, by the compiler's account."""

    arguments: int
    outputs: int
    aliased: int  # outputs that take the place of arguments
    working: int

    @property
    def held(self) -> int:
        """Bytes of the arguments and the outputs."""
        return self.arguments + self.outputs - self.aliased


@dataclass(frozen=True)
class Launches:
    """Launches at one depth of loops, in a span of steps: each of `kernels` is launched `turns` times."""

    turns: float
    kernels: int
    single: int  # of them, kernels of a single thread


@dataclass(frozen=True)
class Forecast:
    """Facts about a spec on a chip. "A step" is one optimizer step of one block.

    chip, plan, units: where, and how the work is split
    steps:        steps of the run
    samples:      samples a step; with the exact loss, models
    memory:       of the programs "init", "step", "loss"
    state_bytes:  parameters and optimizer state of a block
    span:         steps that the counted part of the program trains: 1, or a chunk of steps if one kernel trains it
    launches:     kernels and copies in a span, by depth of loops
    copies:       asynchronous copies a step, which a TPU runs beside its kernels
    reads:        how often a step waits for the host to read a loop's condition
    unknown:      loops of unknown length, in programs and kernels, that were counted as one turn
    bytes:        read and written a step in the chip's main memory
    instructions: executed a step, summed over threads (GPU; 0 for a TPU)
    serial:       seconds a step of the kernels one after another, each limited by its bytes or its instructions (GPU)
    products:     the part of `serial` that kernels with matrix products take
    uncounted:    kernels whose instructions are not known (GPU)
    registers:    of a thread, in the kernel that needs most (GPU)
    spills:       bytes that threads spill to memory, summed over the step's kernels (GPU)
    cycles:       of a step's fusions, as the compiler estimates them (TPU; 0 for a GPU)
    callbacks, collectives, dtypes: calls of Python, operations between devices, and types of arrays in any program
    """

    chip: Chip
    plan: Plan
    units: int
    steps: int
    samples: int
    memory: dict[str, Memory]
    state_bytes: int
    span: int
    launches: tuple[Launches, ...]
    copies: float
    reads: float
    unknown: int
    bytes: float
    instructions: float
    serial: float
    products: float
    uncounted: int
    registers: int
    spills: int
    cycles: float
    callbacks: frozenset[str]
    collectives: frozenset[str]
    dtypes: frozenset[str]

    @property
    def unit_bytes(self) -> int:
        """Bytes to train a unit: all its blocks between segments, and the work of one program."""
        return self.plan.blocks * self.memory["step"].held + max(m.working for m in self.memory.values())

    @property
    def fits(self) -> bool:
        """Whether the chip's memory can hold a unit."""
        return self.unit_bytes <= self.chip.memory

    @property
    def launched(self) -> float:
        """Launches a step."""
        return sum(group.turns * group.kernels for group in self.launches) / self.span

    @property
    def cached(self) -> bool:
        """Whether a block and the work on it fit the chip's cache, so that a step need not use its memory."""
        return self.memory["step"].held + self.memory["step"].working <= self.chip.cache

    @property
    def seconds(self) -> dict[str, float]:
        """The time of a step at the chip's rates, for each that is known."""
        times = {} if self.cached else {"memory": self.bytes / self.chip.bandwidth}
        if self.chip.platform == "gpu":  # a TPU runs its loops itself
            times["instructions"] = self.instructions / self.chip.lanes
            times["kernels"] = self.serial
            times["launches"] = self.launched * LAUNCH_SECONDS + self.reads * READ_SECONDS
        elif self.chip.clock:
            times["cycles"] = self.cycles / self.chip.clock
        return times

    @property
    def bound(self) -> str:
        """What takes longest."""
        return max(self.seconds, key=self.seconds.__getitem__)

    @property
    def run_seconds(self) -> float:
        """The time of the whole run on one chip, by what takes longest."""
        return self.seconds[self.bound] * self.steps * self.plan.blocks * self.units


def forecast(spec: Spec, name: str) -> Forecast:
    """Compiles the programs of `spec` for the chip called `name`.

    Raises SpecError for an unknown chip, and RunError if its compiler is not installed or says that a program exceeds
    the chip's memory.
    """
    where = chip(name)
    ensemble = Ensemble(spec, devices=[device(where)])
    lowered = ensemble.lowered(LOWERED_FOR[where.platform])
    compiled = {key: compile_ahead(program, where, launches=key == "step") for key, program in lowered.items()}
    programs = {key: hlo.read(c.program.as_text()) for key, c in compiled.items()}
    step = listing.step(programs["step"])
    span = ensemble.plan.chunk if ensemble.plan.kernel == "pallas" else 1
    kernels = [k for k in step.kernels if not k.opcode.endswith("-start")]
    state = jax.tree.leaves(ensemble.abstract_state(ensemble.plan.block))
    return Forecast(
        chip=where,
        plan=ensemble.plan,
        units=len(ensemble.plan.units(spec)),
        steps=spec.train.steps,
        samples=ensemble.plan.block * (spec.train.batch if spec.train.loss == "sampled" else 1),
        memory={key: _memory(c) for key, c in compiled.items()},
        state_bytes=sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in state),
        span=span,
        launches=_grouped(kernels, compiled["step"]),
        copies=sum(k.times for k in step.kernels if k.opcode.endswith("-start")) / span,
        reads=step.reads / span,
        bytes=sum(k.times * k.bytes for k in step.kernels) / span,
        **_instructions(kernels, compiled["step"], where, span, step.unknown),
        cycles=sum(k.times * k.cycles for k in step.kernels) / span,
        callbacks=frozenset[str]().union(*map(listing.callbacks, programs.values())),
        collectives=frozenset[str]().union(*map(listing.collectives, programs.values())),
        dtypes=frozenset[str]().union(*map(listing.dtypes, programs.values())),
    )


def _memory(compiled: Compiled) -> Memory:
    said = compiled.program.memory_analysis()
    return Memory(
        said.argument_size_in_bytes,
        said.output_size_in_bytes,
        said.alias_size_in_bytes,
        said.temp_size_in_bytes,
    )


def _grouped(kernels: list[listing.Kernel], compiled: Compiled) -> tuple[Launches, ...]:
    """Kernels by how often a step launches them, the outermost first."""
    groups = dict.fromkeys((kernel.depth, kernel.times) for kernel in kernels)
    return tuple(
        Launches(times, len(members), sum(_single(kernel, compiled) for kernel in members))
        for depth, times in sorted(groups)
        if (members := [kernel for kernel in kernels if (kernel.depth, kernel.times) == (depth, times)])
    )


def _single(kernel: listing.Kernel, compiled: Compiled) -> bool:
    launch = compiled.launches.get(kernel.name)
    return kernel.elements == 1 if launch is None else launch.threads == 1


def _instructions(kernels: list[listing.Kernel], compiled: Compiled, where: Chip, span: int, unknown: int) -> dict:
    """The fields of a Forecast that describe instructions. `unknown`: loops of unknown length outside of kernels.

    A loop of unknown length in a kernel of our own is the one over steps; elsewhere it counts as one turn. XLA's small
    kernels have such loops for rare arguments of functions, which are not mentioned.
    """
    total, serial, products, uncounted, registers, spills = 0.0, 0.0, 0.0, 0, 0, 0
    for kernel in kernels if where.platform == "gpu" else ():
        launch = compiled.launches.get(kernel.name)
        executed = 0.0
        if launch is None:
            uncounted += kernel.name not in compiled.copies and kernel.opcode != "copy"
        else:
            own = span > 1 and kernel.opcode == "custom-call"
            counted, times = launch.instructions, kernel.times / span
            executed = launch.threads * (times * counted.once + (1.0 if own else times) * counted.a_turn)
            unknown += counted.a_turn > 0 and launch.threads > SMALL and not own
            registers = max(registers, launch.assembled.registers)
            spills += launch.assembled.spills
        total += executed
        few = max(1.0, where.threads / launch.threads) if launch else 1.0
        seconds = max(few * executed / where.lanes, kernel.times / span * kernel.bytes / where.bandwidth)
        serial += seconds
        products += seconds if launch is not None and "gemm" in launch.kernel else 0.0
    return {
        "instructions": total,
        "serial": serial,
        "products": products,
        "unknown": unknown,
        "uncounted": uncounted,
        "registers": registers,
        "spills": spills,
    }
