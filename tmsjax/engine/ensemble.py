"""Many instances at once: jit, donation and placement on devices.

Instances are split into blocks of one fixed size. One compiled program advances a block by a segment of steps, with all
its instances under vmap. Blocks never communicate: they are distributed over the devices, and one thread per device (on
CPU, per core) calls the program for one block after another. Bits therefore depend only on the block size and the
microbatch. In one program over several blocks they would also depend on the number of blocks, since XLA contracts
multiply and add differently for other shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.engine import train
from tmsjax.engine.machine import cores
from tmsjax.engine.plan import Plan, check_engine, plan
from tmsjax.engine.segment import advance, axes, divide
from tmsjax.engine.train import TrainState
from tmsjax.kinds import FAMILIES
from tmsjax.models import inputs, instances, model, of_activity, of_zero_model
from tmsjax.spec import Box, Boxes, Spec

WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}  # XLA's default is 256
# Sums over samples in SIMD lanes need permission to reorder additions; NaN, infinity and division stay IEEE.
REASSOCIATE = {"xla_cpu_enable_fast_math": True} | {
    f"xla_cpu_fast_math_honor_{what}": True for what in ("nans", "infs", "division", "functions")
}


class Ensemble:
    """The instances of one spec, or of a part of its grid, on some devices.

    A value per instance (a TrainState, a loss) is a list of blocks, each a tree of arrays with a leading instance axis.
    `gather` converts blocks to numpy arrays of all instances, `place` does the reverse. The last block is padded with
    copies of the last instance.
    """

    def __init__(
        self,
        spec: Spec,
        devices: Sequence[jax.Device] | None = None,
        cut: Plan | None = None,
        box: Box | None = None,
    ):
        self.spec = spec
        self.devices = tuple(devices or jax.local_devices())
        self.platform = self.devices[0].platform
        check_engine(spec, self.platform)
        self.plan = cut or plan(spec, self.platform)
        self.box = Box.whole(spec.shape) if box is None else box
        self._compiled_already: set[Any] = set()
        self._program: Any = None
        self._init = self._compiled(partial(_init_block, spec=spec))
        self._advance = self._compiled(
            partial(advance, spec=spec, cut=self.plan, interpret=self.platform == "cpu"),
            training=True,
            donate_argnums=0,
        )
        self._loss = self._compiled(partial(_loss_block, spec=spec, cut=self.plan))
        self._zero = self._compiled(partial(_zero_block, spec=spec, cut=self.plan))

    def on(self, box: Box) -> Ensemble:
        """The instances in another part of the grid, with the same compiled programs."""
        other = copy(self)
        other.box = box
        other.__dict__.pop("table", None)
        return other

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return math.ceil(self.box.size / self.plan.block)

    @property
    def threads(self) -> int:
        """The number of threads that call programs: one per device, on CPU one per core."""
        return max(len(self.devices), cores()) if self.platform == "cpu" else len(self.devices)

    @cached_property
    def table(self) -> list:
        """The instances (see models.Instance) as blocks."""
        return self.place(instances(self.spec, self.box))

    def _compiled(self, function: Callable, training: bool = False, **options: Any) -> Any:
        # By default GPUs and TPUs round the inputs of matrix products to 10 or 7 bits. "high" adds 3 products of 7 bits
        # on TPUs and rounds nothing on GPUs.
        precision = None if self.platform == "cpu" else "high" if training else "highest"

        def strict(*args: Any) -> Any:
            with jax.numpy_rank_promotion("raise"), jax.default_matmul_precision(precision):
                return function(*args)

        if self.platform == "cpu":
            options["compiler_options"] = WIDE_VECTORS | (REASSOCIATE if training else {})
        return jax.jit(strict, **options)

    def _on_blocks(self, function: Callable, *blocks: list, extra: tuple = (), consume: bool = False) -> list:
        """`function(*block, *extra)` for every block, in parallel over devices and cores.

        `consume`: frees each block of the first list as soon as its output exists, so that peak memory is one copy.
        """

        def call(k: int) -> Any:
            done = jax.block_until_ready(function(*(b[k] for b in blocks), *extra))
            if consume:
                blocks[0][k] = None
            return done

        work = range(self.blocks)
        alone = 0 if function in self._compiled_already else 1  # the first call compiles; in threads, each would
        first = [call(k) for k in work[:alone]]
        self._compiled_already.add(function)
        with ThreadPoolExecutor(min(self.threads, self.blocks)) as pool:
            return first + list(pool.map(call, work[alone:]))

    def place(self, tree: Any) -> list:
        """Splits numpy arrays with a leading instance axis into blocks; scalars are copied to every block."""
        size = self.plan.block

        def part(leaf: Any, k: int) -> Any:
            if not np.ndim(leaf):
                return leaf
            rows = leaf[k * size : (k + 1) * size]
            return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)]) if len(rows) < size else rows

        devices = self.devices
        return [
            jax.device_put(jax.tree.map(partial(part, k=k), tree), devices[k % len(devices)])
            for k in range(self.blocks)
        ]

    def gather(self, blocks: list) -> Any:
        """Joins blocks to one tree of numpy arrays, without padding."""

        def join_blocks(*leaves: Any) -> np.ndarray:
            if not np.ndim(leaves[0]):
                return np.asarray(leaves[0])
            return np.concatenate([np.asarray(leaf) for leaf in leaves])[: self.box.size]

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
        """The loss of a model whose output is 0, for every instance, (instances,). Exact if the target is x."""
        if FAMILIES[self.spec.model.family].reproduces and self.spec.data.run is None:
            given = inputs(self.spec, self.box)
            own = of_activity(self.spec, self.box)
            return of_zero_model(given["importance"], given["feature_probability"], self.spec, own)
        return self.gather(self._on_blocks(self._zero, self.table))

    def abstract_state(self, rows: int) -> TrainState:
        """Shapes and dtypes of the gathered state of `rows` instances."""
        state = jax.eval_shape(self._init, self._abstract_table())
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]) if x.ndim else (), x.dtype), state)

    def _abstract_block(self) -> tuple[TrainState, Any]:
        """Shapes and dtypes of the state and the table of a block, on the first device."""
        table, where = self._abstract_table(), jax.sharding.SingleDeviceSharding(self.devices[0])
        state = jax.eval_shape(self._init, table)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state), table

    def _abstract_table(self) -> Any:
        row = instances(self.spec, Boxes(self.spec.shape, (1,) * len(self.spec.shape))[0])
        size, where = self.plan.block, jax.sharding.SingleDeviceSharding(self.devices[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=where), row)

    def lowered(self, platform: str) -> dict[str, Any]:
        """The programs "init", "step" (which advances a block) and "loss" for a block, lowered for `platform`."""
        state, table = self._abstract_block()
        calls = {
            "init": (self._init, (table,)),
            "step": (self._advance, (state, table, np.int32(0))),
            "loss": (self._loss, (state.params, table)),
        }
        return {
            name: program.trace(*arguments).lower(lowering_platforms=(platform,))
            for name, (program, arguments) in calls.items()
        }

    def compile(self) -> Any:
        """The compiled program that advances a block, for its memory analysis and HLO. Compiles once."""
        if self._program is None:
            self._program = self._advance.lower(*self._abstract_block(), np.int32(0)).compile()
        return self._program


def directions(params: dict, spec: Spec) -> np.ndarray | None:
    """W (instances, m, n), features as columns, from gathered parameters; None if features have no directions."""
    family = FAMILIES[spec.model.family]
    if family.directions is None:
        return None
    if "W" in family.parameters:
        return params["W"]  # equals the directions, see kinds.Family
    return np.asarray(jax.vmap(partial(model.directions, model=spec.model))(params))


def _init_block(table: Any, *, spec: Spec) -> TrainState:
    one = partial(train.init, spec=spec)
    shape = jax.eval_shape(one, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), table))
    shared = jax.tree.map(lambda x: None if jnp.issubdtype(x.dtype, jnp.integer) else 0, shape)  # step counts
    return jax.vmap(one, out_axes=shared)(table)


def _evaluation_chunk(cut: Plan) -> int:
    """The number of samples held at once; on arrays at most the microbatch, for which the block size was chosen."""
    most = train.EVALUATION_CHUNK if cut.scalars else min(cut.microbatch, train.EVALUATION_CHUNK)
    return 2 ** int(math.log2(most))


def _zero_block(table: Any, *, spec: Spec, cut: Plan) -> jax.Array:
    table = divide(table, cut)
    one = partial(train.zero_model_loss, spec=spec, chunk=_evaluation_chunk(cut))
    return jax.vmap(one, in_axes=(axes(table),))(table)


def _loss_block(params: Any, table: Any, *, spec: Spec, cut: Plan) -> jax.Array:
    params, table = divide(params, cut), divide(table, cut)
    one = partial(train.noise_free_loss, spec=spec, chunk=_evaluation_chunk(cut))
    return jax.vmap(one, in_axes=(axes(params), axes(table)))(params, table)
