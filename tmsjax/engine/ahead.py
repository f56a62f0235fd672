"""Compiles an ensemble's programs for a chip that this machine does not have.

XLA's compilers for NVIDIA's GPUs and for TPUs are wheels that run on any machine. They get a description of the chip in
place of the chip; what they return cannot be executed here, but read: its memory, its text (hlo.py) and, for a GPU, its
kernels. A GPU's compiler chooses among equivalent kernels by timing them; without the GPU it takes its default.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

from tmsjax.engine import ptx
from tmsjax.engine.chips import Chip
from tmsjax.errors import RunError

EXTRAS = {"gpu": "aot-cuda", "tpu": "aot-tpu"}
LOWERED_FOR = {"gpu": "cuda", "tpu": "tpu"}
# What libtpu asks the machine for, where there is no TPU.
_NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # by several processes, as none of them uses a TPU
}


@dataclass(frozen=True)
class Launch:
    """How a GPU runs one operation: the kernel's name and body in PTX, its threads, and the assembler's view of it."""

    kernel: str
    threads: int
    instructions: ptx.Counted
    assembled: ptx.Assembled


@dataclass(frozen=True)
class Compiled:
    """A program compiled for a chip: XLA's object, and for a GPU how it runs its operations, by name.

    launches: operations that are kernels
    copies:   operations that the GPU's copy engine does
    """

    program: Any
    launches: dict[str, Launch]
    copies: frozenset[str] = frozenset()


def device(chip: Chip) -> Any:
    """A device that stands for `chip`. Raises RunError if the wheels with its compiler are not installed."""
    _check_wheels(chip)
    jax.devices()  # finds the plugins
    if chip.platform == "tpu":
        for key, value in _NO_TPU.items():
            os.environ.setdefault(key, value)
        one: dict[str, Any] = {"chips_per_host_bounds": (1, 1, 1)}
        topology = topologies.get_topology_desc(platform="tpu", topology_name=chip.topology, **one)
    else:
        description: dict[str, Any] = {"topology": "1x1x1", "target_config": chip.description}
        topology = topologies.get_topology_desc(platform="cuda", topology_name="", **description)
    return topology.devices[0]


def _check_wheels(chip: Chip) -> None:
    install = f'pip install "tmsjax[{EXTRAS[chip.platform]}]"'
    try:
        if chip.platform == "gpu":
            import jax_plugins.xla_cuda12  # noqa: F401
            import nvidia.cuda_nvcc  # noqa: F401
        else:
            import libtpu  # noqa: F401
    except ImportError as error:
        raise RunError(f"--device {chip.name}: its compiler is not installed: {install}") from error
    if chip.platform == "gpu":
        plugin, jaxlib = version("jax-cuda12-plugin"), version("jaxlib")
        if plugin != jaxlib:
            raise RunError(f"--device {chip.name}: jax-cuda12-plugin {plugin} is not for jaxlib {jaxlib}: {install}")


def compile_ahead(lowered: Any, chip: Chip, launches: bool = False) -> Compiled:
    """Compiles a lowered program for `chip`. `launches`: whether to look at a GPU's kernels as well.

    Raises RunError if a TPU's compiler finds that the program exceeds the chip's memory; a GPU's does not look.
    """
    if chip.platform == "tpu":
        try:
            with _no_cache():
                return Compiled(lowered.compile(), {})
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            first = str(error).splitlines()[0]
            raise RunError(
                f"a block does not fit {chip.title}: set engine.block lower; its compiler: {first}"
            ) from error
    options = {"xla_gpu_cuda_data_dir": str(_toolkit())}
    if not launches:
        with _no_cache():
            return Compiled(lowered.compile(compiler_options=options), {})
    with tempfile.TemporaryDirectory() as folder, _no_cache():
        program = lowered.compile(compiler_options=options | {"xla_dump_to": folder})
        return Compiled(program, dict(_launches(Path(folder))), frozenset(_copies(Path(folder))))


def _toolkit() -> Path:
    """The folder of NVIDIA's compiler."""
    import nvidia.cuda_nvcc

    return Path(nvidia.cuda_nvcc.__path__[0])


@contextmanager
def _no_cache() -> Iterator[None]:
    """Without jax's cache of programs, which cannot load one for a chip that is not here and has no dump of it."""
    before = getattr(jax.config, "jax_enable_compilation_cache", True)
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def _launches(folder: Path) -> Iterator[tuple[str, Launch]]:
    """(operation, launch) for the kernels in XLA's dump of a program.

    XLA writes a list of launches by number, the operation of each number, and a PTX file for each kernel.
    """
    files = {entry: text for path in folder.glob("*.ptx") for entry, text in _files(path.read_text())}
    numbered = dict(launch for path in folder.glob("*.thunk_sequence.txt") for launch in sequence(path.read_text()))
    ready: dict[str, tuple[ptx.Counted, ptx.Assembled]] = {}
    for path in folder.glob("*.thunk_metadata.txt"):
        for number, operation, _ in operations(path.read_text()):
            kernel, threads = numbered.get(number, ("", 0))
            if kernel not in files:
                continue
            if kernel not in ready:
                target = re.search(r"\.target (\w+)", files[kernel])
                assert target is not None
                assembled = ptx.assemble(_toolkit() / "bin" / "ptxas", files[kernel], target[1])
                ready[kernel] = ptx.count(ptx.entries(files[kernel])[kernel]), assembled
            yield operation, Launch(kernel, threads, *ready[kernel])


def _copies(folder: Path) -> Iterator[str]:
    """Operations that are copies, of a whole array or of a slice at a variable position."""
    for path in folder.glob("*.thunk_metadata.txt"):
        found = operations(path.read_text())
        yield from (operation for _, operation, kind in found if kind in ("kCopy", "kDynamicSliceFusion"))


def _files(text: str) -> Iterator[tuple[str, str]]:
    return ((entry, text) for entry in ptx.entries(text))


def sequence(text: str) -> Iterator[tuple[int, tuple[str, int]]]:
    """(number, (kernel, threads)) of the launches in XLA's list of them."""
    pattern = r"^\s*(\d+): .*\] (\w+) grid: \[(\d+), (\d+), (\d+)\] threads: \[(\d+), (\d+), (\d+)\]"
    for number, kernel, *sizes in re.findall(pattern, text, re.MULTILINE):
        threads = 1
        for size in sizes:
            threads *= int(size)
        yield int(number), (kernel, threads)


def operations(text: str) -> Iterator[tuple[int, str, str]]:
    """(number, operation, kind) of the launches, from XLA's description of them."""
    pattern = r'profile_annotation: "([^"]+)"\s+thunk_id: (\d+)\s+\}\s+thunk_kind: "(\w+)"'
    for operation, number, kind in re.findall(pattern, text):
        yield int(number), operation, kind
