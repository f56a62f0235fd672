"""Optimizers: optax's, with the learning rate and weight decay of one instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tmsjax.kinds.arrays import Count, Number, Params, Quantities, Scalar
from tmsjax.kinds.registry import Registry

if TYPE_CHECKING:
    from optax import EmptyState, GradientTransformation

Rate = Callable[[Count], Number]  # number of steps done -> learning rate of the next
TINY_NORM = 1e-8  # added to a norm before division, as in the source of `adamw-norm`


@dataclass(frozen=True, eq=False)
class Optimizer:
    """An optax optimizer.

    Attributes:
        make: (learning rate as a function of the step, instance, momentum, whether weights decay) -> the optimizer.
        uses: Optimizer-specific keys of [train] that it uses.
        defaults: Values of these keys if the spec gives none.
        signed: Whether weight_decay may be negative.
        tied: Whether it needs parameters W and b of a model f(W^T W x + b).
    """

    make: Callable[[Rate, Quantities, float, bool], GradientTransformation]
    sentence: str
    uses: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    signed: bool = False
    tied: bool = False


def _adam(rate: Rate, instance: Quantities, momentum: float, decays: bool) -> GradientTransformation:
    import optax

    return optax.adam(rate)


def _adamw(rate: Rate, instance: Quantities, momentum: float, decays: bool) -> GradientTransformation:
    import optax

    return optax.adamw(rate, weight_decay=instance.weight_decay)


def _adamw_norm(rate: Rate, instance: Quantities, momentum: float, decays: bool) -> GradientTransformation:
    import optax

    return optax.chain(optax.scale_by_adam(), _norm_decay(instance.weight_decay), optax.scale_by_learning_rate(rate))


def _norm_decay(decay: Scalar) -> GradientTransformation:
    """Adds `decay` W_i to the update of W_i if decay >= 0, else -`decay` (1 - 1/|W_i|) W_i, which draws |W_i| to 1.

    No other parameter decays. Source: Liu, Liu and Gore 2025, arXiv 2505.10465, and the optimizer in their repository.
    """
    import jax.numpy as jnp
    import optax

    def add(updates: Params, state: EmptyState, params: Params) -> tuple[Params, EmptyState]:
        W = params["W"]
        norm = jnp.sqrt((W * W).sum(0))
        excess = jnp.where(decay < 0, 1 - 1 / (norm + TINY_NORM), jnp.ones_like(norm))
        return {**updates, "W": updates["W"] + W * (excess * jnp.abs(decay))[None]}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), add)


def _sgd(rate: Rate, instance: Quantities, momentum: float, decays: bool) -> GradientTransformation:
    """Weight decay d adds d times each parameter to the gradient: the minimum is that of loss + d/2 |parameters|^2."""
    import optax

    descent = optax.sgd(rate, momentum=momentum or None)
    return optax.chain(optax.add_decayed_weights(instance.weight_decay), descent) if decays else descent


def _rmsprop(rate: Rate, instance: Quantities, momentum: float, decays: bool) -> GradientTransformation:
    import optax

    return optax.rmsprop(rate, momentum=momentum or None)


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
