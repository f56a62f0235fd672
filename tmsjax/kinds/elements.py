"""Small arrays of traced scalars: numpy object arrays that elementwise code handles as it handles arrays.

The engine holds the parameters and features of small models as separate scalars (see models/scalars.py). Functions of
families, activations, values and activities then meet an `Elements` array: operators, comparisons, indexing, `sum`,
`reshape`, `cumsum` and `@` work as on arrays; functions of jax.numpy do not, unless through `elementwise`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Elements(np.ndarray):
    """A numpy object array whose comparisons give object arrays: numpy's own would ask each element for a bool."""

    def __lt__(self, other: Any) -> Any:
        return np.less(self, other, dtype=object)

    def __le__(self, other: Any) -> Any:
        return np.less_equal(self, other, dtype=object)

    def __gt__(self, other: Any) -> Any:
        return np.greater(self, other, dtype=object)

    def __ge__(self, other: Any) -> Any:
        return np.greater_equal(self, other, dtype=object)

    def __eq__(self, other: Any) -> Any:
        return np.equal(self, other, dtype=object)

    def __ne__(self, other: Any) -> Any:
        return np.not_equal(self, other, dtype=object)

    def __array_wrap__(self, out: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        """A result without dimensions as its element: numpy would give a subclass's sum as an array of no dimension."""
        return out[()] if out.ndim == 0 else out.view(Elements)

    __hash__ = None  # type: ignore[assignment]


def objects(parts: Any, shape: tuple[int, ...]) -> Elements:
    """An `Elements` array of `shape` whose elements are `parts`, untouched."""
    out = np.empty(len(parts), object)
    for i, part in enumerate(parts):
        out[i] = part
    return out.reshape(shape).view(Elements)


def is_elements(x: Any) -> bool:
    """Whether `x` is an array of traced scalars."""
    return isinstance(x, np.ndarray) and x.dtype == object


def elementwise(function: Callable, *arrays: Any) -> Any:
    """`function` of corresponding elements, whether `arrays` are arrays or arrays of traced scalars.

    Usable by extensions: `elementwise(jnp.tanh, h)`, `elementwise(jnp.maximum, a, b)`.
    """
    if any(map(is_elements, arrays)):
        return np.frompyfunc(function, len(arrays), 1)(*arrays)
    return function(*arrays)
