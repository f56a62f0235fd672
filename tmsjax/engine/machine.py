"""Facts about the machine: devices, cores, memory."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jax import Device

PROC = "/proc"
MEMORY_FILES = {  # limit, usage, and the statistic of files that can be reclaimed
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
}
UNLIMITED = 2**62


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

    The minimum of the system's free memory, the rest of the limit of each of its control groups and the rest of
    RLIMIT_AS.
    """
    limits = []
    with suppress(OSError, StopIteration):
        limits.append(_kilobytes(f"{PROC}/meminfo", "MemAvailable"))
    limits += [limit - used for _, limit, used in _limited_groups()]
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft != resource.RLIM_INFINITY:
        with suppress(OSError, StopIteration):
            limits.append(soft - _kilobytes(f"{PROC}/self/status", "VmSize"))
    return max(0, min(limits)) if limits else None


def memory_group() -> str:
    """The folder of the nearest control group that limits this process's memory, "" if none does.

    Processes of one machine with the same group share its memory.
    """
    return next((str(group) for group, _, _ in _limited_groups()), "")


def resident_memory(pid: int) -> int | None:
    """Resident memory of a process of this machine in bytes; None if unknown."""
    try:
        pages = int(Path(f"{PROC}/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * resource.getpagesize()


def _limited_groups() -> Iterator[tuple[Path, int, int]]:
    """The control groups of this process that limit memory, inner ones first: (folder, limit, bytes in use).

    Files that the kernel has cached do not count as in use.
    """
    for kind, name in _memberships():
        limit_file, usage_file, cached = MEMORY_FILES[kind]
        for root, mounted in _mounts(kind):
            inside = Path(name).relative_to(root) if Path(name).is_relative_to(root) else Path()
            for group in (mounted / inside, *(mounted / inside).parents):
                if not group.is_relative_to(mounted):
                    break
                with suppress(OSError, ValueError):  # a group of another namespace; "max"
                    limit, used = (int((group / file).read_text()) for file in (limit_file, usage_file))
                    if limit < UNLIMITED:
                        yield group, limit, used - _statistics(group).get(cached, 0)


def _memberships() -> Iterator[tuple[str, str]]:
    """The names of this process's groups that may limit memory: ("cgroup" or "cgroup2", name)."""
    with suppress(OSError):
        for line in Path(f"{PROC}/self/cgroup").read_text().splitlines():
            number, controllers, name = line.split(":", 2)
            if "memory" in controllers.split(","):
                yield "cgroup", name
            elif number == "0":
                yield "cgroup2", name


def _mounts(kind: str) -> Iterator[tuple[str, Path]]:
    """Where the groups are mounted: (the group at the top of the mount, its folder)."""
    with suppress(OSError):
        for line in Path(f"{PROC}/self/mountinfo").read_text().splitlines():
            mount, _, kernel = line.partition(" - ")
            file_system, _, options = kernel.split(" ", 2)
            if file_system == kind and (kind == "cgroup2" or "memory" in options.split(",")):
                root, folder = mount.split()[3:5]
                yield root, Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), folder))


def _statistics(group: Path) -> dict[str, int]:
    with suppress(OSError):
        return {key: int(value) for key, value in map(str.split, (group / "memory.stat").read_text().splitlines())}
    return {}


def _kilobytes(path: str, key: str) -> int:
    """The value of `key` in bytes, from a file that gives it in kB."""
    with open(path) as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))
