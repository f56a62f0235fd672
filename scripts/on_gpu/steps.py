"""Runs steps, each in a process of its own, so that one that crashes or hangs leaves the GPU to the others.

A step is a function of `dry` (tiny sizes, on CPU). It returns facts by case; a case that failed has an "error".
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from tmsjax.errors import RunFailed

Step = Callable[[bool], dict[str, dict]]
LIMIT = 3600.0  # seconds of a step


def isolated(step: Step, dry: bool, limit: float = LIMIT) -> dict[str, dict]:
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


def _answer(pipe: Connection, step: Step, dry: bool) -> None:
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


def outcome(name: str, step: Step, dry: bool) -> dict:
    """Runs a step. Returns its name, seconds, facts by case and failures."""
    start = time.monotonic()
    try:
        cases = isolated(step, dry)
        failures = [f"{case}: {facts['error']}" for case, facts in cases.items() if "error" in facts]
    except RunFailed as error:
        cases, failures = {}, [str(error)]
    return {"name": name, "seconds": time.monotonic() - start, "cases": cases, "failures": failures}


def tell(done: dict) -> dict:
    """Prints a line about the outcome of a step."""
    result = "FAILED: " + "; ".join(done["failures"]) if done["failures"] else "ok"
    print(f"{done['name']:20s} {result}  ({done['seconds']:.1f} s)", flush=True)
    return done
