"""Memory that this process may use: control groups of both kinds, in fake trees of /proc and /sys."""

import os
import resource
from pathlib import Path

import pytest

from tmsjax.engine import available_memory, machine, memory_group, resident_memory

MB = 10**6
NONE = {"cgroup": str(2**63 - 4096), "cgroup2": "max"}  # as the kernel writes that there is no limit
MOUNTS = {
    "cgroup": "31 23 0:28 / /elsewhere rw - tmpfs tmpfs rw\n35 31 0:32 {root} {folder} rw - cgroup cgroup rw,memory\n",
    "cgroup2": "41 31 0:38 {root} {folder} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
}
NAMES = {"cgroup": "3:cpuset:/elsewhere\n4:memory,hugetlb:{name}\n0::/elsewhere\n", "cgroup2": "0::{name}\n"}


@pytest.fixture
def machine_at(tmp_path, monkeypatch):
    """Makes a machine of 8 GB with control groups: (kind, name, folder: limit or None, ...)."""
    monkeypatch.setattr(machine, "PROC", str(tmp_path / "proc"))
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")

    def make(kind: str, name: str, groups: dict[str, int | None], root: str = "/") -> Path:
        mounted = tmp_path / "sys fs"
        for group, limit in groups.items():
            add_group(mounted / group, kind, limit)
        folder = str(mounted).replace(" ", "\\040")
        (tmp_path / "proc/self/cgroup").write_text(NAMES[kind].format(name=name))
        (tmp_path / "proc/self/mountinfo").write_text(MOUNTS[kind].format(root=root, folder=folder))
        return mounted

    return make


def add_group(folder: Path, kind: str, limit: int | None) -> None:
    """A group that uses 300 MB, of which 100 MB are cached files."""
    folder.mkdir(parents=True, exist_ok=True)
    limit_file, usage_file, cached = machine.MEMORY_FILES[kind]
    (folder / limit_file).write_text(f"{NONE[kind] if limit is None else limit}\n")
    (folder / usage_file).write_text(f"{300 * MB}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cached} {100 * MB}\n")


@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
@pytest.mark.parametrize(
    ("groups", "least", "nearest"),
    [
        ({".": None, "slurm": None, "slurm/job": 900}, 700, "slurm/job"),
        ({".": None, "slurm": 900, "slurm/job": None}, 700, "slurm"),
        ({".": None, "slurm": 900, "slurm/job": 1500}, 700, "slurm/job"),
        ({".": 500, "slurm/job": 1500}, 300, "slurm/job"),
        ({".": None, "slurm": None, "slurm/job": None}, 8192, ""),
        ({".": 250, "slurm": None}, 50, "."),
    ],
)
def test_the_least_limit_of_a_group_and_its_parents_counts(machine_at, kind, groups, least, nearest):
    mounted = machine_at(kind, "/slurm/job", {name: limit and limit * MB for name, limit in groups.items()})
    assert available_memory() == pytest.approx(least * MB)
    assert memory_group() == (str(mounted / nearest) if nearest else "")


@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
@pytest.mark.parametrize(
    ("name", "root"),
    [("/docker/a1b2", "/docker/a1b2"), ("/", "/"), ("/", "/docker/a1b2"), ("/docker/a1b2", "/../.."), ("/../x", "/")],
)
def test_containers_see_their_own_group_at_the_top(machine_at, kind, name, root):
    mounted = machine_at(kind, name, {".": 900 * MB}, root)
    assert available_memory() == 700 * MB
    assert memory_group() == str(mounted)


def test_of_both_kinds_at_once_the_lesser_limit_counts(machine_at, tmp_path):
    first = machine_at("cgroup", "/job", {"job": 900 * MB})
    second = tmp_path / "unified"
    add_group(second / "slice", "cgroup2", 700 * MB)
    for file, line in (("cgroup", "0::/slice\n"), ("mountinfo", MOUNTS["cgroup2"].format(root="/", folder=second))):
        with (tmp_path / "proc" / "self" / file).open("a") as lines:
            lines.write(line)
    assert available_memory() == 500 * MB
    assert memory_group() == str(first / "job")


def test_a_machine_that_tells_nothing_has_unknown_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "PROC", str(tmp_path))
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        assert available_memory() is None
    assert memory_group() == ""


def test_resident_memory_of_processes():
    here, peak = resident_memory(os.getpid()), machine.peak_memory()
    assert here is not None
    assert 50 * MB < here <= 1.1 * peak
    assert resident_memory(2**22 + 1) is None
