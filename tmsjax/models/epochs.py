"""Epochs over the rows of a file: in which order training sees them.

An epoch of N rows in batches of B has N // B steps, and leaves out the rows that do not fill a batch: other ones in each
epoch. Nothing is stored: a permutation of 0 ... N - 1 gives the row at each position of an epoch, and each instance adds
an offset of its own modulo N.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt32

from tmsjax.kinds.arrays import Array, Count
from tmsjax.models.training_set import mixed

ROUNDS = 32


def epoch(step: int | Count, rows: int, batch: int) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
    """(number of the epoch that step `step` belongs to, position in it of the step's first sample)."""
    step, steps = jnp.asarray(step).astype(jnp.uint32), np.uint32(rows // batch)
    return step // steps, (step % steps) * np.uint32(batch)


def permuted(
    position: UInt32[Array, "samples"], keys: tuple[UInt32[Array, "rounds"], UInt32[Array, "rounds"]], rows: int
) -> UInt32[Array, "samples"]:
    """The row at each position: a random permutation of `rows` numbers, computed for single ones.

    The swap-or-not shuffle (Hoang, Morris and Rogaway 2012): every round pairs each number with another, and swaps both
    or neither. `keys`: two random words per round.
    """
    x, n = position, np.uint32(rows)
    for k in range(ROUNDS):
        partner = (keys[0][k] % n + (n - x)) % n
        swaps = mixed(jnp.maximum(x, partner) ^ keys[1][k]) >> np.uint32(31)
        x = jnp.where(swaps == 1, partner, x)
    return x
