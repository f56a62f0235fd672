"""Activations: functions of a pre-activation, elementwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tmsjax.kinds.registry import Registry, checked_callables
from tmsjax.kinds.trial import trial_activation


@dataclass(frozen=True)
class Activation:
    """function: array -> array of the same shape, by jax.numpy; elementwise: whether it treats each element alone.

    exact: the exact loss that tied models with it have, "relu" or "linear", or None.
    """

    function: Callable[[Any], Any]
    sentence: str
    exact: str | None = None
    elementwise: bool = True


def _relu(v: Any) -> Any:
    # Not maximum: the branch and its gradient share one mask, and XLA:CPU's maximum that passes on NaN is slow.
    return v.__array_namespace__().where(v > 0, v, np.float32(0))


def _gelu(v: Any) -> Any:
    import jax

    return jax.nn.gelu(v)


ACTIVATIONS: Registry[Activation] = Registry(
    "activation",
    {
        "relu": Activation(_relu, "max(v, 0)", exact="relu"),
        "linear": Activation(lambda v: v, "v itself", exact="linear"),
        "gelu": Activation(_gelu, "the Gaussian error linear unit, v times the standard normal probability below v"),
    },
)


def add_activation(name: str, function: Callable[[Any], Any], *, sentence: str = "") -> None:
    """Adds an activation that specs can name: `tmsjax.add_activation("softplus", lambda v: jnp.logaddexp(v, 0.0))`.

    `function` maps a float32 array to one of the same shape, by operations that jax can trace. One that treats each
    element alone runs on the engine's fast path; one that does not (a softmax) makes models run on arrays.
    Raises RegistryError if the name is taken or the function does not fit.
    """
    checked_callables(ACTIVATIONS, name, function=function)
    alone = trial_activation(function, lambda why: ACTIVATIONS.refuse(name, why))
    ACTIVATIONS.add(name, Activation(function, sentence, elementwise=alone))
