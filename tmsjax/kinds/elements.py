"""Small arrays of traced scalars: numpy object arrays that model code uses like ordinary arrays.

The engine holds the parameters and features of small models as separate scalars (see models/scalars.py). Functions of
families, activations, values and activities then receive `Elements` arrays. Operators, comparisons, indexing, `sum`,
`reshape`, `cumsum` and `@` work as on arrays; functions of jax.numpy work only through `elementwise`.
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
    """A numpy object array that accepts jax arrays as operands and whose comparisons return object arrays.

    numpy's own comparisons would convert each result to bool, which a traced scalar does not allow.
    """

    def __jax_array__(self) -> Any:
        """Makes `jax_scalar + elements` fall back to this class's reflected operator."""
        return NotImplemented

    def __array_wrap__(self, out: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        """Returns the element itself for a 0-d result; numpy would return a 0-d array of the subclass."""
        return out[()] if out.ndim == 0 else out.view(Elements)

    __hash__ = None


def _operand(x: Any) -> Any:
    """`x`, with jax arrays converted to `Elements`."""
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
    """An `Elements` array of `shape` that holds `parts` as they are."""
    out = np.empty(len(parts), object)
    for i, part in enumerate(parts):
        out[i] = part
    return out.reshape(shape).view(Elements)


def is_elements(x: Any) -> bool:
    """Whether `x` is an array of traced scalars."""
    return isinstance(x, np.ndarray) and x.dtype == object


def elementwise(function: Callable, *arrays: Any) -> Any:
    """Applies `function` elementwise, to ordinary arrays or to arrays of traced scalars.

    For use in extensions: `elementwise(jnp.tanh, h)`, `elementwise(jnp.maximum, a, b)`.

    Examples:
        >>> tmsjax.elementwise(np.maximum, np.array([-1.0, 2.0]), 0.0)
        array([0., 2.])
    """
    if any(map(is_elements, arrays)):
        return np.frompyfunc(function, len(arrays), 1)(*map(_operand, arrays))
    return function(*arrays)
