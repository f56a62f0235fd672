"""Signals that stop training: after the segment, with everything saved. For the command line and for run_sweep."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tmsjax.errors import Interrupted
from tmsjax.printing import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
EVENT_LOOPS = ("asyncio", "ipykernel")  # whose handlers wait for the event loop, which waits for run_sweep
SAME_STOP_SECONDS = 2.0  # launchers such as `uv run` pass on a Ctrl-C that the terminal has delivered already


class Stop:
    """Whether to stop, as a function; and the number of the signal that asked for it, or None."""

    signal: int | None = None
    received = 0.0

    def __call__(self) -> bool:
        return self.signal is not None


@contextmanager
def stopping(*, command: bool = False, then: str = "") -> Iterator[Stop]:
    """Yields a Stop that notes the first SIGINT, SIGTERM or SIGHUP. One after two seconds has its former effect.

    Takes signals that have their default effect or that of an event loop, and those only in the main thread: others
    belong to the program.

    Args:
        command: whether the process is one command: it takes SIGINT and SIGTERM in any case, as shells have scripts
            ignore them in the background, and the second signal ends it
        then: how to go on, for the text of an Interrupted that follows
    """
    stop = Stop()
    before = _handlers(command)

    def note(number: int, frame: Any) -> None:
        if stop.signal is None:
            stop.signal, stop.received = number, time.monotonic()
            say("stopping after this segment ...", err=True)
        elif time.monotonic() - stop.received >= SAME_STOP_SECONDS:
            signal.signal(number, signal.SIG_DFL if command else before[number])
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    except Interrupted as reason:
        if stop.signal is None or not then:
            raise
        raise Interrupted(f"{reason}; {then}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def how_to_go_on(out: str | os.PathLike | None) -> str:
    """How to go on with an interrupted run, for its user in Python."""
    if out is None:
        return "nothing is kept of a run in memory: give `out` to continue it later"
    return f"to continue: call run_sweep again, or tmsjax resume {out}"


def _handlers(command: bool) -> dict[int, Any]:
    """The handlers to replace."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in handlers.items() if _replaceable(number, handler, command)}


def _replaceable(number: int, handler: Any, command: bool) -> bool:
    if handler in DEFAULTS or (command and number != signal.SIGHUP and handler is not None):
        return True
    module: str = getattr(getattr(handler, "func", handler), "__module__", "")
    return module.partition(".")[0] in EVENT_LOOPS
