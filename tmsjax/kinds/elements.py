"""Small arrays of traced scalars: numpy object arrays that elementwise code handles as it handles arrays.

The engine holds the parameters and features of small models as separate scalars (see models/scalars.py). Functions of
families, activations, values and activities then meet an `Elements` array: operators, comparisons, indexing, `sum`,
`reshape`, `cumsum` and `@` work as on arrays; functions of jax.numpy do not, unless through `elementwise`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
COMPARISONS = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


class Elements(np.ndarray):
    """A numpy object array that also takes jax's arrays as operands, and whose comparisons give object arrays.

    (numpy's own comparisons would ask each element for a bool.)
    """

    def __jax_array__(self) -> Any:
        """No array of jax: so a jax scalar on the left of an operator leaves the operator to this class."""
        return NotImplemented

    def __array_wrap__(self, out: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        """A result without dimensions as its element: numpy would give a subclass's sum as an array of no dimension."""
        return out[()] if out.ndim == 0 else out.view(Elements)

    __hash__ = None


def _operand(x: Any) -> Any:
    """`x`, but arrays of jax as `Elements`."""
    of_jax = not isinstance(x, (np.ndarray, np.generic)) and hasattr(x, "shape")
    return objects([x[place] for place in np.ndindex(x.shape)], x.shape) if of_jax else x


def _operator(of_numpy: Callable) -> Callable:
    return lambda self, other: of_numpy(self, _operand(other))


for _name in OPERATORS:
    for _method in (f"__{_name}__", f"__r{_name}__"):
        setattr(Elements, _method, _operator(getattr(np.ndarray, _method)))
for _name, _compare in COMPARISONS.items():
    setattr(Elements, f"__{_name}__", _operator(partial(_compare, dtype=object)))


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
        return np.frompyfunc(function, len(arrays), 1)(*map(_operand, arrays))
    return function(*arrays)
