"""Finite training sets: which samples a step sees, and the random bits of each.

A set of T samples for batches of B has C = ceil(T / B) parts. Part c holds the samples c, c + C, c + 2C, ..., at most
B, and step k trains on part k mod C: on all samples if T <= B, otherwise an epoch is C steps, always in the same order.
Nothing is stored: all instances share B words per column, part c adds its own offset, and a bijection mixes the sum, so
that parts are no translations of each other. Words are uniform, and those of any two samples independent.

A part may have fewer than B samples. An extra column of words and offsets adds up to (position in the part) - (samples
of the part): negative for members of the set. T = 0 means fresh samples at every step.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt32

from tmsjax.kinds.arrays import Array, Bits, Count, Scalar
from tmsjax.models.instance import Instance
from tmsjax.spec import SAMPLES

FRESH = np.uint32(2**31)  # parts of an infinite set: more than steps


def part(step: int | Count, instance: Instance, batch: int) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
    """(number of the part that step `step` trains on, number of its samples)."""
    samples = instance.options[SAMPLES].astype(jnp.uint32)
    step, size = jnp.asarray(step).astype(jnp.uint32), np.uint32(batch)
    parts = jnp.where(samples > 0, (samples + (size - np.uint32(1))) // size, FRESH)
    number = step % parts
    count = (samples + (parts - np.uint32(1) - number)) // parts
    return number, jnp.where(samples > 0, count, size)


def member(word: Bits, offset: Bits, batch: int) -> tuple[UInt32[Array, "columns-1"], Scalar]:
    """The random bits of one sample, and its weight in the sum over a batch: batch / samples, or 0."""
    bits = mixed(word[:-1] + offset[:-1])
    share = np.float32(batch) / (np.uint32(0) - offset[-1]).astype(jnp.float32)
    return bits, jnp.where((word[-1] + offset[-1]).astype(jnp.int32) < 0, share, np.float32(0))


def mixed(x: Bits) -> Bits:
    """The finaliser of MurmurHash3 (Appleby): a bijection of uint32 that spreads every bit."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
