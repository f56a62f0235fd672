"""The plan: how to split a sweep into units, blocks and microbatches, a pure function of spec and platform."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import jax
import numpy as np

from tmsjax.engine import stages
from tmsjax.engine.scalars import reason_for_arrays
from tmsjax.errors import RunError, SpecError
from tmsjax.models import Problem, bind
from tmsjax.spec import Boxes, Spec, part_shape

# Largest number of weights (n m for tied models) to hold as separate scalars. Beyond it, compile time grows (10 s at
# 200 weights on CPU) and matrix products are faster.
SCALAR_LIMIT = {"cpu": 128}
SCALAR_LIMIT_ELSEWHERE = 16
STAGES_FROM, STAGES_UP_TO = 30, 1000  # weights of models that train in stages on CPU
STAGED_SAMPLES = 128  # at once
# Parameters of the models in a unit: 2,097,152 one-neuron models on CPU, which makes the fixed costs of a unit small.
UNIT_PARAMETERS = {"cpu": 2**23}
UNIT_PARAMETERS_ELSEWHERE = 2**26

# GPU: parameters of a model up to which XLA's kernel for the sum over samples keeps the samples in registers.
LANES_LIMIT = 4
CHUNK = {"xla": 16, "pallas": 256}  # steps; enough to make what is done once a chunk negligible
CHUNK_WORDS = 2**24  # of random bits that a chunk holds at once
EVALUATION_CHUNK = 2**10  # samples

# CPU: samples of a whole sweep up to which compiling for speed takes longer than it saves (see docs/performance.md).
SMALL = 10**8  # of any model; per weight:
SMALL_PER_WEIGHT = 5 * 10**6
TINY = 10**7  # samples times features
OF_EXACT = 64  # samples that take about as long as a step on the exact loss
SMALL_BLOCK = 64
QUICK, QUICKEST, FULL = 1, 0, 3  # XLA's optimization levels


@dataclass(frozen=True)
class Plan:
    """How to split the work. Recorded with a run, because the bits of its results depend on it.

    Attributes:
        scalars: Whether parameters are separate [block] vectors (small models) or arrays (batched matmuls).
        block: Instances per block.
        blocks: Number of blocks in a unit.
        microbatch: Samples per kernel.
        unroll: Samples unrolled in the kernel's body, which runs microbatch / unroll times.
        chunk: Steps in a loop whose length the compiler knows; 1: each step in a loop that the host controls.
        kernel: Who compiles a step: "xla", or "pallas" for the kernel in engine/kernel.py.
        staged: Whether arrays are computed in stages, see engine/stages.py.
        effort: XLA's optimization level on CPU: 3, or less for work so small that compiling would take longer.
        unit: Shape of the units, the boxes of the sweep's grid that are trained and stored one by one. Bits do not
            depend on it. None: the whole sweep is one unit.
    """

    scalars: bool
    block: int
    blocks: int
    microbatch: int
    unroll: int = 1
    unit: tuple[int, ...] | None = None
    chunk: int = 1
    kernel: str = "xla"
    effort: int = FULL
    staged: bool = False

    @property
    def evaluation_chunk(self) -> int:
        """Samples of an evaluation held at once; on arrays at most the microbatch, for which the block was chosen."""
        most = EVALUATION_CHUNK if self.scalars else min(self.microbatch, EVALUATION_CHUNK)
        return 2 ** int(math.log2(most))

    @property
    def program(self) -> str:
        """How models are computed, in words."""
        if self.scalars:
            return "scalars: a vector over models for every weight"
        if self.staged:
            return "stages: arrays over models and samples, kept in the cache"
        return "arrays: batched matrix products" + ("" if self.effort == FULL else ", compiled quickly")

    def units(self, spec: Spec) -> Boxes:
        """The units of a sweep."""
        return Boxes(spec.shape, spec.shape if self.unit is None else self.unit)


def stored_plan(facts: Mapping) -> Plan:
    """The plan that a run recorded. Raises RunError if it is none."""
    unit = facts.get("unit")
    try:
        return Plan(**{**facts, "unit": None if unit is None else tuple(unit)})
    except TypeError as error:
        raise RunError(f"run.json is damaged: no good plan ({error})") from error


def plan(spec: Spec, platform: str, units: int = 1) -> Plan:
    """The plan for `spec` on `platform`; path, block and microbatch sizes in `spec.engine` take precedence.

    `units`: how many there should be at least, unless `spec.engine.unit` says otherwise, if each has about a block.

    CPU: blocks whose state stays in cache. Their number in a unit is a multiple of the largest power of two, up to 16,
    that leaves each block enough work to cover its fixed costs. GPU, TPU: as few blocks as memory allows. The block
    size does not depend on `spec.engine.unit`, which therefore changes no bit. Small sweeps on CPU: arrays, and little
    effort of the compiler, unless `spec.engine.path` names a path.
    """
    problem = bind(spec)
    n, batch, parameters, weights = problem.features, problem.batch, problem.parameters, problem.weights
    cpu, kernel = platform == "cpu", spec.engine.kernel
    form, effort = _form(spec, problem, platform)
    scalars, staged = form == "scalars", form == "stages"
    most = UNIT_PARAMETERS.get(platform, UNIT_PARAMETERS_ELSEWHERE) // parameters
    models = math.prod(_unit(spec, most))
    in_lanes = scalars and (kernel == "pallas" or (platform == "gpu" and parameters <= LANES_LIMIT))
    microbatch, unroll = batch, 1
    if in_lanes:  # lanes of SIMD hold instances instead of samples
        largest = enough = 2**20
        unroll = math.gcd(batch, (16 if kernel == "xla" else 8) if parameters <= LANES_LIMIT else 4)
        microbatch = batch if kernel == "pallas" else math.gcd(batch, 4 * unroll)
    elif staged:  # an array of a stage: 2 MB
        microbatch = max(size for size in range(1, min(batch, STAGED_SAMPLES) + 1) if batch % size == 0)
        largest, enough = max(1, 2**19 // (microbatch * n)), 2**16 // batch
    elif scalars and cpu:
        largest, enough = max(1, 2**16 // weights), 2**16 // batch
    elif cpu:  # activations of a block: 4 MB
        largest = enough = max(1, 2**20 // (batch * n))
    else:  # 1 GB
        samples = batch if spec.train.loss == "sampled" else 1
        largest = enough = max(1, min(2**20, 2**28 // (samples * n)))
    fewest = 2 if cpu else 1  # blocks
    while cpu and fewest < 16 and models >= 2 * fewest * enough:
        fewest *= 2
    blocks = fewest * math.ceil(models / (fewest * largest))
    block = math.ceil(models / blocks)
    if effort != FULL:
        block = min(largest, SMALL_BLOCK, 2 ** math.ceil(math.log2(models)))  # few sizes, so that programs are shared
    if scalars:
        block = max(64, 16 * math.ceil(block / 16))  # whole SIMD vectors
    block = spec.engine.block or block
    if spec.engine.microbatch:
        microbatch = spec.engine.microbatch
        unroll = math.gcd(microbatch, unroll)
    if units > 1:
        most = min(most, max(block, spec.instances // units // block * block))
    unit = _unit(spec, spec.engine.unit or most)
    words = batch * problem.columns
    chunk = 1 if cpu and kernel == "xla" else max(2, min(CHUNK[kernel], CHUNK_WORDS // words))
    return Plan(
        scalars, block, math.ceil(math.prod(unit) / block), microbatch, unroll, unit, chunk, kernel, effort, staged
    )


def _form(spec: Spec, problem: Problem, platform: str) -> tuple[str, int]:
    """How to hold models ("scalars", "stages" or "arrays"), and the effort of the compiler."""
    path, weights, sampled = spec.engine.path, problem.weights, not problem.trains_exactly
    if path != "auto":
        return path, FULL
    if platform == "cpu" and spec.engine.kernel == "xla":
        samples = spec.instances * spec.train.steps * (problem.batch if sampled else OF_EXACT)
        if samples * problem.features <= TINY:
            return "arrays", QUICKEST
        layers = weights > SCALAR_LIMIT["cpu"]
        if sampled and STAGES_FROM <= weights <= STAGES_UP_TO and stages.suits(problem, layers):
            return "stages", FULL
        if samples <= min(SMALL, SMALL_PER_WEIGHT * weights):
            return "arrays", QUICK
    small = weights <= SCALAR_LIMIT.get(platform, SCALAR_LIMIT_ELSEWHERE)
    return "scalars" if small and why_arrays(problem) is None else "arrays", FULL


@lru_cache(maxsize=64)
def why_arrays(problem: Problem) -> str | None:
    """Why models cannot be held as scalars: an operation, and where it is written; None if they can."""
    if reason := problem.sampler.needs_arrays:
        return reason
    params = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in problem.shapes.items()}
    row, steps = problem.instance, jax.ShapeDtypeStruct((), np.int32)
    word = jax.ShapeDtypeStruct((problem.columns + problem.finite,), np.uint32)
    trained = problem.trained(params)
    state = jax.eval_shape(lambda p, row, steps: problem.optimized(row, steps).init(p), trained, row, steps)
    calls: list[tuple] = [
        (problem.training_loss, params, row, word, word),
        (problem.update, trained, state, params, row, steps),
    ]
    with jax.numpy_rank_promotion("raise"):
        return next(filter(None, (reason_for_arrays(*call) for call in calls)), None)


def slow_path(spec: Spec, cut: Plan, platform: str) -> str | None:
    """Why models that are small enough for scalars train on arrays; None if they do not, or a small sweep does."""
    limit = SCALAR_LIMIT.get(platform, SCALAR_LIMIT_ELSEWHERE)
    problem = bind(spec)
    free = spec.engine.path == "auto" and cut.effort == FULL and not (cut.scalars or cut.staged)
    free = free and problem.weights <= limit
    reason = why_arrays(problem) if free else None
    return reason and f"arrays, about 10 times slower than scalars, because of {reason}"


def check_engine(spec: Spec, platform: str) -> None:
    """Raises SpecError if there is nothing to train, or the path or the kernel that the spec wants cannot train it."""
    path, bound = None, bind(spec)
    if bound.frozen.issuperset(bound.shapes):
        why = f"{spec.model.family!r}: all parameters are frozen or have no gradient, so that there is nothing to train"
        raise SpecError(spec.name, [("model.family", why)])
    if spec.engine.path == "scalars" and (reason := why_arrays(bound)):
        path = f"cannot train these models because of {reason}"
    if spec.engine.path == "stages" and (platform != "cpu" or spec.train.loss == "exact"):
        path = "are for sampled losses on CPUs"
    if path:
        raise SpecError(
            spec.name, [("engine.path", f'"{spec.engine.path}" {path}; "arrays" and "auto" train every model')]
        )
    problem = None
    if spec.engine.kernel == "pallas":
        if platform not in ("gpu", "cpu"):
            problem = f"runs on GPUs (and on CPU, slowly, for tests), not on {platform}"
        elif not plan(spec, platform).scalars:
            problem = "trains models whose parameters are held as scalars (see docs/performance.md); this one is not"
        elif spec.train.loss == "exact":
            problem = 'needs train.loss = "sampled"'
        elif bound.finite:
            problem = "draws fresh samples at every step; it has no finite training sets (data.samples)"
    if problem:
        raise SpecError(spec.name, [("engine.kernel", f'"pallas" {problem}; "xla" trains every model')])


def _unit(spec: Spec, most: int) -> tuple[int, ...]:
    """The shape of units of at most `most` models.

    Units hold whole cells, with all replicas, so that a cell can be reduced or mapped when its unit is trained. Only
    cells that exceed `most` by themselves are divided, unless the spec wants the best of each cell.
    """
    replicas = spec.replica_axis
    divided = replicas is not None and spec.shape[replicas] > most and spec.store.keep != "best"
    return part_shape(spec.shape, most, () if replicas is None or divided else (replicas,))
