"""What a compiled step launches, reads and writes, counted in its text (hlo.py).

The step is the innermost loop outside of the vmap over instances: jax records for every operation which functions it
was traced in, and the only vmap over instances stands around one step (segment.py). Loops inside the step, such as the
one over microbatches, have "vmap" in their origin. If a kernel of our own trains a chunk of steps (kernel.py), the loop
over chunks is the innermost, and counts are those of a chunk. Without any such loop, they are those of the program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tmsjax.engine.hlo import Operation, Program
from tmsjax.engine.traffic import traffic

# Operations that launch nothing: they name or rearrange what exists, or end a copy that was counted when it began.
FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier",
    "copy-done", "slice-done", "async-done", "add-dependency", "partition-id", "replica-id",
}  # fmt: skip
FREE_CALLS = ("ConcatBitcast", "AllocateBuffer", "AssumeGatherIndicesInBound")
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "collective-broadcast", "reduce-scatter")


@dataclass(frozen=True)
class Kernel:
    """One kernel, or one copy, of a step.

    name:     the operation's name
    opcode:   the operation: "fusion", "copy", "custom-call", ...
    bytes:    read and written in the device's main memory by one launch (traffic.py)
    elements: of the largest output; 1 for a kernel of a single thread
    cycles:   of one launch, as a TPU's compiler estimates them; 0 if it does not
    times:    launches a step
    depth:    the number of loops inside the step that contain it
    """

    name: str
    opcode: str
    bytes: int
    elements: int
    cycles: int
    times: float
    depth: int


@dataclass(frozen=True)
class Step:
    """What a step does.

    kernels: everything it launches
    reads:   how often a step waits for the host to read a loop's condition
    unknown: loops inside the step of unknown length, counted as one turn
    """

    kernels: tuple[Kernel, ...]
    reads: float
    unknown: int


def step(program: Program) -> Step:
    """Counts the program's step."""
    loops = _step_loops(program, program.entry)
    kernels: list[Kernel] = []
    reads, turns = 0.0, 1
    for loop in reversed(loops):  # from the inside: what an outer loop adds is spread over the steps of a turn
        kernels += _kernels(program, loop.called("body"), 1 / turns, 0)
        length = trip_count(program, loop)
        if length is None:
            kernels += _kernels(program, loop.called("condition"), 1 / turns, 0)
            reads += 1 / turns
        turns *= length or 1
    if not loops:
        kernels = list(_kernels(program, program.entry, 1, 0))
    unknown = sum(trip_count(program, loop) is None for loop in _loops(program) if not _is_step_loop(program, loop))
    return Step(tuple(kernels), reads, unknown)


def trip_count(program: Program, loop: Operation) -> int | None:
    """The number of turns of a `while`: the compiler's, else the constant that its condition compares with.

    In the latter case the loop is taken to count from 0 by 1. None if it depends on a value.
    """
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known[1])
    condition = program.computations[loop.called("condition")]
    root = next(operation for operation in condition.values() if operation.root)
    if root.opcode != "compare" or "direction=LT" not in root.attributes:
        return None
    limit = condition[root.operands[1]]
    return int(limit.argument) if limit.opcode == "constant" and limit.argument.isdigit() else None


def collectives(program: Program) -> set[str]:
    """Operations by which devices exchange data."""
    return {o.opcode for o in _all(program) if o.opcode.removesuffix("-start") in COLLECTIVES}


def callbacks(program: Program) -> set[str]:
    """Calls of Python on the host."""
    return {o.name for o in _all(program) if o.opcode == "custom-call" and "callback" in o.attributes}


def dtypes(program: Program) -> set[str]:
    """The types of all arrays."""
    return {array.dtype for operation in _all(program) for array in operation.arrays}


def _all(program: Program) -> Iterator[Operation]:
    for computation in program.computations.values():
        yield from computation.values()


def _loops(program: Program) -> Iterator[Operation]:
    return (operation for operation in _all(program) if operation.opcode == "while")


def _is_step_loop(program: Program, loop: Operation) -> bool:
    """Whether a loop stands outside of the vmap over instances and contains it, or a kernel written by hand."""
    inside = _reached(program, loop.called("body"))
    return "vmap(" not in loop.traced and any("vmap(" in o.traced or o.opcode == "custom-call" for o in inside)


def _reached(program: Program, name: str) -> Iterator[Operation]:
    """The operations of a computation and of those that it calls."""
    for operation in program.computations[name].values():
        yield operation
        for role in ("calls", "body", "to_apply"):
            if operation.called(role):
                yield from _reached(program, operation.called(role))


def _step_loops(program: Program, name: str) -> list[Operation]:
    """The deepest chain of loops over steps, from the outside; of equally deep ones the first."""
    loops = [o for o in program.computations[name].values() if o.opcode == "while" and _is_step_loop(program, o)]
    chains = [[loop, *_step_loops(program, loop.called("body"))] for loop in loops]
    return max(chains, key=len, default=[])


def _kernels(program: Program, name: str, times: float, depth: int) -> Iterator[Kernel]:
    """What a computation launches, with the loops in it except those over steps."""
    computation = program.computations[name]
    for operation in computation.values():
        if operation.opcode == "while":
            if _is_step_loop(program, operation):
                continue
            length = trip_count(program, operation)
            yield from _kernels(program, operation.called("body"), times * (length or 1), depth + 1)
            if length is None:
                yield from _kernels(program, operation.called("condition"), times, depth + 1)
        elif operation.opcode == "call":
            yield from _kernels(program, operation.called("to_apply"), times, depth)
        elif not _is_free(operation):
            moved = traffic(program, computation, operation)
            estimate = re.search(r'"estimated_cycles":"(\d+)"', operation.attributes)
            cycles = int(estimate[1]) if estimate else 0
            yield Kernel(operation.name, operation.opcode, moved, operation.elements, cycles, times, depth)


def _is_free(operation: Operation) -> bool:
    calls = operation.opcode == "custom-call" and any(f'"{name}"' in operation.attributes for name in FREE_CALLS)
    return operation.opcode in FREE or calls
