"""Counter-based random bits: Threefry-2x32 with 20 rounds, keyed by identity instead of position.

An instance's bits depend only on the seed, the purpose, the step and its own identity, so no other instance can
change them (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). The bits equal those of
`jax.extend.random.threefry_2x32`; reimplemented because jax's version lowers to a loop that XLA cannot fuse on CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p
from jaxtyping import Float, UInt32

from tmsjax.kinds.arrays import Array, Count

Word = np.uint32 | UInt32[Array, "..."]
Pair = tuple[Word, Word]  # which broadcast
Rounds = Callable[[Pair, Pair], Pair]  # how `threefry` is computed

# Purposes of keys.
INIT, OFFSET, STREAM, EVALUATION, EVALUATION_OFFSET, TRAINING_SET, TRAINING_SET_OFFSET, EPOCH, EPOCH_OFFSET = range(9)

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def threefry(key: Pair, counter: Pair) -> Pair:
    """64 random bits, as two uint32, for each element of the broadcast key and counter."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            x = x + y
            y = ((y << np.uint32(r)) | (y >> np.uint32(32 - r))) ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def looped(key: Pair, counter: Pair) -> Pair:
    """`threefry` as jax lowers it, on CPU as a loop.

    XLA would fuse the unrolled rounds into every use of the bits and repeat them for each instance and sample
    (measured: 80 times slower at n = 20, m = 5). All words get all axes, those of vmap too, which the loop needs.
    """
    words = *key, *counter
    zero = sum(word - word for word in words)
    first, second = threefry2x32_p.bind(*(word + zero for word in words))
    return first, second


def purpose_key(seed: Pair, purpose: int, step: int | Count | Word, rounds: Rounds = threefry) -> Pair:
    """The key for all draws of one purpose at one step. `seed`: its low and its high word."""
    return rounds(seed, (jnp.uint32(purpose), jnp.asarray(step).astype(jnp.uint32)))


def shared_bits(key: Pair, samples: int, columns: int, rounds: Rounds = looped) -> UInt32[Array, "{samples} {columns}"]:
    """Bits drawn by position and therefore equal for every instance."""
    return jnp.concatenate(_pairs_of_columns(key, samples, columns, 1, rounds), axis=1)[:, :columns]


def shared_columns(key: Pair, samples: int, columns: int, rounds: Rounds = looped) -> tuple[Word, ...]:
    """The columns of `shared_bits` as separate vectors."""
    return tuple(jnp.concatenate(_pairs_of_columns(key, samples, columns, 0, rounds)))[:columns]


def _pairs_of_columns(key: Pair, samples: int, columns: int, axis: int, rounds: Rounds) -> Pair:
    """The first and the second half of the columns, which lie along `axis`."""
    pair = jnp.arange((columns + 1) // 2, dtype=jnp.uint32)
    sample = jnp.arange(samples, dtype=jnp.uint32)
    return rounds(key, (jnp.expand_dims(pair, 1 - axis), jnp.expand_dims(sample, axis)))


def own_words(key: Pair, identity: Pair, count: int) -> tuple[Word, ...]:
    """The words of `own_bits` one by one, for an instance that is held as scalars."""
    keys = [threefry(key, (jnp.uint32(j), jnp.uint32(0))) for j in range((count + 1) // 2)]
    pairs = [threefry(of_pair, identity) for of_pair in keys]
    return (*(first for first, _ in pairs), *(second for _, second in pairs))[:count]


def own_bits(key: Pair, identity: UInt32[Array, "2"], count: int, rounds: Rounds = looped) -> UInt32[Array, "{count}"]:
    """Bits that belong to one `identity`."""
    pairs = (count + 1) // 2
    index = jnp.arange(pairs, dtype=jnp.uint32)
    pair_keys = rounds(key, (index, jnp.zeros_like(index)))
    return jnp.concatenate(rounds(pair_keys, (identity[0], identity[1])))[:count]


def normal(bits: UInt32[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Standard normal float32 values: quantiles of the midpoints of 2**23 equal cells of [0, 1]."""
    uniform = ((bits >> 9).astype(jnp.float32) + 0.5) * np.float32(2.0**-23)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(2 * uniform - 1)
