"""Processes that were forked after jax had started. They lack jax's threads: their first program would never end."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from tmsjax.errors import RunError

_forked = False


def check_not_forked() -> None:
    """Raises RunError in a process that was forked after jax had started."""
    if _forked:
        raise RunError(
            f"process {os.getpid()} was forked after jax had started, and jax does not work in it: start processes "
            'with the method "spawn" or "forkserver", as in multiprocessing.get_context("spawn")'
        )


def _note() -> None:
    global _forked
    _forked = bool(getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None))


os.register_at_fork(after_in_child=_note)
with suppress(OSError):
    if len(os.listdir("/proc/self/task")) == 1:  # maybe a fork that imports this for the first time
        _note()
