"""How many bytes one operation of a compiled program reads and writes in the device's main memory.

An operation reads its operands and writes its outputs, once each. Of an operand that it only slices it reads the
slices, and of an output that it updates in place it writes the update. Caches are not considered.
"""

from __future__ import annotations

from tmsjax.engine.hlo import Computation, Operation, Program

SLICES = ("dynamic-slice", "slice", "gather")
NAMES_ONLY = ("bitcast", "reshape")  # of a part of its operand, as far as bytes are concerned: the same array


def traffic(program: Program, computation: Computation, operation: Operation) -> int:
    """Bytes that `operation`, one of `computation`, reads and writes."""
    if operation.opcode == "copy-start":  # its outputs are (destination, source, context)
        return sum(array.bytes for array in operation.arrays[:2])
    if operation.opcode == "slice-start":  # ((source), destination, context)
        source, destination = operation.arrays[:2]
        return destination.bytes + (0 if source.on_chip else destination.size)
    read = {name: computation[name].bytes for name in operation.operands if name in computation}
    inside = program.computations.get(operation.called("calls"), {})
    if operation.opcode == "fusion" and inside:
        for name in read:
            given = [k for k, operand in enumerate(operation.operands) if operand == name]
            read[name] = min(read[name], sum(_read_of_parameter(inside, k) for k in given))
    elif operation.opcode in SLICES:
        read[operation.operands[0]] = min(read[operation.operands[0]], operation.bytes)
    return sum(read.values()) + _written(operation, inside)


def _read_of_parameter(inside: Computation, k: int) -> int:
    """Bytes that a fused computation reads of its parameter k."""
    parameter = next(o for o in inside.values() if o.opcode == "parameter" and int(o.argument) == k)
    return _read(inside, parameter)


def _read(inside: Computation, operand: Operation) -> int:
    """Bytes that a fused computation reads of one array."""
    total = 0
    for user in inside.values():
        if operand.name not in user.operands:
            continue
        if user.opcode in NAMES_ONLY:
            total += _read(inside, user)
        elif user.opcode in SLICES and user.operands[0] == operand.name:
            total += user.bytes
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != operand.name:
            return operand.bytes
    return min(total, operand.bytes)


def _written(operation: Operation, inside: Computation) -> int:
    """Bytes that an operation writes."""
    root = next((o for o in inside.values() if o.root), None)
    if operation.opcode != "fusion" or root is None:
        return operation.bytes
    parts = [inside[name] for name in root.operands] if root.opcode == "tuple" else [root]
    if len(parts) != len(operation.arrays):  # one operation with several outputs
        return operation.bytes
    written = 0
    for array, part in zip(operation.arrays, parts, strict=True):
        while part.opcode in NAMES_ONLY:
            part = inside[part.operands[0]]
        update = inside[part.operands[1]].bytes if part.opcode == "dynamic-update-slice" else array.bytes
        written += min(array.bytes, update)
    return written
