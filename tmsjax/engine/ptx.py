"""Counts instructions of a GPU kernel in its PTX, and asks ptxas for its registers and spills.

PTX is the text that XLA hands to NVIDIA's assembler. The assembler's own instructions differ: it drops moves, and turns
a division or a square root into about ten. All branches are counted as if taken, slow paths of functions included, and
a loop's instructions as often as its bound says, if that is a number.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Counted:
    """Instructions of one thread: outside of loops of unknown length, and in one turn of those (0 without any)."""

    once: float
    a_turn: float


@dataclass(frozen=True)
class Assembled:
    """Registers of one thread, and bytes that it spills to memory (stores and loads)."""

    registers: int
    spills: int


def entries(text: str) -> dict[str, str]:
    """The body of each kernel in a PTX file, by name."""
    found = re.findall(r"\.entry\s+(\w+)\(.*?^\{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE)
    return dict(found)


def count(body: str) -> Counted:
    """Counts the instructions of a kernel."""
    lines = [line.strip() for line in body.splitlines()]
    loops = list(_loops(lines))
    once = a_turn = 0.0
    for k, line in enumerate(lines):
        around = [turns for first, last, turns in loops if first <= k <= last]
        instructions = len(_instructions(line)) * math.prod(turns for turns in around if turns)
        if all(around):
            once += instructions
        else:
            a_turn += instructions
    return Counted(once, a_turn)


def assemble(ptxas: Path, text: str, architecture: str) -> Assembled:
    """What `ptxas -v` says of a PTX file with one kernel; `architecture`: such as "sm_90a"."""
    command = [str(ptxas), "-v", f"-arch={architecture}", "-o", "/dev/null", "-"]
    said = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stderr
    return spoken(said)


def spoken(said: str) -> Assembled:
    """Registers and spills from the messages of `ptxas -v`."""
    spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", said)
    registers = re.findall(r"Used (\d+) registers", said)
    return Assembled(max(map(int, registers), default=0), sum(map(int, spills)))


def _instructions(line: str) -> list[str]:
    """The instructions of a line; a few, separated by semicolons, in inline assembly."""
    code = re.sub(r"^\$\w+:", "", line.partition("//")[0])
    parts = (part.strip().lstrip("{ \t") for part in code.split(";")[:-1])
    return [part for part in parts if part and not part.startswith(".")]


def _loops(lines: list[str]) -> Iterator[tuple[int, int, int | None]]:
    """(first line, last line, turns) of every loop: from a label to a jump back to it. Turns None: unknown."""
    labels = {label[1]: k for k, line in enumerate(lines) if (label := re.match(r"(\$\w+):", line))}
    ends: dict[int, int] = {}
    for k, line in enumerate(lines):
        jump = re.search(r"\bbra(?:\.uni)?\s+(\$\w+);", line)
        if jump and labels[jump[1]] <= k:
            ends[labels[jump[1]]] = k
    for first, last in ends.items():
        yield first, last, _turns(lines, first, last)


def _turns(lines: list[str], first: int, last: int) -> int | None:
    """The turns of a loop that ends with a comparison of a counter and a number; None for any other loop.

    The counter starts at a number and grows by a number.
    """
    jump = re.match(r"@(%\w+) bra", lines[last])
    tested = _setter(lines, first, last, jump[1]) if jump else None
    test = re.match(r"setp\.(ne|lt|le)\.\w+\s+%\w+, (%\w+), (-?\d+);", lines[tested]) if tested is not None else None
    if test is None or tested is None:
        return None
    late = _setter(lines, first, tested, test[2]) is None  # the test looks at the counter before it grows
    growth = _growth(lines, first, last if late else tested, test[2])
    if growth is None:
        return None
    counter, step = growth
    begun = _setter(lines, 0, first, counter)
    start = re.match(r"mov\.\w+\s+%\w+, (-?\d+);", lines[begun]) if begun is not None else None
    if start is None or step <= 0:
        return None
    limit = int(test[3]) + (test[1] == "le")
    return max(1, math.ceil((limit - int(start[1])) / step) + late)


def _growth(lines: list[str], first: int, last: int, register: str) -> tuple[str, int] | None:
    """(counter, growth a turn) if `register` is set to the counter plus a number, perhaps through casts and moves."""
    while (k := _setter(lines, first, last, register)) is not None:
        add = re.match(r"add\.\w+\s+%\w+, (%\w+), (-?\d+);", lines[k])
        if add:
            return add[1], int(add[2])
        cast = re.match(r"(?:cvt|mov)\.\S+\s+%\w+, (%\w+);", lines[k])
        if cast is None:
            return None
        register, last = cast[1], k
    return None


def _setter(lines: list[str], first: int, last: int, register: str) -> int | None:
    """The last of lines first to last - 1 that sets `register`."""
    pattern = re.compile(rf"[\w.]+\s+{re.escape(register)},")
    return next((k for k in range(last - 1, first - 1, -1) if pattern.match(lines[k])), None)
