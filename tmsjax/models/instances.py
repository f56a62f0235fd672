"""The table of instances that a spec's axes span: arrays with a leading instance axis, in C order of the axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, UInt32, UInt64

from tmsjax.kinds import REPLICA
from tmsjax.models.instance import Instance
from tmsjax.models.norms import root_mean_square
from tmsjax.spec import Box, Source, Spec, declared_options, hash64, option_quantities, per_feature

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def instances(spec: Spec, box: Box | None = None) -> Instance:
    """The table of `spec`, or of a part of its grid, as numpy arrays. Raises ValueError as `identities` does."""
    box = box or Box.whole(spec.shape)
    options = {name: _column(spec, name, box, per_feature(spec, name)) for name in option_quantities(spec)}
    table = Instance(
        importance=_column(spec, "importance", box),
        feature_probability=_column(spec, "feature_probability", box),
        learning_rate=_column(spec, "learning_rate", box, per_feature=False),
        weight_decay=_column(spec, "weight_decay", box, per_feature=False),
        init_scale=_column(spec, "init_scale", box, per_feature=False),
        bias_scale=_column(spec, "bias_scale", box, per_feature=False),
        identity=_words(identities(spec, box)),
        cell=_words(identities(spec, box, without=(REPLICA,))),
        replica=_replica(spec, box),
        options=options,
        source=spec.source.of(box) if isinstance(spec.source, Source) else {},
    )
    if not (scaled := of_norm(spec)):
        return table
    norm = root_mean_square(spec, table)
    return replace(table, options=options | {name: (options[name] * norm).astype(np.float32) for name in scaled})


def of_norm(spec: Spec) -> list[str]:
    """The options of the loss that are in units of the norm of a sample."""
    declared = declared_options("loss", vars(spec.loss))
    return [f"loss.{key}" for key, option in declared.items() if option.of_norm]


def inputs(spec: Spec, box: Box) -> dict[str, Float32[np.ndarray, "instance feature"]]:
    """The columns that results keep: importance and feature_probability."""
    return {name: _column(spec, name, box) for name in ("importance", "feature_probability")}


def _column(spec: Spec, name: str, box: Box, per_feature: bool = True) -> Float32[np.ndarray, "instance ..."]:
    values = spec.evaluate(name, box).astype(np.float32)
    if per_feature:
        return np.broadcast_to(values, (*box.shape, spec.length(name))).reshape(box.size, -1)
    return np.broadcast_to(values[..., 0], box.shape).reshape(box.size)


def _replica(spec: Spec, box: Box) -> UInt32[np.ndarray, "instance"]:
    axis = spec.replica_axis
    if axis is None:
        return np.zeros(box.size, np.uint32)
    return _spread(np.asarray(box.ranges[axis], np.uint32), axis, box).reshape(box.size)


def _spread(values: np.ndarray, axis: int, box: Box) -> np.ndarray:
    """Values along one axis, broadcast to the shape of the box."""
    shape = [1] * len(box.shape)
    shape[axis] = len(values)
    return np.broadcast_to(values.reshape(shape), box.shape)


def identities(spec: Spec, box: Box | None = None, without: tuple[str, ...] = ()) -> UInt64[np.ndarray, "instance"]:
    """Each instance's hash of its (axis name, value) pairs, axes in alphabetical order.

    It depends on neither the order nor the other values of an axis.

    Args:
        spec: The sweep.
        box: A part of its grid; None: all.
        without: Axes to leave out.

    Raises:
        ValueError: Two instances of the box share a hash.
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


def _mix(x: UInt64[np.ndarray, "*axes"]) -> UInt64[np.ndarray, "*axes"]:
    """The splitmix64 finaliser: a bijection of uint64 that spreads every bit."""
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))


def _words(identity: UInt64[np.ndarray, "instance"]) -> UInt32[np.ndarray, "instance 2"]:
    return np.stack([identity, identity >> np.uint64(32)], axis=-1).astype(np.uint32)
