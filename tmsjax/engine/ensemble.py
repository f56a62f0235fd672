"""Many instances at once: the only vmap over instances, jit, donation and placement on devices.

Instances are cut into blocks of one fixed size. One compiled program takes a block through a segment of steps, all its
instances together under vmap. Blocks never meet: they are dealt out to the devices, and one thread a device (on CPU one
a core) calls the program for block after block. So bits depend on the block's size and the microbatch alone. (With one
program over several blocks they depend on how many it holds: XLA fuses multiply and add otherwise for other shapes.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.engine import train
from tmsjax.engine.machine import cores
from tmsjax.engine.plan import Plan, plan
from tmsjax.engine.train import TrainState
from tmsjax.kinds import FAMILIES
from tmsjax.models import inputs, instances, joined, model, of_zero_model, split
from tmsjax.spec import Spec

WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}  # XLA's default is 256
# Sums over samples in SIMD lanes need leave to add in another order; NaN, infinity and division stay IEEE's.
REASSOCIATE = {"xla_cpu_enable_fast_math": True} | {
    f"xla_cpu_fast_math_honor_{what}": True for what in ("nans", "infs", "division", "functions")
}


class Ensemble:
    """All instances of one spec, or the blocks in `part`, on some devices.

    A value per instance (a TrainState, a loss) is held as a list of blocks, each a tree of arrays with a leading axis
    instance; `gather` gives numpy arrays of all instances, `place` makes blocks of them. The last block is padded
    with copies of the last instance.

    `tile`: how many blocks are on the devices at once; 0 for all. With fewer than all, blocks wait in main memory, and
    each goes to its device for a segment of steps and comes back. No bit depends on it.
    """

    def __init__(
        self,
        spec: Spec,
        devices: Sequence[jax.Device] | None = None,
        cut: Plan | None = None,
        part: range | None = None,
        tile: int = 0,
    ):
        self.spec = spec
        self.devices = tuple(devices or jax.local_devices())
        self.platform = self.devices[0].platform
        self.plan = cut or plan(spec, self.platform)
        self.part = range(self.plan.blocks) if part is None else part
        self.rows = self.plan.rows(self.part, spec.instances)
        self.tile = tile or len(self.part)
        self._compiled_already: set[Any] = set()
        self._program: Any = None
        self._init = self._compiled(partial(_init_block, spec=spec))
        self._advance = self._compiled(
            partial(_advance_block, spec=spec, cut=self.plan), reassociate=True, donate_argnums=0
        )
        self._loss = self._compiled(partial(_loss_block, spec=spec, cut=self.plan))

    @property
    def threads(self) -> int:
        """Threads that may call programs: one a device, on CPU one a core."""
        return max(len(self.devices), cores()) if self.platform == "cpu" else len(self.devices)

    @property
    def tiled(self) -> bool:
        """Whether blocks wait in main memory."""
        return self.tile < len(self.part)

    def shrink(self, tile: int) -> None:
        """From now on `tile` blocks at once. States that were made before must be placed again."""
        self.tile = tile
        self.__dict__.pop("table", None)

    @cached_property
    def table(self) -> list:
        """The instances (see models.Instance) as blocks."""
        return self.place(instances(self.spec, self.rows))

    def _compiled(self, function: Callable, reassociate: bool = False, **options: Any) -> Any:
        def strict(*args: Any) -> Any:
            with jax.numpy_rank_promotion("raise"):
                return function(*args)

        if self.platform == "cpu":
            options["compiler_options"] = WIDE_VECTORS | (REASSOCIATE if reassociate else {})
        return jax.jit(strict, **options)

    def _on_blocks(self, function: Callable, *blocks: list, extra: tuple = (), consume: bool = False) -> list:
        """`function(*block, *extra)` for every block, the devices and cores at work together.

        `consume`: frees each block of the first list as soon as its successor exists, so that peak memory is one copy.
        """

        def call(k: int) -> Any:
            block = tuple(b[k] for b in blocks)
            if self.tiled:
                block = self._on_device(block, k)
            done = jax.block_until_ready(function(*block, *extra))
            if consume:
                blocks[0][k] = None
            return jax.tree.map(np.asarray, done) if self.tiled else done

        work = range(len(self.part))
        alone = 0 if function in self._compiled_already else 1  # so that threads do not trace and compile the same
        first = [call(k) for k in work[:alone]]
        self._compiled_already.add(function)
        with ThreadPoolExecutor(min(self.threads, self.tile)) as pool:
            return first + list(pool.map(call, work[alone:]))

    def _on_device(self, tree: Any, k: int) -> Any:
        return jax.device_put(tree, self.devices[k % len(self.devices)])

    def place(self, tree: Any) -> list:
        """Numpy arrays with a leading axis instance as blocks; scalars go to every block."""
        size = self.plan.block

        def part(leaf: Any, k: int) -> Any:
            if not np.ndim(leaf):
                return leaf
            rows = leaf[k * size : (k + 1) * size]
            return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)]) if len(rows) < size else rows

        trees = [jax.tree.map(partial(part, k=k), tree) for k in range(len(self.part))]
        return trees if self.tiled else [self._on_device(t, k) for k, t in enumerate(trees)]

    def gather(self, blocks: list) -> Any:
        """Blocks as one tree of numpy arrays, without padding."""

        def join_blocks(*leaves: Any) -> np.ndarray:
            if not np.ndim(leaves[0]):
                return np.asarray(leaves[0])
            return np.concatenate([np.asarray(leaf) for leaf in leaves])[: len(self.rows)]

        return jax.tree.map(join_blocks, *blocks)

    def init(self) -> list[TrainState]:
        """The states before step 0."""
        return self._on_blocks(self._init, self.table)

    def advance(self, states: list[TrainState], stop: int) -> list[TrainState]:
        """The states after step `stop`. Donates `states`."""
        return self._on_blocks(self._advance, states, self.table, extra=(np.int32(stop),), consume=True)

    def noise_free_loss(self, states: list[TrainState]) -> np.ndarray:
        """The noise-free loss of every instance (see train.noise_free_loss), (instances,) float32."""
        return self.gather(self._on_blocks(self._loss, [state.params for state in states], self.table))

    def zero_model_loss(self) -> np.ndarray:
        """The loss of a model whose output is 0, for every instance, (instances,): exact where the target is x."""
        if FAMILIES[self.spec.model.family].reproduces:
            given = inputs(self.spec, self.rows)
            return of_zero_model(given["importance"], given["feature_probability"], self.spec)
        zero = self._compiled(partial(_zero_block, spec=self.spec, cut=self.plan))
        return self.gather(self._on_blocks(zero, self.table))

    def gradient_noise(self, states: list[TrainState], draws: int) -> tuple[Any, Any]:
        """Variance of the gradient over `draws` steps' samples at fixed parameters, and its covariance with the
        gradient of the next instance of the block; trees like the parameters."""
        noise = self._compiled(partial(_noise_block, spec=self.spec, cut=self.plan, draws=draws))
        return self.gather(self._on_blocks(noise, [state.params for state in states], self.table))

    def abstract_state(self, rows: int) -> TrainState:
        """Shapes and types of the gathered state of so many instances."""
        state = jax.eval_shape(self._init, self._abstract_table())
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]) if x.ndim else (), x.dtype), state)

    def _abstract_table(self) -> Any:
        row = instances(self.spec, self.rows[:1])
        size, where = self.plan.block, jax.sharding.SingleDeviceSharding(self.devices[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=where), row)

    def compile(self) -> Any:
        """The compiled program of a block's segment: for its memory analysis and its HLO. Compiles once."""
        if self._program is None:
            table = self._abstract_table()
            where = jax.sharding.SingleDeviceSharding(self.devices[0])
            state = jax.eval_shape(self._init, table)
            state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state)
            self._program = self._advance.lower(state, table, np.int32(0)).compile()
        return self._program


def directions(params: dict, spec: Spec) -> np.ndarray | None:
    """W (instances, m, n), features as columns, of gathered parameters; None where features have no direction."""
    family = FAMILIES[spec.model.family]
    if family.directions is None:
        return None
    if "W" in family.parameters:
        return params["W"]  # a parameter of that name is W
    return np.asarray(jax.vmap(partial(model.directions, model=spec.model))(params))


def _axes(tree: Any) -> Any:
    """vmap's axes for a tree of stacked arrays: 0, and None for scalars."""
    return jax.tree.map(lambda leaf: 0 if leaf.ndim else None, tree)


def _divide(tree: Any, cut: Plan) -> Any:
    """Arrays (block, ...) as Scalars of [block] vectors, if the plan says so."""
    return jax.tree.map(lambda x: split(x) if x.ndim > 1 else x, tree) if cut.scalars else tree


def _init_block(table: Any, *, spec: Spec) -> TrainState:
    one = partial(train.init, spec=spec)
    shape = jax.eval_shape(one, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), table))
    shared = jax.tree.map(lambda x: None if jnp.issubdtype(x.dtype, jnp.integer) else 0, shape)  # step counts
    return jax.vmap(one, out_axes=shared)(table)


def _advance_block(state: TrainState, table: Any, stop: Any, *, spec: Spec, cut: Plan) -> TrainState:
    state, table = _divide(state, cut), _divide(table, cut)
    axes = _axes(state)
    one = partial(train.step, spec=spec, cut=cut)

    def shift(k: Any) -> Any:
        return jax.vmap(lambda row: train.offset(k, row, spec), in_axes=(_axes(table),))(table)

    def step(k: Any, carry: Any) -> Any:
        state, offsets = carry
        vectorised = jax.vmap(one, in_axes=(axes, _axes(table), None, 0), out_axes=axes)
        return vectorised(state, table, train.stream(k, spec, cut.scalars), offsets), shift(k + 1)

    return joined(jax.lax.fori_loop(state.step, stop, step, (state, shift(state.step)))[0])


def _noise_block(params: Any, table: Any, *, spec: Spec, cut: Plan, draws: int) -> tuple[Any, Any]:
    params, table = _divide(params, cut), _divide(table, cut)

    def one(params: Any, row: Any, k: Any, bits: Any) -> Any:
        return train.gradient(params, row, bits, train.offset(k, row, spec), spec, cut)

    def gradients(k: Any) -> Any:
        every = jax.vmap(one, in_axes=(_axes(params), _axes(table), None, None))
        return joined(every(params, table, k, train.stream(k, spec, cut.scalars)))

    def add(k: Any, sums: tuple) -> tuple:
        first, square, product = sums
        g = jax.tree.map(lambda a, b: a - b, gradients(k), start)  # about a draw, so that float32 sums lose little
        next_ = jax.tree.map(lambda leaf: jnp.roll(leaf, -1, axis=0), g)
        return (
            jax.tree.map(lambda s, a: s + a, first, g),
            jax.tree.map(lambda s, a: s + a * a, square, g),
            jax.tree.map(lambda s, a, b: s + a * b, product, g, next_),
        )

    start = gradients(0)
    zeros = jax.tree.map(jnp.zeros_like, start)
    first, square, product = jax.lax.fori_loop(1, draws + 1, add, (zeros, zeros, zeros))
    mean = jax.tree.map(lambda s: s / draws, first)
    variance = jax.tree.map(lambda s, a: s / draws - a * a, square, mean)
    return variance, jax.tree.map(lambda s, a: s / draws - a * jnp.roll(a, -1, axis=0), product, mean)


def _evaluation_chunk(cut: Plan) -> int:
    """Samples held at once: on arrays no more than in training, which the block's size was chosen for."""
    most = train.EVALUATION_CHUNK if cut.scalars else min(cut.microbatch, train.EVALUATION_CHUNK)
    return 2 ** int(math.log2(most))


def _zero_block(table: Any, *, spec: Spec, cut: Plan) -> jax.Array:
    table = _divide(table, cut)
    one = partial(train.zero_model_loss, spec=spec, chunk=_evaluation_chunk(cut))
    return jax.vmap(one, in_axes=(_axes(table),))(table)


def _loss_block(params: Any, table: Any, *, spec: Spec, cut: Plan) -> jax.Array:
    params, table = _divide(params, cut), _divide(table, cut)
    one = partial(train.noise_free_loss, spec=spec, chunk=_evaluation_chunk(cut))
    return jax.vmap(one, in_axes=(_axes(params), _axes(table)))(params, table)
