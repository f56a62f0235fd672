"""Optimizers: optax's, with the learning rate and weight decay of one instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tmsjax.kinds.registry import Registry


@dataclass(frozen=True)
class Optimizer:
    """An optax optimizer.

    make:     (learning rate as a function of the step, the [train] table, instance) -> optax.GradientTransformation
    uses:     optimizer-specific keys of [train] that it uses
    defaults: values of these keys if the spec gives none
    """

    make: Callable[[Callable, Any, Any], Any]
    sentence: str
    uses: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)


def _adam(rate: Callable, train: Any, instance: Any) -> Any:
    import optax

    return optax.adam(rate)


def _adamw(rate: Callable, train: Any, instance: Any) -> Any:
    import optax

    return optax.adamw(rate, weight_decay=instance.weight_decay)


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
        "sgd": Optimizer(
            _sgd,
            "gradient descent, with momentum and L2 weight_decay if given",
            uses=("momentum", "weight_decay"),
        ),
        "rmsprop": Optimizer(_rmsprop, "RMSProp, with momentum if given", uses=("momentum",)),
    },
)
