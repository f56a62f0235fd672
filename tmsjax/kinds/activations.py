"""Activations: functions applied to pre-activations, elementwise unless registered otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tmsjax.kinds.registry import Registry, checked_callables
from tmsjax.kinds.trial import Refuse, attempt, check_traced


@dataclass(frozen=True)
class Activation:
    """A function applied to pre-activations.

    Attributes:
        function: float32 array -> array of the same shape, traceable by jax
        exact: which exact loss tied models with this activation have: "relu", "linear" or None
        elementwise: whether each output element depends only on the input element at the same position
    """

    function: Callable[[Any], Any]
    sentence: str
    exact: str | None = None
    elementwise: bool = True


def _relu(v: Any) -> Any:
    # `where` instead of `maximum`: value and gradient share one mask, and XLA:CPU's NaN-propagating maximum is slow.
    return v.__array_namespace__().where(v > 0, v, np.float32(0))


def _gelu(v: Any) -> Any:
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


def add_activation(name: str, function: Callable[[Any], Any], *, sentence: str = "") -> None:
    """Adds an activation that specs can name.

    `function` maps a float32 array to an array of the same shape, with operations that jax can trace. Models with an
    elementwise function can run on the engine's fast path; other functions, such as softmax, run on arrays.
    `sentence` describes it in help and tables. Raises RegistryError if the name is taken or the function does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> tmsjax.add_activation("softplus", lambda v: jnp.logaddexp(v, 0.0), sentence="log(1 + exp(v))")
        >>> tmsjax.load_spec(spec, ["model.activation=softplus"]).model.activation
        'softplus'
    """
    checked_callables(ACTIVATIONS, name, function=function)
    elementwise = _is_elementwise(function, lambda why: ACTIVATIONS.refuse(name, why))
    ACTIVATIONS.add(name, Activation(function, sentence, elementwise=elementwise))


def _is_elementwise(function: Callable[[Any], Any], refuse: Refuse) -> bool:
    """Whether each element gives what it gives alone. Raises `refuse(...)` if the function is no activation."""
    import jax.numpy as jnp

    check_traced("the function", refuse, function, (np.zeros(4, np.float32),), np.zeros(4, np.float32))
    points = jnp.asarray([-3.0, -1.0, -0.25, 0.125, 0.5, 2.0])
    together = np.asarray(attempt("the function", refuse, function, points))
    try:
        alone = np.asarray([function(point) for point in points])
    except (Exception, SystemExit):  # such as softmax, which takes no scalar
        return False
    return alone.shape == together.shape and np.allclose(together, alone, rtol=1e-5, atol=1e-6, equal_nan=True)
