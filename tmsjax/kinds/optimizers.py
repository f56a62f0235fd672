"""Optimizers: optax's, with the learning rate and weight decay of one instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tmsjax.kinds.elements import elementwise, objects
from tmsjax.kinds.registry import Registry

TINY_NORM = 1e-8  # added to a norm before division, as in the source of `adamw-norm`


@dataclass(frozen=True)
class Optimizer:
    """An optax optimizer.

    Attributes:
        make: (learning rate as a function of the step, the [train] table, instance) -> optax.GradientTransformation
        uses: optimizer-specific keys of [train] that it uses
        defaults: values of these keys if the spec gives none
        signed: whether weight_decay may be negative
        tied: whether it needs parameters W and b of a model f(W^T W x + b)
    """

    make: Callable[[Callable, Any, Any], Any]
    sentence: str
    uses: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    signed: bool = False
    tied: bool = False


def _adam(rate: Callable, train: Any, instance: Any) -> Any:
    import optax

    return optax.adam(rate)


def _adamw(rate: Callable, train: Any, instance: Any) -> Any:
    import optax

    return optax.adamw(rate, weight_decay=instance.weight_decay)


def _adamw_norm(rate: Callable, train: Any, instance: Any) -> Any:
    import optax

    return optax.chain(optax.scale_by_adam(), _norm_decay(instance.weight_decay), optax.scale_by_learning_rate(rate))


def _norm_decay(decay: Any) -> Any:
    """Adds `decay` W_i to the update of W_i if decay >= 0, else -`decay` (1 - 1/|W_i|) W_i, which draws |W_i| to 1.

    No other parameter decays. W (m, n) is an array, or scalars held in a pytree with a `shape`. Source: Liu, Liu and
    Gore 2025, arXiv 2505.10465, and the optimizer in their repository.
    """
    import jax
    import jax.numpy as jnp
    import optax

    def add(updates: Any, state: Any, params: Any = None) -> Any:
        parts, tree = jax.tree.flatten(params["W"])
        scalars = parts[0] is not params["W"]
        W = objects(parts, params["W"].shape) if scalars else parts[0]
        norm = elementwise(jnp.sqrt, (W * W).sum(0))
        excess = elementwise(lambda v: jnp.where(decay < 0, 1 - 1 / (v + TINY_NORM), jnp.ones_like(v)), norm)
        change = W * (excess * abs(decay))[None]
        change = jax.tree.unflatten(tree, list(change.reshape(-1)) if scalars else [change])
        return {**updates, "W": jax.tree.map(jnp.add, updates["W"], change)}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), add)


def _sgd(rate: Callable, train: Any, instance: Any) -> Any:
    """Weight decay d adds d times each parameter to the gradient: the minimum is that of loss + d/2 |parameters|^2."""
    import optax

    descent = optax.sgd(rate, momentum=train.momentum or None)
    if train.weight_decay == 0.0:  # a number, not an axis
        return descent
    return optax.chain(optax.add_decayed_weights(instance.weight_decay), descent)


def _rmsprop(rate: Callable, train: Any, instance: Any) -> Any:
    import optax

    return optax.rmsprop(rate, momentum=train.momentum or None)


OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    {
        "adam": Optimizer(_adam, "Adam"),
        "adamw": Optimizer(
            _adamw,
            "AdamW; weight_decay defaults to 0.01, as in the paper's notebook",
            uses=("weight_decay",),
            defaults={"weight_decay": 0.01},
        ),
        "adamw-norm": Optimizer(
            _adamw_norm,
            "AdamW whose decay acts on W alone and, if negative, draws every |W_i| to 1",
            uses=("weight_decay",),
            signed=True,
            tied=True,
        ),
        "sgd": Optimizer(
            _sgd,
            "gradient descent, with momentum and L2 weight_decay if given",
            uses=("momentum", "weight_decay"),
        ),
        "rmsprop": Optimizer(_rmsprop, "RMSProp, with momentum if given", uses=("momentum",)),
    },
)
