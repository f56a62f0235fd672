"""What studies read of a spec (spec.Spec), which this room cannot import."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@runtime_checkable
class Axis(Protocol):
    """An axis of the grid."""

    @property
    def name(self) -> str: ...

    @property
    def values(self) -> tuple: ...

    def __len__(self) -> int: ...


@runtime_checkable
class Model(Protocol):
    """[model]. A size that could not be read is None, which is reported elsewhere."""

    @property
    def features(self) -> int: ...

    @property
    def hidden(self) -> int: ...

    @property
    def family(self) -> str: ...


@runtime_checkable
class Record(Protocol):
    """[record]. Measures that could not be read are None."""

    @property
    def measures(self) -> Collection[str]: ...

    @property
    def steps(self) -> Collection[int] | None: ...


@runtime_checkable
class Sweep(Protocol):
    """A spec."""

    @property
    def model(self) -> Model: ...

    @property
    def record(self) -> Record: ...

    @property
    def axes(self) -> Sequence[Axis]: ...

    @property
    def axis(self) -> Mapping[str, Axis]: ...

    @property
    def instances(self) -> int: ...

    @property
    def map_axes(self) -> tuple[str | None, str | None]: ...

    @property
    def record_steps(self) -> tuple[int, ...]: ...

    def evaluate(self, name: str) -> Float[np.ndarray, "*axes feature"]: ...
