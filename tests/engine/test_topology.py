"""Sweeps compile for GPUs and TPUs that are not here, and fit; the flagship's step stays as lean as it was.

`bash scripts/test.sh --devices` runs the tests marked devices, with the compilers of the extras aot-cuda and aot-tpu.
"""

import math
import re

import pytest
from conftest import ROOT, small_spec

from tmsjax.engine.topology import Compiled, compile_for
from tmsjax.runs import estimate_for
from tmsjax.spec import load_spec

FLAGSHIP = "one_neuron_relu"
# (kernels, bytes) in a turn of the flagship's innermost loop, by jax 0.10.2 at commit f2fa6f2. A turn is a step; of the
# Pallas kernel 256 steps. docs/devices.md has the same bytes a step; its launches include those of each chunk of steps.
TURNS = {
    (FLAGSHIP, "h100"): (4, 192_520_612),
    (FLAGSHIP, "v5e"): (8, 98_304_072),
    (f"{FLAGSHIP} pallas", "h100"): (10, 151_830_580),
}
ARRAY = re.compile(r"[a-z]+(\d*)\[([\d,]*)\](?:\{([^}]*)\})?")  # f32[1000]{0:T(1024)S(1)}; S(n): on the chip
OPERATION = re.compile(r"%([\w.-]+) = (.*?) ([a-z][a-z-]*)\((.*?)\)(.*)")


def turn(text: str) -> tuple[int, int]:
    """(kernels, bytes that they read and write in main memory) in the body of a program's innermost loop."""
    computations = dict(re.findall(r"^%([\w.-]+) \(.*\{\n((?:  .*\n)+)\}", text, re.MULTILINE))
    (body,) = (b for name in set(re.findall(r"body=%([\w.-]+)", text)) if " while(" not in (b := computations[name]))
    operations = OPERATION.findall(body)
    shapes = {name: shape for name, shape, *_ in operations}
    kernels = moved = 0
    for _, shape, opcode, operands, rest in operations:
        if opcode in ("copy-start", "slice-start"):  # (from, to), one of them on the chip
            moved += min(size(array) for array in ARRAY.findall(shape)[:2])
        elif opcode in ("fusion", "copy", "custom-call") and "ConcatBitcast" not in rest:
            kernels += 1
            touched = [shape, *(shapes[name] for name in set(re.findall(r"%([\w.-]+)", operands)))]
            moved += sum(size(array) for each in touched for array in ARRAY.findall(each) if "S(" not in array[2])
    return kernels, moved


def size(array: tuple[str, str, str]) -> int:
    bits, dims, _ = array
    return math.prod(map(int, filter(None, dims.split(",")))) * int(bits or 8) // 8  # pred: a byte


@pytest.fixture(scope="module")
def compiled():
    """(sweep, or sweep and kernel; chip) -> its programs, compiled once."""
    kept: dict[tuple[str, str], Compiled] = {}

    def of(name: str, chip: str) -> Compiled:
        if (name, chip) not in kept:
            sweep, _, kernel = name.partition(" ")
            spec = load_spec(ROOT / "sweeps" / f"{sweep}.toml", [f"engine.kernel={kernel}"] if kernel else [])
            kept[name, chip] = compile_for(spec, chip)
        return kept[name, chip]

    return of


@pytest.mark.devices
@pytest.mark.parametrize(
    ("name", "chip"),
    [*((sweep, chip) for sweep in (FLAGSHIP, "three_features", "geometry") for chip in ("h100", "v5e")),
     (f"{FLAGSHIP} pallas", "h100"), *((FLAGSHIP, chip) for chip in ("h200", "a100", "v6e"))],
)  # fmt: skip
def test_a_sweep_compiles_for_a_chip_and_fits_it(compiled, name, chip):
    found = compiled(name, chip)
    assert found.fits
    assert found.ensemble.plan.kernel == (name.partition(" ")[2] or "xla")
    text = found.programs["advance"].as_text()
    assert "f64[" not in text
    assert "callback" not in text
    assert "all-reduce" not in text
    if (name, chip) in TURNS:
        kernels, moved = turn(text)
        assert kernels <= 1.1 * TURNS[name, chip][0]
        assert moved <= 1.1 * TURNS[name, chip][1]
        assert moved > 0.5 * TURNS[name, chip][1], "the count still finds the arrays"


@pytest.mark.devices
def test_a_unit_that_is_too_large_is_told():
    axes = {"feature_probability": {"log": [1.0, 0.1], "count": 50}, "replica": {"count": 10**7}}
    told = estimate_for(load_spec(small_spec(axes=axes, engine={"unit": 2**40})), "v5e")
    assert "DOES NOT FIT" in told["device memory"]
    assert told["device"].startswith("v5e, not here")


def test_kernels_and_bytes_of_a_turn_are_counted():
    text = """
%body (p: (s32[], f32[10], f32[10])) -> (s32[], f32[10], f32[10]) {
  %p = (s32[], f32[10]{0}, /*index=2*/f32[10]{0:T(8)S(1)}) parameter(0)
  %a = f32[10]{0} get-tuple-element(%p), index=1
  %b = f32[10]{0:T(8)S(1)} get-tuple-element(%p), index=2
  %c = (f32[10]{0:S(1)}, f32[10]{0}, u32[]{:S(2)}) copy-start(%a)
  %d = (pred[10]{0}, bf16[4]{0}) fusion(%a, %b, %a), kind=kLoop, calls=%inside
  %e = f32[10]{0:S(1)} custom-call(%b, %b), custom_call_target="ConcatBitcast"
  ROOT %t = (s32[], f32[10]{0}, f32[10]{0}) tuple(%a, %b)
}

ENTRY %main (x: f32[10]) -> f32[10] {
  %w = (s32[], f32[10]{0}, f32[10]{0}) while(%x), condition=%test, body=%body
}
"""
    assert turn(text) == (1, 40 + 10 + 8 + 40)
