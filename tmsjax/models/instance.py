"""One instance: the swept quantities of a model, its data and its training."""

from __future__ import annotations

from collections.abc import Mapping

from flax import struct
from jaxtyping import Float32, UInt32

from tmsjax.kinds.arrays import Array, Floats


@struct.dataclass
class Instance:
    """The swept quantities of one instance, or of a stack of instances."""

    importance: Float32[Array, "*instance feature"]  # >= 0
    feature_probability: Float32[Array, "*instance feature"]  # in (0, 1]
    learning_rate: Float32[Array, "*instance"]  # peak of the schedule
    weight_decay: Float32[Array, "*instance"]
    init_scale: Float32[Array, "*instance"]  # standard deviation of W at init
    bias_scale: Float32[Array, "*instance"]  # standard deviation of b at init
    identity: UInt32[Array, "*instance 2"]  # hash of the sorted (axis, value) pairs
    cell: UInt32[Array, "*instance 2"]  # the same hash without the replica axis
    replica: UInt32[Array, "*instance"]  # index along the replica axis; 0 if there is none
    options: Mapping[str, Float32[Array, "*instance"]] = struct.field(default_factory=dict)  # by "table.key"
    source: Mapping[str, Floats] = struct.field(default_factory=dict)  # the stored model that is the data (spec.Source)

    def own(self, table: str) -> dict[str, Floats]:
        """The values of the options in one table of the spec, by key."""
        return {k.partition(".")[2]: v for k, v in self.options.items() if k.startswith(f"{table}.")}
