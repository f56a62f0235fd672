"""Model families: parameters, init and forward pass of one instance.

Orientation, stated once: W has shape (m, n) = (hidden, feature); column W_i in R^m is the direction of feature i.
`apply` is written for one sample x of shape (n,) and works on arrays and on object arrays of scalars alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.grid import Instance
from tmsjax.scalars import elementwise
from tmsjax.spec import Model

Params = dict[str, Any]

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda v: jnp.where(v > 0, v, np.float32(0)),  # why not maximum: data._positive
    "linear": lambda v: v,
    "gelu": jax.nn.gelu,
}


@dataclass(frozen=True)
class Family:
    """A named set of pure functions of one instance.

    dims:        parameter name -> names of its dimensions (keys of `sizes`)
    init:        (standard normals by parameter name, Instance) -> Params
    apply:       (Params, x, activation) -> output, shaped as the target
    target:      x -> what the output should be
    directions:  Params -> (m, n) features as columns, or None where features have no direction
    elementwise: True if `apply` uses only operators and `elementwise`, so that it runs on object arrays
    """

    dims: Mapping[str, tuple[str, ...]]
    init: Callable[[Params, Instance], Params]
    apply: Callable[[Params, Any, Callable], Any]
    target: Callable[[Any], Any]
    directions: Callable[[Params], Any] | None
    elementwise: bool


def _tied_init(normals: Params, instance: Instance) -> Params:
    return {"W": instance.init_scale * normals["W"], "b": instance.bias_scale * normals["b"]}


def _without_bias_init(normals: Params, instance: Instance) -> Params:
    return {"W": instance.init_scale * normals["W"]}


def _without_bias_apply(params: Params, x: Any, activation: Callable) -> Any:
    """x' = f(W^T W x)."""
    W = params["W"]
    return elementwise(activation, W.T @ (W @ x))


def _tied_apply(params: Params, x: Any, activation: Callable) -> Any:
    """x' = f(W^T W x + b) (paper, section "Demonstrating superposition")."""
    W, b = params["W"], params["b"]
    return elementwise(activation, W.T @ (W @ x) + b)


FAMILIES: dict[str, Family] = {
    "tied": Family(
        dims={"W": ("hidden", "feature"), "b": ("feature",)},
        init=_tied_init,
        apply=_tied_apply,
        target=lambda x: x,
        directions=lambda params: params["W"],
        elementwise=True,
    ),
    "tied-no-bias": Family(
        dims={"W": ("hidden", "feature")},
        init=_without_bias_init,
        apply=_without_bias_apply,
        target=lambda x: x,
        directions=lambda params: params["W"],
        elementwise=True,
    ),
}


def sizes(model: Model) -> dict[str, int]:
    """The length of every named dimension of parameters."""
    return {"feature": model.features, "hidden": model.hidden}


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of one instance."""
    length = sizes(model)
    return {name: tuple(length[d] for d in dims) for name, dims in FAMILIES[model.family].dims.items()}


def apply(params: Params, x: Any, model: Model) -> Any:
    """The model's output for one sample `x`."""
    return FAMILIES[model.family].apply(params, x, ACTIVATIONS[model.activation])


def target(x: Any, model: Model) -> Any:
    return FAMILIES[model.family].target(x)
