"""Many instances at once: blocks, their placement on devices, and the calls of compiled programs.

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
from typing import Any, TypeVar

import jax
import numpy as np
from jax.stages import Compiled
from jaxtyping import Float

from tmsjax.engine.forks import check_not_forked
from tmsjax.engine.machine import cores
from tmsjax.engine.plan import Plan, check_engine, plan
from tmsjax.engine.programs import programs
from tmsjax.engine.train import TrainState
from tmsjax.kinds.arrays import Array, Params
from tmsjax.models import Instance, Problem, bind, instances, of_zero_model
from tmsjax.models.sampling import FeatureSampler
from tmsjax.spec import Box, Spec

T = TypeVar("T")


class Ensemble:
    """The instances of one spec, or of a part of its grid, on some devices.

    A value per instance (a TrainState, a loss) is a list of blocks, each a tree of arrays with a leading instance axis.
    `gather` converts blocks to numpy arrays of all instances, `place` does the reverse. The last block is padded with
    copies of the last instance.
    """

    def __init__(self, spec: Spec, devices: Sequence[jax.Device] = (), cut: Plan | None = None, box: Box | None = None):
        check_not_forked()
        self.spec = spec
        self.devices = tuple(devices or jax.local_devices())
        self.platform = self.devices[0].platform
        check_engine(spec, self.platform)
        self.problem = bind(spec)
        self.plan = cut or plan(spec, self.platform)
        self.box = Box.whole(spec.shape) if box is None else box
        self.programs = programs(self.problem, self.plan, self.platform)
        self.shared = self.programs.shared(spec.seed, spec.train.steps)
        self.on_compiling: Callable[[], None] = lambda: None  # called before a program is compiled

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
    def table(self) -> list[Instance]:
        """The instances as blocks."""
        return self.place(instances(self.spec, self.box))

    def _on_blocks(self, name: str, *blocks: list, extra: tuple = (), consume: bool = False) -> list:
        """Calls a program as `(*block, shared, *extra)` for every block, in parallel over devices and cores.

        `consume`: frees each block of the first list as soon as its output exists, so that peak memory is one copy.
        """

        def call(k: int) -> Any:
            device = self.devices[k % len(self.devices)]
            program = self.programs.compiled(name, device, self.on_compiling)
            done = jax.block_until_ready(program(*(b[k] for b in blocks), self.shared, *extra))
            if consume:
                blocks[0][k] = None
            return done

        if self.blocks == 1:
            return [call(0)]
        with ThreadPoolExecutor(min(self.threads, self.blocks)) as pool:
            return list(pool.map(call, range(self.blocks)))

    def place(self, tree: T) -> list[T]:
        """Splits numpy arrays with a leading instance axis into blocks; scalars are copied to every block."""
        size = self.plan.block

        def part(leaf: Array, k: int) -> Array:
            if not np.ndim(leaf):
                return leaf
            rows = leaf[k * size : (k + 1) * size]
            return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)]) if len(rows) < size else rows

        devices = self.devices
        return [
            jax.device_put(jax.tree.map(partial(part, k=k), tree), devices[k % len(devices)])
            for k in range(self.blocks)
        ]

    def gather(self, blocks: list[T]) -> T:
        """Joins blocks to one tree of numpy arrays, without padding."""

        def join_blocks(*leaves: Array) -> np.ndarray:
            if not np.ndim(leaves[0]):
                return np.asarray(leaves[0])
            return np.concatenate([np.asarray(leaf) for leaf in leaves])[: self.box.size]

        return jax.tree.map(join_blocks, *blocks)

    def init(self) -> list[TrainState]:
        """The states before step 0."""
        return self._on_blocks("init", self.table)

    def advance(self, states: list[TrainState], stop: int) -> list[TrainState]:
        """The states after step `stop`. Donates `states` and empties the list."""
        after = self._on_blocks("advance", states, self.table, extra=(np.int32(stop),), consume=True)
        states.clear()
        return after

    def noise_free_loss(self, states: list[TrainState]) -> Float[np.ndarray, "instance"]:
        """The noise-free loss of every instance (see train.noise_free_loss), float32."""
        return self.gather(self._on_blocks("loss", [state.params for state in states], self.table))

    def zero_model_loss(self, states: list[TrainState]) -> Float[np.ndarray, "instance"]:
        """The loss of a model whose output is 0, for every instance. Exact if the target is x and moments are known."""
        problem, sampler = self.problem, self.problem.sampler
        square = problem.family.reproduces and problem.loss_kind.square
        if square and isinstance(sampler, FeatureSampler) and sampler.drawn.known_alone:
            return of_zero_model(instances(self.spec, self.box), sampler)
        return self.gather(self._on_blocks("zero", [state.params for state in states], self.table))

    def abstract_state(self, rows: int) -> TrainState:
        """Shapes and dtypes of the gathered state of `rows` instances."""
        state = self.programs.state
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]) if x.ndim else (), x.dtype), state)

    def compile(self) -> Compiled:
        """The compiled program that advances a block, for its memory analysis and HLO. Compiles once."""
        return self.programs.compiled("advance", self.devices[0], self.on_compiling)


def directions(params: Params, problem: Problem) -> Float[np.ndarray, "instance hidden feature"] | None:
    """W, features as columns, from gathered parameters; None if features have no directions."""
    if problem.family.directions is None:
        return None
    if "W" in problem.family.parameters:
        return np.asarray(params["W"])  # equals the directions, see kinds.add_family
    return np.asarray(jax.vmap(problem.directions)(params))
