"""Keeps compiled programs on disk, for all processes on a machine that train."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import jax

from tmsjax.engine.machine import processor_features, processor_name


def keep_programs() -> None:
    """Stores compiled programs in the user's cache directory, unless jax is configured with another one.

    Each kind of device and processor has its own folder, since programs for one may not run on another.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    kind = hashlib.sha256(f"{_kind()} {processor_features()}".encode()).hexdigest()[:12]
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home directory
        return
    jax.config.update("jax_compilation_cache_dir", str(home / "tmsjax" / kind))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _kind() -> str:
    """The kind of this process's devices. Not their number: workers on a part of the machine share its programs."""
    device = jax.devices()[0]
    name = processor_name() if device.platform == "cpu" else device.device_kind
    return f"{device.platform} {name} jax {jax.__version__}"
