"""Counts of a compiled step, on small programs written by hand."""

import pytest

from tmsjax.engine import hlo, listing

# A step of 1000 numbers in a loop of unknown length: a kernel, a copy, and a loop of 4 turns over parts of 250 numbers.
STEP = """
HloModule jit_strict, is_scheduled=true

%part (p0: f32[1000], p1: s32[], p2: f32[250]) -> f32[250] {
  %p0 = f32[1000]{0} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = f32[250]{0} parameter(2)
  %slice.1 = f32[250]{0} dynamic-slice(%p0, %p1), dynamic_slice_sizes={250}
  ROOT %add.1 = f32[250]{0} add(%slice.1, %p2), metadata={op_name="jit(strict)/while/body/vmap()/while/body/add"}
}

%next (p0.1: s32[]) -> s32[] {
  %p0.1 = s32[] parameter(0)
  %one = s32[] constant(1)
  ROOT %add.2 = s32[] add(%p0.1, %one)
}

%inner_body (arg: (s32[], f32[250], f32[1000])) -> (s32[], f32[250], f32[1000]) {
  %arg = (s32[], f32[250]{0}, /*index=2*/f32[1000]{0}) parameter(0)
  %k = s32[] get-tuple-element(%arg), index=0
  %sum = f32[250]{0} get-tuple-element(%arg), index=1
  %all = f32[1000]{0} get-tuple-element(%arg), index=2
  %fusion.1 = f32[250]{0} fusion(%all, %k, %sum), kind=kLoop, calls=%part
  %fusion.2 = s32[] fusion(%k), kind=kLoop, calls=%next
  ROOT %tuple.1 = (s32[], f32[250]{0}, f32[1000]{0}) tuple(%fusion.2, %fusion.1, %all)
}

%inner_condition (arg.1: (s32[], f32[250], f32[1000])) -> pred[] {
  %arg.1 = (s32[], f32[250]{0}, f32[1000]{0}) parameter(0)
  %k.1 = s32[] get-tuple-element(%arg.1), index=0
  %four = s32[] constant(4)
  ROOT %less = pred[] compare(%k.1, %four), direction=LT
}

%update (p0.2: f32[1000]) -> f32[1000] {
  %p0.2 = f32[1000]{0} parameter(0)
  ROOT %exp.1 = f32[1000]{0} exponential(%p0.2), metadata={op_name="jit(strict)/while/body/vmap()/exp"}
}

%body (state: (s32[], f32[1000], f32[250])) -> (s32[], f32[1000], f32[250]) {
  %state = (s32[], f32[1000]{0}, f32[250]{0}) parameter(0)
  %done = s32[] get-tuple-element(%state), index=0
  %W = f32[1000]{0} get-tuple-element(%state), index=1
  %g = f32[250]{0} get-tuple-element(%state), index=2
  %W.1 = f32[1000]{0} fusion(%W), kind=kLoop, calls=%update
  %W.2 = f32[1000]{0} bitcast(%W.1)
  %copy.1 = f32[250]{0} copy(%g)
  %tuple.2 = (s32[], f32[250]{0}, f32[1000]{0}) tuple(%done, %copy.1, %W.2)
  %while.1 = (s32[], f32[250]{0}, f32[1000]{0}) while(%tuple.2), condition=%inner_condition, body=%inner_body, \
metadata={op_name="jit(strict)/while/body/vmap()/while"}
  %g.1 = f32[250]{0} get-tuple-element(%while.1), index=1
  %done.1 = s32[] fusion(%done), kind=kLoop, calls=%next
  ROOT %tuple.3 = (s32[], f32[1000]{0}, f32[250]{0}) tuple(%done.1, %W.2, %g.1)
}

%condition (state.1: (s32[], f32[1000], f32[250])) -> pred[] {
  %state.1 = (s32[], f32[1000]{0}, f32[250]{0}) parameter(0)
  %done.2 = s32[] get-tuple-element(%state.1), index=0
  %stop = s32[] get-tuple-element(%state.1), index=0
  ROOT %less.1 = pred[] compare(%done.2, %stop), direction=LT
}

ENTRY %main (a: s32[], b: f32[1000], c: f32[250]) -> f32[1000] {
  %a = s32[] parameter(0)
  %b = f32[1000]{0} parameter(1)
  %c = f32[250]{0} parameter(2)
  %before = f32[1000]{0} copy(%b)
  %tuple.4 = (s32[], f32[1000]{0}, f32[250]{0}) tuple(%a, %before, %c)
  %while.2 = (s32[], f32[1000]{0}, f32[250]{0}) while(%tuple.4), condition=%condition, body=%body, \
metadata={op_name="jit(strict)/while"}
  ROOT %W.3 = f32[1000]{0} get-tuple-element(%while.2), index=1
}
"""
# The same step in a loop of 8 steps, inside a loop of unknown length that adds one copy of W, then a loop for the rest.
OUTER = """
%eight (state.2: (s32[], f32[1000], f32[250])) -> pred[] {
  %state.2 = (s32[], f32[1000]{0}, f32[250]{0}) parameter(0)
  %k.2 = s32[] get-tuple-element(%state.2), index=0
  %limit = s32[] constant(100)
  ROOT %less.2 = pred[] compare(%k.2, %limit), direction=LT
}

%several (state.3: (s32[], f32[1000], f32[250])) -> (s32[], f32[1000], f32[250]) {
  %state.3 = (s32[], f32[1000]{0}, f32[250]{0}) parameter(0)
  %W.4 = f32[1000]{0} get-tuple-element(%state.3), index=1
  %copy.2 = f32[1000]{0} copy(%W.4)
  ROOT %while.3 = (s32[], f32[1000]{0}, f32[250]{0}) while(%state.3), condition=%eight, body=%body, \
metadata={op_name="jit(strict)/while/body/while"}, backend_config={"known_trip_count":{"n":"8"}}
}

ENTRY %main (a: (s32[], f32[1000], f32[250])) -> (s32[], f32[1000], f32[250]) {
  %a = (s32[], f32[1000]{0}, f32[250]{0}) parameter(0)
  %while.2 = (s32[], f32[1000]{0}, f32[250]{0}) while(%a), condition=%condition, body=%several, \
metadata={op_name="jit(strict)/while"}
  ROOT %while.4 = (s32[], f32[1000]{0}, f32[250]{0}) while(%while.2), condition=%condition, body=%body, \
metadata={op_name="jit(strict)/while"}
}
"""
SEGMENT = """
ENTRY %main (W: f32[64,2], stop: s32[]) -> f32[64,2] {
  %W = f32[64,2]{1,0} parameter(0)
  %stop = s32[] parameter(1)
  ROOT %segment = f32[64,2]{1,0} custom-call(%W, %stop), custom_call_target="__gpu$xla.gpu.triton"
}
"""


def counted(text: str) -> dict:
    """{name: (bytes, launches a step, depth)} of a program's step."""
    return {k.name: (k.bytes, k.times, k.depth) for k in listing.step(hlo.read(text)).kernels}


def test_a_step_is_the_loop_around_the_vmap_and_its_own_loops_count_turn_by_turn():
    assert counted(STEP) == {
        "W.1": (8000, 1, 0),
        "copy.1": (2000, 1, 0),
        "fusion.1": (1000 + 4 + 1000 + 1000, 4, 1),  # of the 1000 numbers only a slice
        "fusion.2": (8, 4, 1),
        "done.1": (8, 1, 0),
        "less.1": (9, 1, 0),  # the condition, since the loop's length is unknown
    }
    step = listing.step(hlo.read(STEP))
    assert (step.reads, step.unknown) == (1, 0)


def test_what_a_loop_around_several_steps_adds_is_divided_among_them():
    text = STEP[: STEP.index("ENTRY")] + OUTER.strip()
    one = counted(STEP)
    several = counted(text)
    assert several.pop("copy.2") == (8000, 1 / 8, 0)
    assert several.pop("less.1") == (9, 1 / 8, 0)
    one.pop("less.1")
    assert several == one
    assert listing.step(hlo.read(text)).reads == 1 / 8


def test_a_program_without_a_loop_over_steps_counts_as_a_whole():
    step = listing.step(hlo.read(SEGMENT))
    assert [(k.name, k.opcode, k.bytes, k.times) for k in step.kernels] == [("segment", "custom-call", 1028, 1)]


def test_a_loop_of_unknown_length_counts_as_one_turn_and_is_reported():
    text = STEP.replace("direction=LT\n}\n\n%update", "direction=GT\n}\n\n%update")
    step = listing.step(hlo.read(text))
    assert step.unknown == 1
    assert {k.name: k.times for k in step.kernels}["fusion.1"] == 1


def test_the_compilers_trip_count_precedes_the_condition():
    text = STEP.replace(
        'vmap()/while"}\n  %g.1', 'vmap()/while"}, backend_config={"known_trip_count":{"n":"7"}}\n  %g.1'
    )
    assert counted(text)["fusion.1"][1] == 7


@pytest.mark.parametrize(
    ("body", "bytes_"),
    [
        ("%x = f32[10]{0} negate(%a)", 80),
        ("%x = f32[10]{0} add(%a, %a)", 80),  # read once
        ("%x = f32[10]{0:T(128)S(1)} negate(%a)", 40),  # its output stays on the chip
        ("%x = (f32[10]{0:S(1)}, f32[10]{0}, u32[]{:S(2)}) copy-start(%a)", 40),
        ("%x = ((f32[10]{0}), f32[4]{0:S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:4]}", 16),
        ("%x = f32[3]{0} slice(%a), slice={[0:3]}", 24),
        ("%x = f32[10]{0} fusion(%a, %b), kind=kLoop, calls=%in_place", 16),
        ("%x = (bf16[10]{0}, pred[10]{0}) custom-call(%a, %b)", 20 + 10 + 40 + 8),
        ("%x = f32[10]{0} bitcast(%a)", None),
        ('%x = f32[10]{0} custom-call(%a), custom_call_target="ConcatBitcast"', None),
        ("%x = f32[10]{0} copy-done(%a)", None),
    ],
)
def test_bytes_of_an_operation(body, bytes_):
    text = f"""
%in_place (p0: f32[10], p1: f32[2]) -> f32[10] {{
  %p0 = f32[10]{{0}} parameter(0)
  %p1 = f32[2]{{0}} parameter(1)
  %at = s32[] constant(3)
  ROOT %new = f32[10]{{0}} dynamic-update-slice(%p0, %p1, %at)
}}

ENTRY %main (a: f32[10], b: f32[2]) -> f32[10] {{
  %a = f32[10]{{0}} parameter(0)
  %b = f32[2]{{0}} parameter(1)
  ROOT {body}
}}
"""
    assert counted(text) == ({} if bytes_ is None else {"x": (bytes_, 1, 0)})


def test_operations_that_a_sweep_must_not_have_are_found():
    text = """
ENTRY %main (a: f64[10]) -> f64[10] {
  %a = f64[10]{0} parameter(0)
  %sum = f64[10]{0} all-reduce-start(%a), to_apply=%add
  %call = f64[10]{0} custom-call(%a), custom_call_target="xla_ffi_python_gpu_callback"
  ROOT %out = f64[10]{0} negate(%sum)
}
"""
    program = hlo.read(text)
    assert listing.collectives(program) == {"all-reduce-start"}
    assert listing.callbacks(program) == {"call"}
    assert listing.dtypes(program) == {"f64"}
    assert not listing.callbacks(hlo.read(STEP))


def test_a_tpus_estimate_of_cycles_is_read():
    text = SEGMENT.replace('triton"', 'triton", backend_config={"window_config":{"estimated_cycles":"48140"}}')
    assert [k.cycles for k in listing.step(hlo.read(text)).kernels] == [48140]
