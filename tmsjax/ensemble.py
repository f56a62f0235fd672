"""Many instances at once: the only vmap over instances, jit, donation and sharding.

Instances are cut into blocks of one fixed size. One compiled program takes every block through a segment of steps:
devices share the blocks, each device takes its blocks one after another, and all instances of a block advance
together under vmap. Bits depend on the block and the microbatch, not on devices or segments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tmsjax import data, grid, model, threefry, train
from tmsjax.scalars import Scalars, join, split
from tmsjax.spec import Spec
from tmsjax.train import TrainState

EVALUATION_SAMPLES = 2**16
EVALUATION_MICROBATCH = 2**10  # of the array path
SCALAR_LIMIT = 16  # largest n * m written out as scalars; beyond it, compile time grows and matmuls win


@dataclass(frozen=True)
class Plan:
    """How the work is cut, a pure function of spec and platform; recorded with a run, since bits depend on it.

    scalars:    parameters as separate [block] vectors (small models) instead of arrays (batched matmuls)
    block:      instances in a block
    blocks:     number of blocks that the sweep fills
    microbatch: samples written into one kernel
    """

    scalars: bool
    block: int
    blocks: int
    microbatch: int


def plan(spec: Spec, platform: str) -> Plan:
    """The rule. CPU: blocks whose state stays in cache, at least 16 of them. GPU, TPU: as few as memory allows."""
    family = model.FAMILIES[spec.model.family]
    n, m, batch = spec.model.features, spec.model.hidden, spec.train.batch
    scalars = family.elementwise and n * m <= SCALAR_LIMIT
    if scalars:
        largest = 2**14 if platform == "cpu" else 2**20
        microbatch = math.gcd(batch, 16 if n * m <= 4 else 8)  # more would spill registers
    else:
        floats = 2**20 if platform == "cpu" else 2**28  # activations of a block, batch * n: 4 MB, 1 GB
        microbatch = batch
        largest = max(1, floats // (batch * n))
    at_least = 16 if platform == "cpu" and scalars else 2 if platform == "cpu" else 1
    blocks = at_least * math.ceil(spec.instances / (at_least * largest))
    block = math.ceil(spec.instances / blocks)
    if scalars:
        block = max(64, 16 * math.ceil(block / 16))  # whole SIMD vectors
    block = spec.engine.block or block
    microbatch = spec.engine.microbatch or microbatch
    return Plan(scalars, block, math.ceil(spec.instances / block), microbatch)


class Ensemble:
    """All instances of one spec on some devices. States are TrainStates of arrays with a leading axis instance.

    Methods return device arrays padded to whole blocks; `gather` gives numpy arrays of the real instances.
    """

    def __init__(self, spec: Spec, devices: Sequence[jax.Device] | None = None, cut: Plan | None = None):
        self.spec = spec
        self.devices = tuple(devices or jax.devices())
        self.platform = self.devices[0].platform
        self.plan = cut or plan(spec, self.platform)
        per_device = math.ceil(self.plan.blocks / len(self.devices))
        self.padded = per_device * len(self.devices) * self.plan.block
        self.mesh = Mesh(np.array(self.devices), ("instance",))
        self.table = self.place(grid.instances(spec))
        self._init = self._compiled(partial(_init_blocks, spec=spec, cut=self.plan), 1)
        self._advance = self._compiled(partial(_advance_blocks, spec=spec, cut=self.plan), 2, donate=True)
        self._loss = self._compiled(partial(_loss_blocks, spec=spec, cut=self.plan), 2)

    def _compiled(self, function: Callable, trees: int, donate: bool = False) -> Callable:
        """`function` of `trees` trees of stacked arrays and then plain scalars, over all devices, compiled."""
        options = {"xla_cpu_prefer_vector_width": 512} if self.platform == "cpu" else None

        def run(*args: Any) -> Any:
            specs = [jax.tree.map(_partition, tree) for tree in args]
            outputs = _outputs(function, args, len(self.devices), trees)
            with jax.numpy_rank_promotion("raise"):
                mapped = jax.shard_map(
                    function, mesh=self.mesh, in_specs=tuple(specs), out_specs=outputs, check_vma=False
                )
                return mapped(*args)

        return jax.jit(run, donate_argnums=0 if donate else (), compiler_options=options)

    def place(self, tree: Any) -> Any:
        """A tree of numpy arrays with a leading axis instance, padded with copies of the last row, on the devices."""

        def put(leaf: Any) -> jax.Array:
            leaf = np.asarray(leaf)
            if leaf.ndim:
                leaf = np.concatenate([leaf, np.repeat(leaf[-1:], self.padded - len(leaf), axis=0)])
            return jax.device_put(leaf, NamedSharding(self.mesh, _partition(leaf)))

        return jax.tree.map(put, tree)

    def gather(self, tree: Any) -> Any:
        """`tree` as numpy arrays, without padding."""
        return jax.tree.map(
            lambda leaf: np.asarray(leaf)[: self.spec.instances] if np.ndim(leaf) else np.asarray(leaf), tree
        )

    def init(self) -> TrainState:
        """The state before step 0."""
        return self._init(self.table)

    def advance(self, state: TrainState, stop: int) -> TrainState:
        """`state` after step `stop`; the old state's memory is reused."""
        return self._advance(state, self.table, jnp.int32(stop))

    def noise_free_loss(self, state: TrainState) -> jax.Array:
        """The noise-free loss of every instance (see train.noise_free_loss), float32."""
        return self._loss(state.params, self.table)

    def compile(self) -> Any:
        """The compiled program of a segment: for its memory analysis and its HLO."""
        state = jax.eval_shape(self._init, self.table)
        shardings = jax.tree.map(lambda leaf: NamedSharding(self.mesh, _partition(leaf)), state)
        shaped = jax.tree.map(lambda s, d: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=d), state, shardings)
        return self._advance.lower(shaped, self.table, jnp.int32(0)).compile()


def _partition(leaf: Any) -> PartitionSpec:
    """Arrays are cut along their leading axis instance; scalars are the same everywhere."""
    return PartitionSpec("instance") if np.ndim(leaf) else PartitionSpec()


def _outputs(function: Callable, args: tuple, devices: int, trees: int) -> Any:
    """The partition of what `function` returns on one device's share of `args`."""

    def share(leaf: Any) -> Any:
        shape = (leaf.shape[0] // devices, *leaf.shape[1:]) if np.ndim(leaf) else ()
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    return jax.tree.map(_partition, jax.eval_shape(function, *jax.tree.map(share, args)))


def _map_blocks(function: Callable, cut: Plan, *trees: Any) -> Any:
    """`function(*trees)` for each block in turn. Scalars among the leaves go to every block unchanged, and a
    scalar that comes back is the same for all blocks."""
    leaves, structure = jax.tree.flatten(trees)
    stacked = [leaf.reshape(-1, cut.block, *leaf.shape[1:]) for leaf in leaves if leaf.ndim]

    def one(block: list) -> Any:
        rest = iter(block)
        return function(*jax.tree.unflatten(structure, [next(rest) if leaf.ndim else leaf for leaf in leaves]))

    out = jax.lax.map(one, stacked)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]) if x.ndim > 1 else x[0], out)


def _axes(tree: Any) -> Any:
    """vmap's axes for a tree of stacked arrays: 0, and None for scalars."""
    return jax.tree.map(lambda leaf: 0 if leaf.ndim else None, tree)


def _divide(tree: Any, cut: Plan) -> Any:
    """Arrays (block, ...) as Scalars of [block] vectors, if the plan says so."""
    return jax.tree.map(lambda x: split(x) if x.ndim > 1 else x, tree) if cut.scalars else tree


def _unite(tree: Any) -> Any:
    """The inverse of `_divide`."""
    is_scalars = lambda x: isinstance(x, Scalars)  # noqa: E731
    return jax.tree.map(lambda x: join(x) if is_scalars(x) else x, tree, is_leaf=is_scalars)


def _init_blocks(table: Any, *, spec: Spec, cut: Plan) -> TrainState:
    one = partial(train.init, spec=spec)
    shape = jax.eval_shape(one, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), table))
    counter = jax.tree.map(lambda x: None if jnp.issubdtype(x.dtype, jnp.integer) else 0, shape)
    return _map_blocks(lambda t: jax.vmap(one, out_axes=counter)(t), cut, table)


def _advance_blocks(state: TrainState, table: Any, stop: Any, *, spec: Spec, cut: Plan) -> TrainState:
    def block(state: TrainState, table: Any, stop: Any) -> TrainState:
        state, table = _divide(state, cut), _divide(table, cut)
        axes = _axes(state)
        one = partial(train.step, spec=spec, microbatch=cut.microbatch)
        vectorised = jax.vmap(one, in_axes=(axes, _axes(table), None), out_axes=axes)

        def step(k: Any, state: TrainState) -> TrainState:
            return vectorised(state, table, train.stream(k, spec))

        return _unite(jax.lax.fori_loop(state.step, stop, step, state))

    return _map_blocks(block, cut, state, table, stop)


def _loss_blocks(params: Any, table: Any, *, spec: Spec, cut: Plan) -> jax.Array:
    key = threefry.purpose_key(spec.seed, threefry.EVALUATION, 0)
    columns = data.columns(spec.data, spec.model.features)
    bits = threefry.shared_bits(key, (EVALUATION_SAMPLES, columns))
    microbatch = math.gcd(cut.microbatch, EVALUATION_SAMPLES) if cut.scalars else EVALUATION_MICROBATCH

    def block(params: Any, table: Any) -> jax.Array:
        params, table = _divide(params, cut), _divide(table, cut)
        one = partial(train.noise_free_loss, spec=spec, microbatch=microbatch)
        return jax.vmap(one, in_axes=(_axes(params), _axes(table), None))(params, table, bits)

    return _map_blocks(block, cut, params, table)


def use_all_cores() -> None:
    """Makes jax show one CPU device a core; call it before jax is used. Without effect on other platforms."""
    import os

    try:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    except (RuntimeError, AttributeError):  # jax is in use already, or the platform has no affinity
        return
