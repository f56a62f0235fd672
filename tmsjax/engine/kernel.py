"""A GPU kernel that runs many steps of elementwise work with everything in registers (Pallas, through Triton).

Knows nothing of models: each program of the kernel loads LANES elements of some arrays, repeats a step on them, and
stores them. A step sees scalars from tables that all programs share, by the step's number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Int32, Shaped

from tmsjax.kinds.arrays import Array, Count

LANES = 128  # elements of a program
WARPS = 4  # of 32 threads each

Row = Callable[[Count], list[Array]]
Step = Callable[[list[Array], Row, list[Array], list[Array]], list[Array]]


def in_registers(
    step: Step,
    arrays: Sequence[Shaped[Array, "elements"]],
    fixed: Sequence[Shaped[Array, "elements"]],
    scalars: Sequence[Shaped[Array, "steps"]],
    rows: Sequence[Shaped[Array, "steps length"]],
    count: Int32[Array, ""],
    interpret: bool = False,
) -> list[Array]:
    """`arrays` after `count` steps.

    Args:
        step: (its scalars, row, fixed, arrays) -> arrays; row(j): element j of each of its rows.
        arrays: Updated by every step.
        fixed: Read only.
        scalars: One number per step.
        rows: One row per step.
        count: At most `steps`.
        interpret: Whether to run as jax operations, on any platform and slowly.
    """
    elements = arrays[0].shape[0]
    padded = -elements % LANES
    arrays, fixed = ([jnp.pad(x, (0, padded), mode="edge") for x in each] for each in (arrays, fixed))
    lanes = pl.BlockSpec((LANES,), lambda i: (i,))
    tables = [count.reshape(1), *scalars, *rows]
    whole = [pl.BlockSpec(x.shape, lambda i, x=x: (0,) * x.ndim) for x in tables]
    given = [*tables, *fixed, *arrays]
    out = pl.pallas_call(
        partial(_kernel, step=step, sizes=(len(scalars), len(rows), len(fixed), len(arrays))),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays],
        grid=(arrays[0].shape[0] // LANES,),
        in_specs=whole + [lanes] * (len(fixed) + len(arrays)),
        out_specs=[lanes] * len(arrays),
        input_output_aliases={len(given) - len(arrays) + k: k for k in range(len(arrays))},
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
        name="train",
    )(*given)
    return [x[:elements] for x in out]


def _kernel(count: jax.Ref, *refs: jax.Ref, step: Step, sizes: tuple[int, ...]) -> None:
    scalars, rows, fixed, given, out = _parts(refs, (*sizes, sizes[-1]))
    held = [ref[...] for ref in fixed]

    def one(i: Int32[Array, ""], arrays: list[Array]) -> list[Array]:
        return step([ref[i] for ref in scalars], lambda j: [ref[i, j] for ref in rows], held, arrays)

    arrays = jax.lax.fori_loop(0, count[0], one, [ref[...] for ref in given])
    for ref, x in zip(out, arrays, strict=True):
        ref[...] = x


def _parts(refs: Sequence[jax.Ref], sizes: Sequence[int]) -> list[Sequence[jax.Ref]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(refs[start : start + size])
        start += size
    return parts
