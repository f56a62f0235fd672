"""The type of arrays in annotations: `Float[Array, "hidden feature"]` (jaxtyping)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jax

    Array = np.ndarray | jax.Array
else:

    class _IsArray(type):
        def __instancecheck__(cls, x: object) -> bool:
            jax = sys.modules.get("jax")  # without it there are no arrays of jax
            return isinstance(x, np.ndarray | np.generic) or (jax is not None and isinstance(x, jax.Array))

    class Array(metaclass=_IsArray):
        """An array of numpy or jax, or jax's trace of one."""
