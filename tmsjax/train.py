"""Training of one instance: state, init, step. Vmapped over instances in ensemble.py only."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from tmsjax import data, loss, model, threefry
from tmsjax.grid import Instance
from tmsjax.scalars import as_arrays, objects
from tmsjax.spec import Spec, Train

EVALUATION_SAMPLES = 2**16
EVALUATION_CHUNK = 2**10


@struct.dataclass
class TrainState:
    """One instance's state. Leaves without an instance axis (step, optimizer's counts) are shared by all."""

    step: Any  # () int32, steps done
    params: Any  # {name: array}, see model.Family.dims
    opt_state: Any  # of optax


def schedule(train: Train) -> optax.Schedule:
    """The factor on the learning rate at each step, 1 at step 0."""
    if train.schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, train.steps)
    if train.schedule == "linear":
        return optax.linear_schedule(1.0, 0.0, train.steps)
    return optax.constant_schedule(1.0)


def optimizer(train: Train, instance: Instance) -> optax.GradientTransformation:
    """Optax's optimizer with this instance's learning rate and weight decay."""
    factor = schedule(train)

    def rate(count: Any) -> Any:
        return instance.learning_rate * factor(count)

    momentum = train.momentum or None
    if train.optimizer == "adam":
        return optax.adam(rate)
    if train.optimizer == "adamw":
        return optax.adamw(rate, weight_decay=instance.weight_decay)
    if train.optimizer == "rmsprop":
        return optax.rmsprop(rate, momentum=momentum)
    return optax.sgd(rate, momentum=momentum)


def init(instance: Instance, spec: Spec) -> TrainState:
    """The state before step 0, from the seed and the instance's identity."""
    shapes = model.shapes(spec.model)
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    key = threefry.purpose_key(spec.seed, threefry.INIT, 0)
    bits = threefry.own_bits(key, instance.identity, sum(sizes))
    parts = jnp.split(threefry.normal(bits), np.cumsum(sizes)[:-1])
    normals = {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
    params = model.FAMILIES[spec.model.family].init(normals, instance)
    return TrainState(jnp.int32(0), params, optimizer(spec.train, instance).init(params))


def stream(step: Any, spec: Spec) -> jax.Array:
    """The bits that all instances share at `step`, (batch, columns) uint32."""
    key = threefry.purpose_key(spec.seed, threefry.STREAM, step)
    return threefry.shared_bits(key, (spec.train.batch, data.columns(spec.data, spec.model.features)))


def offset(step: Any, instance: Instance, spec: Spec) -> Any:
    """What this instance adds to the shared bits, (columns,) uint32 words.

    Added modulo 2^32 (Cranley-Patterson rotation): samples of one instance stay independent and uniform, and those
    of any two instances become independent of each other. Shared streams add 0.
    """
    columns = data.columns(spec.data, spec.model.features)
    if spec.train.streams == "shared":
        held_as_scalars = isinstance(instance.identity, np.ndarray)
        return objects([jnp.uint32(0)] * columns, (columns,)) if held_as_scalars else jnp.zeros(columns, jnp.uint32)
    key = threefry.purpose_key(spec.seed, threefry.OFFSET, step)
    return threefry.own_bits(key, instance.identity, columns)


def gradient(params: Any, step: Any, instance: Instance, bits: jax.Array, spec: Spec, microbatch: int) -> Any:
    """The gradient of the loss at `params`. `bits`: `stream(step)`, read in chunks of `microbatch` samples."""
    if spec.train.loss == "exact":
        return jax.grad(loss.exact)(params, instance, spec)
    shift = offset(step, as_arrays(instance), spec)
    batch = spec.train.batch

    def chunk(k: Any) -> Any:
        words = jax.lax.dynamic_slice_in_dim(bits, k * microbatch, microbatch)
        return jax.grad(loss.total)(params, instance, words, shift, spec)

    def add(k: Any, so_far: Any) -> Any:
        return jax.tree.map(jnp.add, so_far, chunk(k))

    zeros = jax.tree.map(jnp.zeros_like, params)
    summed = chunk(0) if microbatch == batch else jax.lax.fori_loop(0, batch // microbatch, add, zeros)
    return jax.tree.map(lambda g: g * np.float32(1 / batch), summed)


def step(state: TrainState, instance: Instance, bits: jax.Array, spec: Spec, microbatch: int) -> TrainState:
    """One optimizer step. `bits`: `stream(state.step)`; unused with the exact loss."""
    grads = gradient(state.params, state.step, instance, bits, spec, microbatch)
    updates, opt_state = optimizer(spec.train, instance).update(grads, state.opt_state, state.params)
    return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)


def noise_free_loss(params: Any, instance: Instance, spec: Spec, microbatch: int) -> Any:
    """The exact loss where there is one, else the mean over an evaluation batch of 65,536 samples.

    The batch is drawn from the seed and rotated by the cell's identity: all replicas of a cell meet the same samples.
    `microbatch`: how many are written into one kernel; a divisor of EVALUATION_CHUNK.
    """
    if spec.exact_loss is not None:
        return loss.exact(params, instance, spec)
    columns = data.columns(spec.data, spec.model.features)
    key = threefry.purpose_key(spec.seed, threefry.EVALUATION_OFFSET, 0)
    shift = threefry.own_bits(key, as_arrays(instance).cell, columns)

    def add_chunk(k: Any, so_far: Any) -> Any:
        bits = threefry.shared_bits(
            threefry.purpose_key(spec.seed, threefry.EVALUATION, k), (EVALUATION_CHUNK, columns)
        )

        def add(j: Any, so_far: Any) -> Any:
            words = jax.lax.dynamic_slice_in_dim(bits, j * microbatch, microbatch)
            return so_far + loss.total(params, instance, words, shift, spec)

        return jax.lax.fori_loop(0, EVALUATION_CHUNK // microbatch, add, so_far)

    total = jax.lax.fori_loop(0, EVALUATION_SAMPLES // EVALUATION_CHUNK, add_chunk, jnp.float32(0))
    return total / EVALUATION_SAMPLES
