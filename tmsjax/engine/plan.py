"""The plan: how the work of a sweep is cut, a pure function of spec and platform."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tmsjax.models import elementwise_model, model
from tmsjax.spec import Spec

# Most weights (n m of tied models) that are held as scalars. Beyond it compile time grows (10 s at 200 on CPU) and
# matrix products win.
SCALAR_LIMIT = {"cpu": 128}
SCALAR_LIMIT_ELSEWHERE = 16


@dataclass(frozen=True)
class Plan:
    """How the work is cut, a pure function of spec and platform; recorded with a run, since bits depend on it.

    scalars:    parameters as separate [block] vectors (small models) instead of arrays (batched matmuls)
    block:      instances in a block
    blocks:     number of blocks that the sweep fills
    microbatch: samples in one kernel
    unroll:     samples written out in the kernel's body, which runs microbatch / unroll times
    """

    scalars: bool
    block: int
    blocks: int
    microbatch: int
    unroll: int = 1

    def rows(self, part: range, instances: int) -> range:
        """The instances in the blocks of `part`."""
        return range(part.start * self.block, min(part.stop * self.block, instances))


def plan(spec: Spec, platform: str) -> Plan:
    """The rule. CPU: blocks whose state stays in cache, as many as 16 if that leaves each enough work to cover
    its fixed costs, a power of two. GPU, TPU: as few as memory allows."""
    n, m, batch = spec.model.features, spec.model.hidden, spec.train.batch
    cpu = platform == "cpu"
    limit = SCALAR_LIMIT.get(platform, SCALAR_LIMIT_ELSEWHERE)
    weights = max(n * m, sum(math.prod(shape) for shape in model.shapes(spec.model).values() if len(shape) > 1))
    scalars = weights <= limit and elementwise_model(spec)
    microbatch, unroll = batch, 1
    if scalars and cpu:
        largest, enough = max(1, 2**16 // weights), 2**16 // batch
    elif scalars:  # SIMD lanes are instances there, on CPU they are samples
        largest, enough = 2**20, 2**20
        microbatch = unroll = math.gcd(batch, 16 if weights <= 4 else 8)
    else:  # activations of a block: 4 MB, 1 GB
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
