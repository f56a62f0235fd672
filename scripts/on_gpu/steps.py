"""Runs steps, each in a process of its own, so that one that crashes or hangs leaves the GPU to the others.

Imports nothing that has to be installed, so that it can tell which packages are missing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tmsjax.errors import RunFailed

Function = Callable[[bool], dict[str, dict]]
Case = TypeVar("Case")
LIMIT = 3600.0  # seconds of a step
NEEDED = ("jax", "jaxlib", "numpy", "scipy", "flax", "optax", "xarray", "h5py")  # packages of every step


def missing(packages: Iterable[str]) -> list[str]:
    """Those that this Python does not find. Imports none."""
    return [name for name in packages if find_spec(name) is None]


@dataclass(frozen=True)
class Step:
    """A check or measurement.

    Attributes:
        function: Maps `dry` (tiny sizes, on CPU) to facts by case; a case that failed has an "error".
        seconds: About how long it takes.
        packages: Those that it needs besides NEEDED.
    """

    function: Function
    seconds: float = 0.0
    packages: tuple[str, ...] = ()

    def obstacle(self, left: float) -> str:
        """Why the step cannot run in the `left` seconds, or ""."""
        absent = missing(self.packages)
        if absent:
            return f"skipped: cannot import {', '.join(absent)}"
        if self.seconds >= left:
            return f"not run: {max(0.0, left):.0f} s left, needs about {self.seconds:.0f} s"
        return ""


def some(cases: Mapping[str, Case], dry: bool) -> dict[str, Case]:
    """All cases; of a dry run the first."""
    return dict(list(cases.items())[: 1 if dry else None])


def isolated(step: Function, dry: bool, limit: float = LIMIT) -> dict[str, dict]:
    """`step(dry)` in a new process. Raises RunFailed if it raises, dies, or takes more than `limit` seconds."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, step, dry))
    process.start()
    theirs.close()
    assert process.pid is not None
    try:
        if not ours.poll(limit):
            raise RunFailed(f"no result after {limit:g} s")
        result = ours.recv()
    except EOFError:
        process.join()
        raise RunFailed(f"its process died with exit code {process.exitcode}") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the commands that it started
        process.kill()
        process.join()
    if isinstance(result, str):
        raise RunFailed(result)
    return result


def _answer(pipe: Connection, step: Function, dry: bool) -> None:
    """Sends the step's facts, or what it raised as text."""
    os.setpgid(0, 0)
    try:
        pipe.send(step(dry))
    except Exception as error:
        pipe.send(described(error))


def described(error: BaseException) -> str:
    """An exception as one line of text."""
    return f"{type(error).__name__}: {' '.join(str(error).split()):.1000}"


def attempt(function: Callable[..., dict], *arguments: Any) -> dict:
    """The facts that `function` returns; {"error": reason} if it raises, so that other cases still run."""
    try:
        return function(*arguments)
    except Exception as error:
        return {"error": described(error)}


def outcome(name: str, step: Function, dry: bool, left: float = LIMIT) -> dict:
    """Runs a step, in at most `left` seconds. Returns its name, seconds, facts by case and failures."""
    start = time.monotonic()
    try:
        cases = isolated(step, dry, min(left, LIMIT))
        failures = [f"{case}: {facts['error']}" for case, facts in cases.items() if "error" in facts]
    except RunFailed as error:
        cases, failures = {}, [str(error)]
    return {"name": name, "seconds": time.monotonic() - start, "cases": cases, "failures": failures}


def tell(done: dict) -> dict:
    """Prints a line about the outcome of a step."""
    result = "FAILED: " + "; ".join(done["failures"]) if done["failures"] else "ok"
    print(f"{done['name']:20s} {result}  ({done['seconds']:.1f} s)", flush=True)
    return done
