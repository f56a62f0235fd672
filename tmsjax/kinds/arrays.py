"""Types of arrays and numbers in annotations, such as `Float[Array, "hidden feature"]` (jaxtyping).

Tests check them at run time (tests/test_types.py). jax is not imported, so that names and help need no jax.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int32, UInt32

if TYPE_CHECKING:
    import jax

    Array = np.ndarray | jax.Array
    ArrayT = TypeVar("ArrayT", np.ndarray, jax.Array)  # the same for arguments and result
else:

    class _IsArray(type):
        def __instancecheck__(cls, x: object) -> bool:
            jax = sys.modules.get("jax")  # without it there are no arrays of jax
            return isinstance(x, np.ndarray | np.generic) or (jax is not None and isinstance(x, jax.Array))

    class Array(metaclass=_IsArray):
        """An array of numpy or jax, or jax's trace of one."""

    ArrayT = TypeVar("ArrayT", bound=Array)


Floats = Float[Array, "..."]
Scalar = Float[Array, ""]
Features = Float[Array, "feature"]
Output = Float[Array, "output"]
PerInstance = Float[Array, "*instance"]
PerFeature = Float[Array, "*instance feature"]
PerPair = Float[Array, "*instance feature feature"]
Weights = Float[Array, "*instance hidden feature"]
Bits = UInt32[Array, "columns"]
Number = float | np.number | Scalar
Numbers = Number | Floats  # one number, or one per instance
Count = np.int32 | Int32[Array, ""]  # of steps
Params = Mapping[str, Floats]  # by the name of the parameter
Elementwise = Callable[[Floats], Floats]


@runtime_checkable
class Quantities(Protocol):
    """What entries read of an instance (models.Instance)."""

    @property
    def init_scale(self) -> Scalar: ...

    @property
    def bias_scale(self) -> Scalar: ...

    @property
    def weight_decay(self) -> Scalar: ...

    @property
    def cell(self) -> UInt32[Array, "2"]: ...

    @property
    def replica(self) -> UInt32[Array, ""]: ...
