"""Keeps compiled programs on disk, for all processes on a machine that train."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from tmsjax.engine.machine import processor_features, processor_name

DIRECTORY, LEAST_SECONDS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
_one_at_a_time = threading.RLock()


@contextmanager
def on_disk() -> Iterator[None]:
    """Programs that are compiled inside are kept in the user's cache directory, and read from it.

    Changes nothing that the process has set in jax: if jax is configured with a directory, that one is used.
    """
    if _setting(DIRECTORY) is not None or (folder := _folder()) is None:
        yield
        return
    ours = {DIRECTORY: str(folder), LEAST_SECONDS: 0}
    with _one_at_a_time:
        before = {name: _setting(name) for name in ours}
        try:
            for name, value in ours.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()  # jax reads its settings once
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def keep_programs() -> None:
    """As `on_disk`, for all programs that this process compiles from now on."""
    if _setting(DIRECTORY) is None and (folder := _folder()) is not None:
        jax.config.update(DIRECTORY, str(folder))
        jax.config.update(LEAST_SECONDS, 0)


def _setting(name: str) -> str | float | int | None:
    return getattr(jax.config, name)


@cache
def _folder() -> Path | None:
    """A folder for each kind of device and processor, since programs for one may not run on another."""
    kind = hashlib.sha256(f"{_kind()} {processor_features()}".encode()).hexdigest()[:12]
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home directory
        return None
    return home / "tmsjax" / kind


def _kind() -> str:
    """The kind of this process's devices. Not their number: workers on a part of the machine share its programs."""
    device = jax.devices()[0]
    name = processor_name() if device.platform == "cpu" else device.device_kind
    return f"{device.platform} {name} jax {jax.__version__}"
