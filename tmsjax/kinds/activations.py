"""Activations: functions applied to pre-activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from tmsjax.kinds.arrays import Array, Elementwise, Number
from tmsjax.kinds.registry import Registry, checked_callables
from tmsjax.kinds.trial import check_traced

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Activation:
    """A function applied to pre-activations.

    Attributes:
        function: Plain JAX, from float32 pre-activations.
        exact: Which exact loss tied models with this activation have: "relu", "linear" or None.
    """

    function: Elementwise
    sentence: str
    exact: str | None = None


def _relu(v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # `where` instead of `maximum`: value and gradient share one mask, and XLA:CPU's NaN-propagating maximum is slow.
    return v.__array_namespace__().where(v > 0, v, np.float32(0))


def _gelu(v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    import jax

    return jax.nn.gelu(v)


ACTIVATIONS: Registry[Activation] = Registry(
    "activation",
    {
        "relu": Activation(_relu, "max(v, 0)", exact="relu"),
        "linear": Activation(lambda v: v, "the identity, v", exact="linear"),
        "gelu": Activation(_gelu, "the Gaussian error linear unit, v times the standard normal CDF at v"),
    },
)


def add_activation(name: str, function: Elementwise, *, sentence: str = "") -> None:
    """Adds an activation that specs can name.

    Args:
        name: By which specs find it.
        function: Maps a float32 array to one of the same shape, in plain JAX, such as `jax.nn.softplus`.
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or the function does not fit.

    Examples:
        >>> import jax
        >>> tmsjax.add_activation("softplus", jax.nn.softplus, sentence="log(1 + exp(v))")
        >>> tmsjax.load_spec(spec, ["model.activation=softplus"]).model.activation
        'softplus'
    """
    checked_callables(ACTIVATIONS, name, function=function)
    pre_activations = np.zeros(4, np.float32)
    refuse = partial(ACTIVATIONS.refuse, name)
    check_traced("the function", refuse, function, (pre_activations,), pre_activations)
    ACTIVATIONS.add(name, Activation(function, sentence))


def elementwise(function: Callable[..., T], *arrays: Number | Array) -> T:
    """`function(*arrays)`. Deprecated: functions of models are plain JAX and need no wrapper.

    Examples:
        >>> tmsjax.elementwise(np.maximum, np.array([-1.0, 2.0]), 0.0)
        array([0., 2.])
    """
    return function(*arrays)
