"""Facts about the machine: devices, cores, memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax import Device


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_line(devices: Sequence[Device]) -> str:
    """One-line description of the devices, such as "cpu, 2 cores of AMD EPYC, jax 0.10.2"."""
    import jax

    if devices[0].platform == "cpu":
        return f"cpu, {cores()} cores of {processor_name()}, jax {jax.__version__}"
    return f"{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}"


def processor_name() -> str:
    """The processor's name as Linux gives it."""
    return _of_processor("model name") or "an unknown kind"


def processor_features() -> str:
    """The processor's instruction sets as Linux lists them, else its name."""
    return _of_processor("flags") or _of_processor("Features") or platform.processor()


def _of_processor(what: str) -> str | None:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith(what))
    except (OSError, StopIteration):
        return None


def peak_memory() -> int:
    """Peak resident memory of this process in bytes."""
    try:
        return _kilobytes("/proc/self/status", "VmHWM")
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def available_memory() -> int | None:
    """Bytes of main memory that this process may still allocate; None if unknown.

    The minimum of the system's free memory, the rest of the control group's limit and the rest of RLIMIT_AS.
    """
    limits = []
    with suppress(OSError, StopIteration):
        limits.append(_kilobytes("/proc/meminfo", "MemAvailable"))
    groups = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
    for most, used in groups:
        with suppress(OSError, ValueError):
            free = _number(f"/sys/fs/cgroup/{most}") - _number(f"/sys/fs/cgroup/{used}")
            limits.append(free + _cached(f"/sys/fs/cgroup/{used.rpartition('/')[0]}"))
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft != resource.RLIM_INFINITY:
        with suppress(OSError, StopIteration):
            limits.append(soft - _kilobytes("/proc/self/status", "VmSize"))
    return max(0, min(limits)) if limits else None


def _cached(group: str) -> int:
    """Bytes of cached files that a control group can reclaim."""
    with suppress(OSError), open(f"{group}/memory.stat") as file:
        lines = dict(line.split() for line in file)
        return int(lines.get("total_inactive_file", lines.get("inactive_file", 0)))
    return 0


def _number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


def _kilobytes(path: str, key: str) -> int:
    """The value of `key` in bytes, from a file that gives it in kB."""
    with open(path) as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))


def memory_group() -> str:
    return ""


def resident_memory(process: int) -> int | None:
    return None
