"""Reads XLA's text of a compiled program: computations of operations with their shapes. Knows nothing of jax.

One operation is a line, `%name = shape opcode(%operand, ...), attributes`. Shapes carry a layout, whose `S(n)` says
that an array is held on the chip (a TPU's vector or scalar memory) and not in its main memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^{}]*\})?")
_BITS = re.compile(r"[a-z]+(\d+)")


@dataclass(frozen=True)
class Array:
    """One array of an operation's output: its type as XLA names it, elements, bytes, and whether it is on the chip."""

    dtype: str
    elements: int
    size: int
    on_chip: bool

    @property
    def bytes(self) -> int:
        """Bytes in the device's main memory."""
        return 0 if self.on_chip else self.size


@dataclass(frozen=True)
class Operation:
    """One operation.

    arrays:     its outputs, with tuples flattened
    operands:   the names of its inputs
    argument:   the text between its parentheses: of a parameter its number, of a constant its value
    attributes: the rest of its line
    root:       whether its output is the computation's
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    argument: str
    attributes: str
    root: bool

    @property
    def bytes(self) -> int:
        """Bytes of all outputs in the device's main memory."""
        return sum(array.bytes for array in self.arrays)

    @property
    def elements(self) -> int:
        """The number of elements of the largest output."""
        return max((array.elements for array in self.arrays), default=0)

    def called(self, role: str) -> str:
        """The computation that this operation calls as `role` ("calls", "body", "condition"), or ""."""
        found = re.search(rf"\b{role}=%([\w.\-]+)", self.attributes)
        return found[1] if found else ""

    @cached_property
    def traced(self) -> str:
        """The operation's origin: jax's nest of transformations and functions, such as "jit(f)/while/body/add"."""
        found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
        return found[1] if found else ""


Computation = dict[str, Operation]


@dataclass(frozen=True)
class Program:
    """The computations of a program by name. `entry` is the first to run."""

    computations: dict[str, Computation]
    entry: str


def read(text: str) -> Program:
    """Reads the text of a compiled program, `compiled.as_text()`."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line)
        if header:
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            operation = _operation(line.strip())
            current[operation.name] = operation
    return Program(computations, entry)


def _operation(line: str) -> Operation:
    left, _, right = re.sub(r"/\*.*?\*/", "", line).partition(" = ")
    shape = right[: _closing(right)] if right.startswith("(") else right.split(" ", 1)[0]
    opcode, _, rest = right[len(shape) :].strip().partition("(")
    end = _closing("(" + rest) - 1
    argument, attributes = rest[: end - 1], rest[end:]
    operands = tuple(re.findall(r"%([\w.\-]+)", argument))
    arrays = tuple(_array(*found) for found in _ARRAY.findall(shape))
    root = left.startswith("ROOT ")
    return Operation(left.removeprefix("ROOT ").lstrip("%"), opcode, arrays, operands, argument, attributes, root)


def _closing(text: str) -> int:
    """The position after the parenthesis that closes the one at position 0."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if not depth:
            return k + 1
    return len(text)


def _array(dtype: str, dims: str, layout: str) -> Array:
    elements = 1
    for size in filter(None, dims.split(",")):
        elements *= int(size)
    bits = _BITS.match(dtype)
    width = 8 if dtype == "pred" else int(bits[1]) if bits else 0
    return Array(dtype, elements, elements * width // 8, re.search(r"S\(\d+\)", layout) is not None)
