"""Compiles a sweep for a chip that this machine does not have, and says whether it fits the chip's memory.

XLA's compilers for NVIDIA's GPUs and for TPUs are wheels that run on any machine. They take a description of the chip
in place of the chip. What they return cannot run here, but its memory and its text can be read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import jax
from jax.experimental import topologies

from tmsjax.engine.ensemble import Ensemble
from tmsjax.errors import RunError, SpecError
from tmsjax.spec import Spec, suggest

GPUS = ("h100", "h200", "a100")  # described in chips/, from openxla/xla, xla/backends/gpu/target_config/specs
TPUS = {"v5e": 16 * 10**9, "v6e": 32 * 10**9}  # bytes of memory, from docs.cloud.google.com/tpu/docs
CHIPS = (*GPUS, *TPUS)
PROGRAMS = ("init", "advance", "loss")
# What libtpu asks the machine for, where there is no TPU.
NO_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # by several processes, as none of them uses a TPU
}


@dataclass(frozen=True)
class Compiled:
    """The programs of a spec, compiled for a chip.

    Attributes:
        memory: Bytes of the chip's memory.
        ensemble: The instances on that chip, with their plan.
        programs: What XLA compiled: "init", "advance" and "loss" of a block.
    """

    memory: int
    ensemble: Ensemble
    programs: dict[str, jax.stages.Compiled]

    @property
    def unit_bytes(self) -> int:
        """Bytes to train a unit: all its blocks between segments, and the work of one program."""
        memory = {name: program.memory_analysis() for name, program in self.programs.items()}
        step = memory["advance"]
        assert step is not None  # XLA's backends all have it
        held = step.argument_size_in_bytes + step.output_size_in_bytes - step.alias_size_in_bytes
        return self.ensemble.plan.blocks * held + max(each.temp_size_in_bytes for each in memory.values() if each)

    @property
    def fits(self) -> bool:
        """Whether the chip's memory holds a unit."""
        return self.unit_bytes <= self.memory


def compile_for(spec: Spec, chip: str) -> Compiled:
    """Compiles the programs of `spec` for one of CHIPS.

    Raises:
        SpecError: There is no such chip, or it cannot train the spec.
        RunError: The chip's compiler is not installed, or it says that a program exceeds the chip's memory.
    """
    if chip not in CHIPS:
        raise SpecError("--device", [("", f"{chip!r} is not known{suggest(chip, list(CHIPS))}")])
    _check_wheels(chip)
    jax.devices()  # finds the plugins
    options, described = {}, ""
    if chip in GPUS:
        import nvidia.cuda_nvcc

        options = {"xla_gpu_cuda_data_dir": nvidia.cuda_nvcc.__path__[0]}
        described = files("tmsjax.engine").joinpath(f"chips/{chip}.txtpb").read_text(encoding="utf-8")
        gpu: dict[str, Any] = {"topology": "1x1x1", "target_config": described}
        topology = topologies.get_topology_desc(platform="cuda", topology_name="", **gpu)
    else:
        for key, value in NO_TPU.items():
            os.environ.setdefault(key, value)
        tpu: dict[str, Any] = {"chips_per_host_bounds": (1, 1, 1)}
        topology = topologies.get_topology_desc(platform="tpu", topology_name=f"{chip}:1x1", **tpu)
    ensemble = Ensemble(spec, devices=topology.devices[:1])
    platform = "cuda" if chip in GPUS else "tpu"
    lowered = {name: ensemble.programs.lowered(name, ensemble.devices[0], platform) for name in PROGRAMS}
    try:
        with _no_cache():
            programs = {name: each.compile(compiler_options=options) for name, each in lowered.items()}
    except jax.errors.JaxRuntimeError as error:  # a TPU's compiler checks its memory, a GPU's does not
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise RunError(f"a block does not fit {chip}: set engine.block lower; its compiler: {reason}") from error
    memory = TPUS.get(chip) or int(re.findall(r"device_memory_size: (\d+)", described)[0])
    return Compiled(memory, ensemble, programs)


def _check_wheels(chip: str) -> None:
    install = f'pip install "tmsjax[{"aot-cuda" if chip in GPUS else "aot-tpu"}]"'
    try:
        if chip in GPUS:
            import jax_plugins.xla_cuda12  # noqa: F401
            import nvidia.cuda_nvcc  # noqa: F401
        else:
            import libtpu  # noqa: F401
    except ImportError as error:
        raise RunError(f"--device {chip}: its compiler is not installed: {install}") from error
    if chip in GPUS and version("jax-cuda12-plugin") != version("jaxlib"):
        plugin, jaxlib = version("jax-cuda12-plugin"), version("jaxlib")
        raise RunError(f"--device {chip}: jax-cuda12-plugin {plugin} is not for jaxlib {jaxlib}: {install}")


@contextmanager
def _no_cache() -> Iterator[None]:
    """Without jax's cache of programs, which cannot load one for a chip that is not here."""
    before = getattr(jax.config, "jax_enable_compilation_cache", True)
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
