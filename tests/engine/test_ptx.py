"""Counts of instructions in PTX, on small kernels written by hand."""

import pytest

from tmsjax.engine import ahead, ptx

KERNEL = """
.version 8.7
.target sm_90a
.address_size 64

.visible .entry loop_add_fusion(
	.param .u64 .ptr .align 16 loop_add_fusion_param_0
)
.reqntid 128, 1, 1
{
BODY
}
"""
STRAIGHT = """
	.reg .b32 	%r<9>;
	ld.param.b64 	%rd1, [loop_add_fusion_param_0];
	// begin inline asm
	{ mov.u32 %r1, 0; add.s32 %r2, %r1, 1; }
	// end inline asm
	@%p1 bra 	$L__BB0_9;
	st.global.b32 	[%rd1], %r2;
$L__BB0_9:
	ret;
"""


def loop(start: str, *lines: str) -> str:
    """A loop over `lines` whose counter %r1 starts at `start`, and one instruction before and after it."""
    return "\n".join([f"\tmov.b32 \t%r1, {start};", "$L__BB0_1:", *(f"\t{line};" for line in lines), "\tret;"])


GROW, AGAIN = "add.s32 %r1, %r1, 16", "@%p1 bra $L__BB0_1"
LOOPS = {  # turns or None, instructions in a turn
    "grows, then is compared": (loop("0", GROW, "setp.lt.u32 %p1, %r1, 64", AGAIN), 4, 3),
    "compared with <=": (loop("0", GROW, "setp.le.u32 %p1, %r1, 64", AGAIN), 5, 3),
    "compared before it grows": (loop("0", "setp.lt.u32 %p1, %r1, 48", GROW, AGAIN), 4, 3),
    "through a cast and a move": (
        loop(
            "8",
            "add.s64 %r2, %r1, 4",
            "cvt.u32.u64 %r3, %r2",
            "setp.ne.b32 %p1, %r3, 20",
            "mov.b32 %r1, %r2",
            AGAIN,
        ),
        3,
        5,
    ),
    "another register is compared": (loop("0", "setp.lt.u32 %p1, %r7, 48", GROW, AGAIN), None, 3),
    "compared with a register": (loop("0", GROW, "setp.lt.u32 %p1, %r1, %r7", AGAIN), None, 3),
    "starts at a register": (loop("%r5", GROW, "setp.lt.u32 %p1, %r1, 64", AGAIN), None, 3),
    "an endless one": (loop("0", GROW, "bra.uni $L__BB0_1"), None, 2),
}


def test_directives_labels_and_comments_are_no_instructions_and_both_branches_count():
    assert ptx.count(ptx.entries(KERNEL.replace("BODY", STRAIGHT.strip("\n")))["loop_add_fusion"]) == ptx.Counted(6, 0)


@pytest.mark.parametrize("case", LOOPS)
def test_a_loop_counts_as_often_as_its_bound_says(case):
    body, turns, each = LOOPS[case]
    expected = ptx.Counted(2 + turns * each, 0) if turns else ptx.Counted(2, each)
    assert ptx.count(body) == expected


def test_loops_in_loops_multiply():
    body = "\n".join(
        [
            "\tmov.b32 \t%r1, 0;",
            "$L__BB0_1:",
            "\tmov.b32 \t%r2, 0;",
            "$L__BB0_2:",
            "\tadd.s32 \t%r2, %r2, 1;",
            "\tsetp.ne.s32 \t%p2, %r2, 10;",
            "\t@%p2 bra \t$L__BB0_2;",
            "\tadd.s32 \t%r1, %r1, 1;",
            "\tsetp.ne.s32 \t%p1, %r1, 3;",
            "\t@%p1 bra \t$L__BB0_1;",
        ]
    )
    assert ptx.count(body) == ptx.Counted(1 + 3 * (1 + 10 * 3 + 3), 0)


def test_registers_and_spills_from_what_ptxas_says():
    said = """ptxas info    : Compiling entry function 'f' for 'sm_90a'
ptxas info    : Function properties for f
    48 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 48 bytes cumulative stack size"""
    assert ptx.spoken(said) == ptx.Assembled(255, 56)


def test_launches_from_what_xla_writes():
    text = """000: kCommandBuffer [source | next=038 (1)]
    012: kCustomKernel [source        | next=016 (12)] wrapped_slice grid: [2000, 1, 1] threads: [128, 1, 1]  shared: 0
        013: kCopy         [source        | sink         ] kCopy
"""
    assert dict(ahead.sequence(text)) == {12: ("wrapped_slice", 256000)}
    text = 'thunk_info {\n    profile_annotation: "copy.2"\n    thunk_id: 13\n  }\n  thunk_kind: "kCopy"\n}'
    assert list(ahead.operations(text)) == [(13, "copy.2", "kCopy")]
