"""Training of one instance: state, init and step. Only ensemble.py vmaps them over instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from tmsjax.engine import lanes, threefry
from tmsjax.kinds import OPTIMIZERS, SCHEDULES
from tmsjax.models import Instance, Scalars, as_arrays, held_as_scalars, loss, model, sampling, split, training_set
from tmsjax.spec import Spec, Train

EVALUATION_SAMPLES = 2**16
EVALUATION_CHUNK = 2**10


class Cut(Protocol):
    """How to split a batch (see engine/plan.py)."""

    @property
    def microbatch(self) -> int: ...

    @property
    def unroll(self) -> int: ...


@struct.dataclass
class TrainState:
    """State of one instance. All instances share the leaves without an instance axis (step, optimizer counts)."""

    step: Any  # () int32, steps done
    params: Any  # {name: array}, see kinds.Family.parameters
    opt_state: Any  # optax state


def optimizer(train: Train, instance: Instance) -> optax.GradientTransformation:
    """The optax optimizer with this instance's learning rate and weight decay."""
    factor = SCHEDULES[train.schedule].factor(train.steps)

    def rate(count: Any) -> Any:
        return instance.learning_rate * factor(count)

    return OPTIMIZERS[train.optimizer].make(rate, train, instance)


def init(instance: Instance, spec: Spec) -> TrainState:
    """The state before step 0. Random numbers depend only on the seed and the instance's identity."""
    shapes = model.shapes(spec.model)
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    key = threefry.purpose_key(spec.seed, threefry.INIT, 0)
    bits = threefry.own_bits(key, instance.identity, sum(sizes))
    parts = jnp.split(threefry.normal(bits), np.cumsum(sizes)[:-1])
    normals = {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
    if spec.init.signs == "stratified":
        normals["W"] = _stratified(normals["W"], instance)
    params = model.init(normals, instance, spec.model)
    if "init.polygon" in instance.options:
        params = _on_polygon(params, **instance.own("init"))
    return TrainState(jnp.int32(0), params, optimizer(spec.train, instance).init(params))


def _stratified(W: jax.Array, instance: Instance) -> jax.Array:
    """W (1, n) with the signs of features 2, 3, ... relative to the first set by the bits of the replica's number.

    A 0 bit gives the opposite sign. Random bits of the cell flip all bits but the first, so that a few replicas of many
    features favour no sign. Any 2^(n - 1) consecutive replicas of a cell cover every pattern once.
    """
    code = instance.replica ^ (instance.cell[0] & ~np.uint32(1))
    features = min(W.shape[1] - 1, 32)
    bit = (code >> jnp.arange(features, dtype=jnp.uint32)) & np.uint32(1)
    relative = jnp.where(bit == 0, np.float32(-1), np.float32(1)) * jnp.sign(W[0, 0])
    return jnp.concatenate([W[:, :1], relative[None] * jnp.abs(W[:, 1 : features + 1]), W[:, features + 1 :]], axis=1)


def _on_polygon(params: Any, polygon: Any, polygon_norm: Any, polygon_bias: Any) -> Any:
    """Adds a regular polygon to W (2, n), and its biases to b (n,) if there are any: features 0 to `polygon` - 1."""
    number = jnp.arange(params["W"].shape[1], dtype=jnp.float32)
    angle = number * (2 * np.pi / jnp.maximum(polygon, 1))
    length = jnp.where(number < polygon, polygon_norm, 0)
    moved = {"W": params["W"] + length[None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)])}
    if "b" in params:
        moved["b"] = params["b"] + jnp.where(number < polygon, polygon_bias, 0)
    return params | moved


def stream(step: Any, spec: Spec, scalars: bool = False) -> Any:
    """The bits that all instances share at `step`: (batch, columns) uint32, or Scalars of (batch,) columns.

    New bits at every step; with streams = "sobol", the same net at every step. For finite training sets the same bits
    at every step, and a column more with the position in the batch.
    """
    if training_set.is_finite(spec):
        words = _words(threefry.purpose_key(spec.seed, threefry.TRAINING_SET, 0), spec.train.batch, spec, scalars)
        return _appended(words, jnp.arange(spec.train.batch, dtype=jnp.uint32))
    if spec.train.streams == "sobol":
        points = sampling.sobol(spec.train.batch, sampling.columns_of(spec))
        words = Scalars(tuple(map(jnp.asarray, points.T)), points.shape[1:]) if scalars else jnp.asarray(points)
    else:
        words = _words(threefry.purpose_key(spec.seed, threefry.STREAM, step), spec.train.batch, spec, scalars)
    return sampling.masked(words, *spec.samples)


def _words(key: threefry.Pair, samples: int, spec: Spec, scalars: bool) -> Any:
    columns = sampling.columns_of(spec)
    if scalars:
        return Scalars(threefry.shared_columns(key, samples, columns), (columns,))
    return threefry.shared_bits(key, samples, columns)


def offset(step: Any, instance: Instance, spec: Spec) -> Any:
    """Random offset that decorrelates this instance's samples from the shared stream: (columns,) uint32 words.

    Held as scalars if the instance is. Added modulo 2^32 (Cranley-Patterson rotation): samples of one instance stay
    independent and uniform, and samples of any two instances are independent of each other. Shared streams add 0.
    Sobol' streams XOR their points with it instead: each sample is uniform, but samples of one batch are dependent.
    For finite training sets it belongs to the part that the step trains on, and has a column more with minus the number
    of its samples.
    """
    if training_set.is_finite(spec):
        number, count = training_set.part(step, instance, spec.train.batch)
        key = threefry.purpose_key(spec.seed, threefry.TRAINING_SET_OFFSET, number)
        identity = instance.identity
        if spec.train.streams == "shared":
            identity = jax.tree.map(jnp.zeros_like, identity)
        return _appended(_own(key, identity, spec), np.uint32(0) - count)
    if spec.train.streams == "shared":
        nothing = jnp.zeros(sampling.columns_of(spec), jnp.uint32)
        return split(nothing, batch_dims=0) if held_as_scalars(instance) else nothing
    key = threefry.purpose_key(spec.seed, threefry.OFFSET, step)
    return _own(key, instance.identity, spec)


def _appended(words: Any, last: Any) -> Any:
    """Words (..., columns) and one column more, `last` (...)."""
    if isinstance(words, Scalars):
        return Scalars((*words.parts, last), (len(words.parts) + 1,))
    return jnp.concatenate([words, last[..., None]], axis=-1)


def _own(key: threefry.Pair, identity: Any, spec: Spec) -> Any:
    columns = sampling.columns_of(spec)
    words = threefry.own_bits(key, as_arrays(identity), columns)
    return Scalars(tuple(words), (columns,)) if held_as_scalars(identity) else words


def gradient(params: Any, instance: Instance, bits: jax.Array, shift: Any, spec: Spec, cut: Cut) -> Any:
    """The gradient of the loss at `params`, on samples from a step's `stream` (`bits`) and `offset` (`shift`).

    Reads the stream in chunks of `cut.microbatch` samples.
    """
    if spec.train.loss == "exact":
        return jax.grad(loss.exact)(params, instance, spec)
    batch = spec.train.batch

    def chunk(k: Any) -> Any:
        words = jax.tree.map(lambda w: jax.lax.dynamic_slice_in_dim(w, k * cut.microbatch, cut.microbatch), bits)
        if cut.unroll > 1 and held_as_scalars(params):
            return lanes.gradient(params, instance, words, shift, spec, cut.unroll)
        return loss.gradient(params, instance, words, shift, spec)

    def add(k: Any, so_far: Any) -> Any:
        return jax.tree.map(jnp.add, so_far, chunk(k))

    zeros = jax.tree.map(jnp.zeros_like, params)
    summed = chunk(0) if cut.microbatch == batch else jax.lax.fori_loop(0, batch // cut.microbatch, add, zeros)
    return jax.tree.map(lambda g: g * np.float32(1 / batch), summed)


def step(state: TrainState, instance: Instance, bits: jax.Array, shift: Any, spec: Spec, cut: Cut) -> TrainState:
    """One optimizer step on samples from `stream(state.step)` (`bits`) and `offset(state.step)` (`shift`)."""
    return update(gradient(state.params, instance, bits, shift, spec, cut), state, instance, spec)


def update(grads: Any, state: TrainState, instance: Instance, spec: Spec) -> TrainState:
    """The state after a step along the gradient `grads` of the mean loss."""
    updates, opt_state = optimizer(spec.train, instance).update(grads, state.opt_state, state.params)
    return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)


def noise_free_loss(params: Any, instance: Instance, spec: Spec, chunk: int = EVALUATION_CHUNK) -> Any:
    """The exact loss if one is known, else the mean over an evaluation batch of 65,536 samples, without penalty.

    The batch depends on the seed and the cell's identity, so all replicas of a cell share it. `chunk`: samples held at
    once, a divisor of EVALUATION_CHUNK.
    """
    if spec.exact_loss is not None:
        return loss.exact(params, instance, spec)
    return _evaluated(lambda words, shift: loss.total(params, instance, words, shift, spec), instance, spec, chunk)


def zero_model_loss(instance: Instance, spec: Spec, chunk: int = EVALUATION_CHUNK) -> Any:
    """The loss of a model whose output is 0: the mean over the evaluation batch of sum_i I_i target_i^2."""
    return _evaluated(lambda words, shift: loss.zero_total(instance, words, shift, spec), instance, spec, chunk)


def _evaluated(total: Callable[[Any, Any], Any], instance: Instance, spec: Spec, chunk: int) -> Any:
    """The mean of a loss over the evaluation batch; `total`: (words, shift) -> its sum over samples."""
    scalars = held_as_scalars(instance)
    key = threefry.purpose_key(spec.seed, threefry.EVALUATION_OFFSET, 0)
    shift = _own(key, instance.cell, spec)

    def add(k: Any, so_far: Any) -> Any:
        key = threefry.purpose_key(spec.seed, threefry.EVALUATION, k)
        words = _words(key, EVALUATION_CHUNK, spec, scalars)

        def add_part(j: Any, so_far: Any) -> Any:
            part = jax.tree.map(lambda w: jax.lax.dynamic_slice_in_dim(w, j * chunk, chunk), words)
            return so_far + total(part, shift)

        return jax.lax.fori_loop(0, EVALUATION_CHUNK // chunk, add_part, so_far)

    return jax.lax.fori_loop(0, EVALUATION_SAMPLES // EVALUATION_CHUNK, add, jnp.float32(0)) / EVALUATION_SAMPLES
