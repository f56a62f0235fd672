"""Chips that programs can be compiled for without having one (see ahead.py): their rates and memory, with sources.

A GPU's rates come from XLA's description of it, a text file in chips/ that XLA's compiler reads as well. A TPU's come
from Google Cloud's documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from tmsjax.errors import SpecError
from tmsjax.spec import suggest

XLA_SPECS = "openxla/xla, xla/backends/gpu/target_config/specs"
TPU_PAGES = "docs.cloud.google.com/tpu/docs"


@dataclass(frozen=True)
class Chip:
    """A kind of device.

    name:        as in `tmsjax info --device`
    title:       the maker's name
    platform:    "gpu" or "tpu"
    memory:      bytes
    bandwidth:   of its memory, bytes/s
    lanes:       instructions/s, counted for each thread: cores x lanes x clock; 0 if unknown (TPU)
    threads:     cores x lanes: fewer threads cannot reach this rate
    cache:       bytes of the cache between its cores and its memory; 0 if the compiler places arrays itself (TPU)
    matrix:      peak of its matrix units in bfloat16, operations/s; 0 if not stated (GPU)
    clock:       cycles/s of a TPU; 0 if unknown, and for a GPU, whose clock is in `lanes`
    source:      where these rates stand
    topology:    its name for libtpu; "" for a GPU
    """

    name: str
    title: str
    platform: str
    memory: int
    bandwidth: float
    lanes: float
    threads: int
    cache: int
    matrix: float
    clock: float
    source: str
    topology: str = ""

    @cached_property
    def description(self) -> str:
        """XLA's description of a GPU."""
        return files("tmsjax.engine").joinpath(f"chips/{self.name}.txtpb").read_text(encoding="utf-8")


CHIPS = ("h100", "h200", "a100", "v5e", "v6e")
_GPU_FILES = {"h100": "h100_sxm.txtpb", "h200": "h200.txtpb", "a100": "a100_sxm_80.txtpb"}
V5E_CLOCK = 1.5e9  # 197e12 operations/s of 4 matrix units with 128 x 128 cells of 2 operations
_TPUS = {
    "v5e": Chip("v5e", "TPU v5e", "tpu", 16 * 10**9, 819e9, 0, 0, 0, 197e12, V5E_CLOCK, f"{TPU_PAGES}/v5e", "v5e:1x1"),
    "v6e": Chip("v6e", "TPU v6e", "tpu", 32 * 10**9, 1638e9, 0, 0, 0, 918e12, 0, f"{TPU_PAGES}/v6e", "v6e:1x1"),
}


def chip(name: str) -> Chip:
    """The chip called `name`. Raises SpecError, with the allowed names, if there is none."""
    if name in _TPUS:
        return _TPUS[name]
    if name not in _GPU_FILES:
        raise SpecError("--device", [("", f"{name!r} is not known{suggest(name, list(CHIPS))}")])
    text = files("tmsjax.engine").joinpath(f"chips/{name}.txtpb").read_text(encoding="utf-8")
    threads = int(_number(text, "core_count") * _number(text, "fpus_per_core"))
    lanes = threads * _number(text, "clock_rate_ghz") * 1e9
    title = re.search(r'device_description_str: "(.*)"', text)
    assert title is not None
    source = f"{XLA_SPECS}/{_GPU_FILES[name]}"
    memory, cache = int(_number(text, "device_memory_size")), int(_number(text, "l2_cache_size"))
    return Chip(name, title[1], "gpu", memory, _number(text, "memory_bandwidth"), lanes, threads, cache, 0, 0, source)


def _number(text: str, key: str) -> float:
    found = re.search(rf"^\s*{key}: ([\d.]+)$", text, re.MULTILINE)
    assert found is not None, key
    return float(found[1])
