"""The table of instances that a spec's axes span: arrays with a leading instance axis, in C order of the axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from flax import struct

from tmsjax.kinds import REPLICA
from tmsjax.spec import Spec, hash64, option_quantities

Place = tuple[np.ndarray, ...]  # the index of each row along each axis
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
    options: Any = struct.field(default_factory=dict)  # "table.key" -> () float32, quantities that registry entries add

    def own(self, table: str) -> dict[str, Any]:
        """The values of the options in one table of the spec, by key."""
        return {k.partition(".")[2]: v for k, v in self.options.items() if k.startswith(f"{table}.")}


def instances(spec: Spec, rows: range | None = None) -> Instance:
    """The table of `spec`, or consecutive rows of it, as numpy arrays. Raises ValueError as `identities` does."""
    rows = range(spec.instances) if rows is None else rows
    place = _place(spec, rows)
    return Instance(
        importance=_column(spec, "importance", place, len(rows)),
        feature_probability=_column(spec, "feature_probability", place, len(rows)),
        learning_rate=_column(spec, "learning_rate", place, len(rows), per_feature=False),
        weight_decay=_column(spec, "weight_decay", place, len(rows), per_feature=False),
        init_scale=_column(spec, "init_scale", place, len(rows), per_feature=False),
        bias_scale=_column(spec, "bias_scale", place, len(rows), per_feature=False),
        identity=_words(identities(spec, rows)),
        cell=_words(identities(spec, rows, without=(REPLICA,))),
        replica=_replica(spec, place, len(rows)),
        options={name: _column(spec, name, place, len(rows), per_feature=False) for name in option_quantities(spec)},
    )


def inputs(spec: Spec, rows: range) -> dict[str, np.ndarray]:
    """The columns that results keep: importance and feature_probability, (rows, n) float32."""
    place = _place(spec, rows)
    return {name: _column(spec, name, place, len(rows)) for name in ("importance", "feature_probability")}


def _column(spec: Spec, name: str, place: Place, rows: int, per_feature: bool = True) -> np.ndarray:
    values = spec.evaluate(name).astype(
        np.float32
    )  # (length of each axis that it depends on, 1 for others, ..., n or 1)
    taken = values[tuple(i if length > 1 else 0 for i, length in zip(place, values.shape, strict=False))]
    full = np.broadcast_to(taken, (rows, spec.model.features if per_feature else 1))
    return np.ascontiguousarray(full if per_feature else full[:, 0])


def _replica(spec: Spec, place: Place, rows: int) -> np.ndarray:
    axis = list(spec.axis).index(REPLICA) if REPLICA in spec.axis else None
    return np.zeros(rows, np.uint32) if axis is None else place[axis].astype(np.uint32)


def _place(spec: Spec, rows: range) -> Place:
    """The index of each row along each axis."""
    return np.unravel_index(np.arange(rows.start, rows.stop), spec.shape) if spec.shape else ()


def identities(spec: Spec, rows: range | None = None, without: tuple[str, ...] = ()) -> np.ndarray:
    """(rows,) uint64: each instance's hash of its (axis name, value) pairs, axes in alphabetical order.

    It depends on neither the order nor the other values of an axis. `without`: axes to leave out.
    Raises ValueError if two of the rows share a hash.
    """
    rows = range(spec.instances) if rows is None else rows
    place = _place(spec, rows)
    out = np.zeros(len(rows), np.uint64)
    for name in sorted(spec.axis.keys() - set(without)):
        values = np.array([hash64(name, v) for v in spec.axis[name].values], np.uint64)
        out = _mix(out ^ values[place[list(spec.axis).index(name)]])
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
