"""Values: the distribution of an active feature's value, as a quantile function with its moments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tmsjax.kinds.arrays import Array, Elementwise
from tmsjax.kinds.registry import Registry, checked_callables
from tmsjax.kinds.trial import quadrature


@dataclass(frozen=True, eq=False)
class Values:
    """The distribution of an active feature's value x.

    Attributes:
        quantile: v in (0, 1] -> x, in plain JAX.
        mean: E x.
        square: E x^2.
        least: E min(x, y)^2 of two independent nonnegative values; None if values can be negative.
        zero_at_zero: Whether quantile(0) is 0, so that inactive features (v = 0) need no mask.
        exact_relu: Whether models/expected.py has the exact loss of ReLU models for these values.
    """

    quantile: Elementwise
    mean: float
    square: float
    least: float | None
    sentence: str
    zero_at_zero: bool = True
    exact_relu: bool = False


def _half_normal(v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    import jax

    below_one = v.__array_namespace__().where(v < 1 - 2.0**-23, v, np.float32(1 - 2.0**-23))
    return np.float32(math.sqrt(2)) * jax.lax.erf_inv(below_one)


def _one(v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return v.__array_namespace__().where(v > 0, np.float32(1), np.float32(0))


VALUES: Registry[Values] = Registry(
    "values",
    {
        "uniform": Values(lambda v: v, 1 / 2, 1 / 3, 1 / 6, "uniform on (0, 1]", exact_relu=True),
        "constant": Values(_one, 1.0, 1.0, 1.0, "always 1"),
        "half-normal": Values(
            _half_normal, math.sqrt(2 / math.pi), 1.0, 1 - 2 / math.pi, "the absolute value of a standard normal"
        ),
        "signed": Values(lambda v: 2 * v - 1, 0.0, 1 / 3, None, "uniform on (-1, 1]", zero_at_zero=False),
    },
)


def add_values(
    name: str, quantile: Elementwise, *, mean: float | np.floating, square: float | np.floating, sentence: str = ""
) -> None:
    """Adds a distribution for the value x of an active feature.

    Args:
        name: By which specs find it.
        quantile: Maps uniform u in (0, 1], float32 of any shape, to x, in plain JAX.
        mean: E x, checked by quadrature.
        square: E x^2, likewise.
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken, the function is invalid, or the moments are not those of the quantile.

    Examples:
        >>> import jax.numpy as jnp
        >>> tmsjax.add_values("triangular", quantile=lambda u: 1 - jnp.sqrt(1 - u), mean=1 / 3, square=1 / 6)
        >>> tmsjax.load_spec(spec, ["data.values=triangular"]).data.values
        'triangular'
    """
    checked_callables(VALUES, name, quantile=quantile)
    x = quadrature(quantile, mean, square, lambda why: VALUES.refuse(name, why))
    u = (np.arange(len(x)) + 0.5) / len(x)
    ascends = x.min() >= 0 and bool((np.diff(x) >= -1e-6).all())
    least = float((x**2 * 2 * (1 - u)).mean()) if ascends else None  # the smaller of two uniforms has density 2 (1 - u)
    # zero_at_zero=False: compiled code may round quantile(0) to a nonzero number
    VALUES.add(name, Values(quantile, float(mean), float(square), least, sentence, zero_at_zero=False))
