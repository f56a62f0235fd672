"""The plan: how to split a sweep into blocks and microbatches, a pure function of spec and platform."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tmsjax.models import elementwise_model, model
from tmsjax.spec import Spec

# Largest number of weights (n m for tied models) to hold as separate scalars. Beyond it, compile time grows (10 s at
# 200 weights on CPU) and matrix products are faster.
SCALAR_LIMIT = {"cpu": 128}
SCALAR_LIMIT_ELSEWHERE = 16


@dataclass(frozen=True)
class Plan:
    """How to split the work. Recorded with a run, because the bits of its results depend on it.

    scalars:    whether parameters are separate [block] vectors (small models) or arrays (batched matmuls)
    block:      instances per block
    blocks:     number of blocks in the sweep
    microbatch: samples per kernel
    unroll:     samples unrolled in the kernel's body, which runs microbatch / unroll times
    """

    scalars: bool
    block: int
    blocks: int
    microbatch: int
    unroll: int = 1

    def rows(self, part: range, instances: int) -> range:
        """The instances in the blocks `part` of a sweep of `instances` instances."""
        return range(part.start * self.block, min(part.stop * self.block, instances))


def plan(spec: Spec, platform: str) -> Plan:
    """The plan for `spec` on `platform`; block and microbatch sizes in `spec.engine` take precedence.

    CPU: blocks whose state stays in cache. Their number is a multiple of the largest power of two, up to 16, that
    leaves each block enough work to cover its fixed costs. GPU, TPU: as few blocks as memory allows.
    """
    n, m, batch = spec.model.features, spec.model.hidden, spec.train.batch
    cpu = platform == "cpu"
    limit = SCALAR_LIMIT.get(platform, SCALAR_LIMIT_ELSEWHERE)
    weights = max(n * m, sum(math.prod(shape) for shape in model.shapes(spec.model).values() if len(shape) > 1))
    scalars = weights <= limit and elementwise_model(spec)
    microbatch, unroll = batch, 1
    if scalars and cpu:
        largest, enough = max(1, 2**16 // weights), 2**16 // batch
    elif scalars:  # GPU, TPU: SIMD lanes hold instances; on CPU they hold samples
        largest, enough = 2**20, 2**20
        microbatch = unroll = math.gcd(batch, 16 if weights <= 4 else 8)
    else:  # activations of a block: 4 MB on CPU, 1 GB elsewhere
        largest = enough = max(1, (2**20 if cpu else 2**28) // (batch * n))
    fewest = 2 if cpu else 1  # blocks
    while cpu and fewest < 16 and spec.instances >= 2 * fewest * enough:
        fewest *= 2
    blocks = fewest * math.ceil(spec.instances / (fewest * largest))
    block = math.ceil(spec.instances / blocks)
    if scalars:
        block = max(64, 16 * math.ceil(block / 16))  # whole SIMD vectors
    block = spec.engine.block or block
    if spec.engine.microbatch:
        microbatch = spec.engine.microbatch
        unroll = math.gcd(microbatch, unroll)
    return Plan(scalars, block, math.ceil(spec.instances / block), microbatch, unroll)
