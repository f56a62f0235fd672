"""The random bits of training and evaluation: words that instances share, and the offset of each instance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, UInt32

from tmsjax.engine import threefry
from tmsjax.engine.scalars import Held, Scalars, held_as_scalars, split
from tmsjax.engine.stages import kept
from tmsjax.kinds.arrays import Array, Bits, Count
from tmsjax.models import Instance, Problem, epochs, sampling, training_set

Words = UInt32[Array, "samples columns"] | Scalars
Offset = Bits | Scalars


@struct.dataclass
class Shared:
    """Numbers that all instances of a sweep share."""

    seed: threefry.Pair  # its low and its high word
    steps: Count  # of the whole training
    apart: bool = struct.field(pytree_node=False, default=False)  # whether random bits are computed apart (stages.kept)

    @classmethod
    def of(cls, seed: int, steps: int, apart: bool = False) -> Shared:
        """From a spec's `seed` and `train.steps`."""
        return cls((np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)), np.int32(steps), apart)

    def rounds(self, key: threefry.Pair, counter: threefry.Pair) -> threefry.Pair:
        """`threefry.threefry`, not fused into what uses its bits."""
        if not self.apart:
            return threefry.looped(key, counter)
        first, second = kept(self.steps >= 0, threefry.threefry, key, counter)
        return first, second


def normals(instance: Instance, shared: Shared, count: int) -> Float[Array, "{count}"]:
    """Standard normals of the instance's init."""
    key = _key(shared, threefry.INIT, 0)
    return threefry.normal(threefry.own_bits(key, instance.identity, count, shared.rounds))


def words(step: int | Count, shared: Shared, problem: Problem, scalars: bool = False) -> Words:
    """The bits that all instances share at `step`; Scalars of columns if `scalars`.

    New bits at every step; with streams = "sobol", the same net at every step. For finite training sets the same bits
    at every step, and one more column with the position in the batch. For epochs over rows, the first column has the
    numbers of rows.
    """
    if problem.finite:
        key = _key(shared, threefry.TRAINING_SET, 0, scalars)
        position = jnp.arange(problem.batch, dtype=jnp.uint32)
        return _appended(_shared_words(key, problem.batch, shared, problem, scalars), position)
    if problem.streams == "sobol":
        points = jnp.asarray(sampling.sobol(problem.batch, problem.columns))
        drawn: Words = Scalars(tuple(points.T), points.shape[1:]) if scalars else points
    else:
        key = _key(shared, threefry.STREAM, step, scalars)
        drawn = _shared_words(key, problem.batch, shared, problem, scalars)
        if problem.rows:
            drawn = _with_first(drawn, _rows_of_epoch(step, shared, problem))
    if isinstance(drawn, Scalars):
        return Scalars(problem.sampler.masked_columns(drawn.parts), drawn.shape)
    return problem.sampler.masked(drawn)


def offset(step: int | Count, instance: Instance, shared: Shared, problem: Problem) -> Offset:
    """Random offset that decorrelates this instance's samples from the shared words; Scalars if the instance is.

    Added modulo 2^32 (Cranley-Patterson rotation): samples of one instance stay independent and uniform, and samples of
    any two instances are independent of each other. Shared streams add 0. Sobol' streams XOR their points with it
    instead: each sample is uniform, but samples of one batch are dependent. For finite training sets, it is keyed by
    the number of the part, with an extra column that holds -size; for epochs over rows, the first column is keyed by
    the number of the epoch and less than the number of rows.
    """
    identity: Held = instance.identity
    same = problem.streams == "shared"
    if problem.finite:
        number, count = training_set.part(step, instance, problem.batch)
        key = _key(shared, threefry.TRAINING_SET_OFFSET, number, unrolled=True)
        if same:
            identity = jax.tree.map(jnp.zeros_like, identity)
        return _appended(_own(key, identity, shared, problem), np.uint32(0) - count)
    if same:
        nothing = jnp.zeros(problem.columns, jnp.uint32)
        return split(nothing, batch_dims=0) if held_as_scalars(instance) else nothing
    scalars = held_as_scalars(instance)
    own = _own(_key(shared, threefry.OFFSET, step, scalars), identity, shared, problem)
    if not problem.rows:
        return own
    number, _ = epochs.epoch(step, problem.rows, problem.batch)
    of_epoch = _own(_key(shared, threefry.EPOCH_OFFSET, number, scalars), identity, shared, problem)
    first = of_epoch.parts[0] if isinstance(of_epoch, Scalars) else of_epoch[0]
    return _with_first(own, first % np.uint32(problem.rows))


def evaluation_words(chunk: Count, samples: int, instance: Instance, shared: Shared, problem: Problem) -> Words:
    """The shared bits of a chunk of the evaluation batch, as those of `words`."""
    scalars = held_as_scalars(instance)
    return _shared_words(_key(shared, threefry.EVALUATION, chunk, scalars), samples, shared, problem, scalars)


def evaluation_offset(instance: Instance, shared: Shared, problem: Problem) -> Offset:
    """The offset of an instance in the evaluation batch, which it shares with all replicas of its cell."""
    key = _key(shared, threefry.EVALUATION_OFFSET, 0, held_as_scalars(instance))
    return _own(key, instance.cell, shared, problem)


def _key(shared: Shared, purpose: int, step: int | Count | threefry.Word, unrolled: bool = False) -> threefry.Pair:
    return threefry.purpose_key(shared.seed, purpose, step, threefry.threefry if unrolled else shared.rounds)


def _shared_words(key: threefry.Pair, samples: int, shared: Shared, problem: Problem, scalars: bool) -> Words:
    if scalars:
        return Scalars(threefry.shared_columns(key, samples, problem.columns), (problem.columns,))
    return threefry.shared_bits(key, samples, problem.columns, shared.rounds)


def _own(key: threefry.Pair, identity: Held, shared: Shared, problem: Problem) -> Offset:
    columns = problem.columns
    if isinstance(identity, Scalars):
        low, high = identity.parts
        return Scalars(threefry.own_words(key, (low, high), columns), (columns,))
    return threefry.own_bits(key, identity, columns, shared.rounds)


def _rows_of_epoch(step: int | Count, shared: Shared, problem: Problem) -> UInt32[Array, "samples"]:
    """The numbers of the rows that the step trains on, before the offset of an instance."""
    number, start = epochs.epoch(step, problem.rows, problem.batch)
    key = _key(shared, threefry.EPOCH, number)
    keys = shared.rounds(key, (jnp.arange(epochs.ROUNDS, dtype=jnp.uint32), jnp.zeros(epochs.ROUNDS, jnp.uint32)))
    return epochs.permuted(start + jnp.arange(problem.batch, dtype=jnp.uint32), keys, problem.rows)


def _with_first(words: Held, first: UInt32[Array, "*batch"]) -> Held:
    """Words (..., columns) with another first column."""
    if isinstance(words, Scalars):
        return Scalars((first, *words.parts[1:]), words.shape)
    return jnp.concatenate([first[..., None], words[..., 1:]], axis=-1)


def _appended(words: Held, last: UInt32[Array, "*batch"]) -> Held:
    """Words (..., columns) and one more column."""
    if isinstance(words, Scalars):
        return Scalars((*words.parts, last), (len(words.parts) + 1,))
    return jnp.concatenate([words, last[..., None]], axis=-1)
