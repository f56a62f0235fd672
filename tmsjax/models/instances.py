"""The table of instances that a spec's axes span: arrays with a leading instance axis, in C order of the axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import struct

from tmsjax.kinds import REPLICA, VALUES
from tmsjax.spec import ATTACK, Box, Data, Spec, hash64, option_quantities

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@struct.dataclass
class Instance:
    """The swept quantities of one instance with n features. Stacked, every field has a leading instance axis."""

    importance: Any  # (n,) float32, >= 0
    feature_probability: Any  # (n,) float32, in (0, 1]
    learning_rate: Any  # () float32, peak of the schedule
    weight_decay: Any  # () float32
    init_scale: Any  # () float32, standard deviation of W at init
    bias_scale: Any  # () float32, standard deviation of b at init
    identity: Any  # (2,) uint32, hash of the sorted (axis, value) pairs
    cell: Any  # (2,) uint32, the same hash without the replica axis
    replica: Any  # () uint32, index along the replica axis; 0 if there is none
    options: Any = struct.field(default_factory=dict)  # "table.key" -> () float32, quantities of some entries
    source: Any = struct.field(default_factory=dict)  # the stored model whose hidden layer is the data, see spec.Source

    def own(self, table: str) -> dict[str, Any]:
        """The values of the options in one table of the spec, by key."""
        return {k.partition(".")[2]: v for k, v in self.options.items() if k.startswith(f"{table}.")}


def instances(spec: Spec, box: Box | None = None) -> Instance:
    """The table of `spec`, or of a part of its grid, as numpy arrays. Raises ValueError as `identities` does."""
    box = box or Box.whole(spec.shape)
    options = {name: _column(spec, name, box, per_feature=False) for name in option_quantities(spec)}
    probability = _column(spec, "feature_probability", box)
    if ATTACK in options:  # as a radius
        norm = root_mean_square(probability, spec.data, of_activity(spec, box))
        options[ATTACK] = (options[ATTACK] * norm).astype(np.float32)
    return Instance(
        importance=_column(spec, "importance", box),
        feature_probability=probability,
        learning_rate=_column(spec, "learning_rate", box, per_feature=False),
        weight_decay=_column(spec, "weight_decay", box, per_feature=False),
        init_scale=_column(spec, "init_scale", box, per_feature=False),
        bias_scale=_column(spec, "bias_scale", box, per_feature=False),
        identity=_words(identities(spec, box)),
        cell=_words(identities(spec, box, without=(REPLICA,))),
        replica=_replica(spec, box),
        options=options,
        source=spec.source.of(box) if spec.source is not None else {},
    )


def of_activity(spec: Spec, box: Box) -> dict[str, np.ndarray]:
    """The values of the activity's options that are quantities, (instances,) float32."""
    names = [name for name in option_quantities(spec) if name.startswith("data.")]
    return {name.removeprefix("data."): _column(spec, name, box, per_feature=False) for name in names}


def root_mean_square(probability: np.ndarray, data: Data, own: Mapping[str, Any]) -> np.ndarray:
    """The root mean square norm of a sample, shape (...), for `probability` (..., n)."""
    active = data.drawn(probability.shape[-1], own).marginal(probability.astype(np.float64))
    return np.sqrt(VALUES[data.values].square * active.sum(-1))


def inputs(spec: Spec, box: Box) -> dict[str, np.ndarray]:
    """The columns that results keep: importance and feature_probability, (instances, n) float32."""
    return {name: _column(spec, name, box) for name in ("importance", "feature_probability")}


def _column(spec: Spec, name: str, box: Box, per_feature: bool = True) -> np.ndarray:
    values = spec.evaluate(name, box).astype(np.float32)
    if per_feature:
        return np.broadcast_to(values, (*box.shape, spec.model.features)).reshape(box.size, -1)
    return np.broadcast_to(values[..., 0], box.shape).reshape(box.size)


def _replica(spec: Spec, box: Box) -> np.ndarray:
    axis = spec.replica_axis
    if axis is None:
        return np.zeros(box.size, np.uint32)
    return _spread(np.asarray(box.ranges[axis], np.uint32), axis, box).reshape(box.size)


def _spread(values: np.ndarray, axis: int, box: Box) -> np.ndarray:
    """Values along one axis, broadcast to the shape of the box."""
    shape = [1] * len(box.shape)
    shape[axis] = len(values)
    return np.broadcast_to(values.reshape(shape), box.shape)


def identities(spec: Spec, box: Box | None = None, without: tuple[str, ...] = ()) -> np.ndarray:
    """(instances,) uint64: each instance's hash of its (axis name, value) pairs, axes in alphabetical order.

    It depends on neither the order nor the other values of an axis. `box`: a part of the grid. `without`: axes to leave
    out. Raises ValueError if two instances of the box share a hash.
    """
    box = box or Box.whole(spec.shape)
    out = np.zeros(box.shape, np.uint64)
    for name in sorted(spec.axis.keys() - set(without)):
        axis = list(spec.axis).index(name)
        values = spec.axis[name].values[box.slices[axis]]
        out = _mix(out ^ _spread(np.array([hash64(name, v) for v in values], np.uint64), axis, box))
    out = out.reshape(box.size)
    if not without:
        ordered = np.sort(out)
        if np.any(ordered[1:] == ordered[:-1]):
            raise ValueError("two instances share a 64-bit identity; change the name of an axis")
    return out


def _mix(x: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser: a bijection of uint64 that spreads every bit."""
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))


def _words(identity: np.ndarray) -> np.ndarray:
    """uint64 (k,) as uint32 (k, 2)."""
    return np.stack([identity, identity >> np.uint64(32)], axis=-1).astype(np.uint32)
