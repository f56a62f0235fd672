"""Compiled programs, kept: in this process by what they depend on, on disk by jax's cache of compiled programs.

A program depends on the problem, the plan's block and the devices' kind. Everything else (seed, number of steps, values
of the axes) is an argument, so that a second sweep that differs only in these traces and compiles nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import TypeVar

import jax
import numpy as np
from jax.stages import Compiled, Lowered, Wrapped
from jaxtyping import Float

from tmsjax.engine import cache, stages, train
from tmsjax.engine.plan import FULL, QUICK, QUICKEST, Plan
from tmsjax.engine.segment import advance, axes, divide
from tmsjax.engine.streams import Shared
from tmsjax.engine.train import TrainState
from tmsjax.kinds.arrays import Array, Params
from tmsjax.models import Instance, Problem

T = TypeVar("T")
KEPT = 16  # sets of programs, those used last
WIDE_VECTORS = {"xla_cpu_prefer_vector_width": 512}  # XLA's default is 256
# Sums over samples in SIMD lanes need permission to reorder additions; NaN, infinity and division stay IEEE.
REASSOCIATE = {"xla_cpu_enable_fast_math": True} | {
    f"xla_cpu_fast_math_honor_{what}": True for what in ("nans", "infs", "division", "functions")
}
NUMBER = jax.ShapeDtypeStruct((), np.int32)


def programs(problem: Problem, cut: Plan, platform: str) -> Programs:
    """The programs of a problem, as the plan splits it. The number and size of units do not matter."""
    return _kept(problem, replace(cut, blocks=1, unit=None), platform)


@lru_cache(maxsize=KEPT)
def _kept(problem: Problem, cut: Plan, platform: str) -> Programs:
    return Programs(problem, cut, platform)


class Programs:
    """The programs that init, advance and evaluate a block of instances: "init", "advance", "loss" and "zero".

    All take a block's table of instances (a models.Instance with a leading instance axis) and the numbers that
    instances share (Shared).
    """

    def __init__(self, problem: Problem, cut: Plan, platform: str):
        self.problem, self.cut, self.platform = problem, cut, platform
        self._compiled: dict[tuple[str, jax.Device], Compiled] = {}
        self._lock = threading.Lock()
        self._functions = {
            "init": self._jitted("init", partial(_init, problem=problem)),
            "advance": self._jitted(
                "advance", partial(advance, problem=problem, cut=cut, interpret=platform == "cpu"), donate_argnums=0
            ),
            "loss": self._jitted("loss", partial(_loss, problem=problem, cut=cut)),
            "zero": self._jitted("zero", partial(_zero, problem=problem, cut=cut)),
        }

    def _jitted(self, name: str, function: Callable[..., T], donate_argnums: int | None = None) -> Wrapped:
        # By default GPUs and TPUs round the inputs of matrix products to 10 or 7 bits. "high" adds 3 products of 7 bits
        # on TPUs and rounds nothing on GPUs.
        precision = None if self.platform == "cpu" else "high" if name == "advance" else "highest"

        def strict(*args: object) -> T:
            with jax.numpy_rank_promotion("raise"), jax.default_matmul_precision(precision):
                return function(*args)

        options = _compiler_options(self.cut, name) if self.platform == "cpu" else None
        return jax.jit(strict, donate_argnums=donate_argnums, compiler_options=options)

    def compiled(self, name: str, device: jax.Device, tell: Callable[[], None] = lambda: None) -> Compiled:
        """The compiled program on one device. Compiles once, after calling `tell`."""
        with self._lock:
            if (name, device) not in self._compiled:
                tell()
                with cache.on_disk():
                    self._compiled[name, device] = self.lowered(name, device).compile()
            return self._compiled[name, device]

    def lowered(self, name: str, device: jax.Device, platform: str | None = None) -> Lowered:
        """The lowered program for a device, which need not be on this machine if its `platform` is given."""
        where = jax.sharding.SingleDeviceSharding(device)
        arguments = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), self._arguments(name)
        )
        traced = self._functions[name].trace(*arguments)
        return traced.lower() if platform is None else traced.lower(lowering_platforms=(platform,))

    def shared(self, seed: int, steps: int) -> Shared:
        """The numbers that instances share, for these programs."""
        return Shared.of(seed, steps, apart=self.platform == "cpu" and self.cut.effort == FULL)

    def _arguments(self, name: str) -> tuple:
        """Shapes and types of a program's arguments."""
        common = self.table, self.shared(0, 0)
        first = {"init": (), "advance": (self.state,)}.get(name, (self.state.params,))
        return (*first, *common, NUMBER) if name == "advance" else (*first, *common)

    @cached_property
    def table(self) -> Instance:
        """Shapes and types of a block's table."""
        size = self.cut.block
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), self.problem.instance)

    @cached_property
    def state(self) -> TrainState:
        """Shapes and types of a block's state."""
        return jax.eval_shape(self._functions["init"], self.table, self.shared(0, 0))


def _compiler_options(cut: Plan, name: str) -> dict[str, int | bool | str]:
    """XLA's options on CPU for a program."""
    if cut.effort == FULL and (name == "advance" or not cut.staged):
        staged = stages.WHOLE_STAGES if cut.staged else {}
        return WIDE_VECTORS | (REASSOCIATE | staged if name == "advance" else {})
    levels = {"init": QUICKEST, "advance": cut.effort}  # evaluation has more samples than a short training
    return {"xla_backend_optimization_level": levels.get(name, QUICK)}


def _init(table: Instance, shared: Shared, *, problem: Problem) -> TrainState:
    one = partial(train.init, shared=shared, problem=problem)
    shape = jax.eval_shape(one, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), table))
    shared_leaves = iter((True, *(False for _ in shape.params), *train.counters(problem)))
    return jax.vmap(one, out_axes=jax.tree.map(lambda _: None if next(shared_leaves) else 0, shape))(table)


def _zero(params: Params, table: Instance, shared: Shared, *, problem: Problem, cut: Plan) -> Float[Array, "block"]:
    params, table = divide(params, cut), divide(table, cut)
    one = partial(train.zero_model_loss, shared=shared, problem=problem, chunk=cut.evaluation_chunk)
    return jax.vmap(one, in_axes=(axes(params), axes(table)))(params, table)


def _loss(params: Params, table: Instance, shared: Shared, *, problem: Problem, cut: Plan) -> Float[Array, "block"]:
    params, table = divide(params, cut), divide(table, cut)
    one = partial(train.noise_free_loss, shared=shared, problem=problem, chunk=cut.evaluation_chunk)
    return jax.vmap(one, in_axes=(axes(params), axes(table)))(params, table)
