"""Optimizers: optax's, with the learning rate, weight decay and options of one instance."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tmsjax.kinds.arrays import Count, Number, Params, Scalar
from tmsjax.kinds.registry import Option, Registry, called, checked_callables, checked_options

if TYPE_CHECKING:
    from optax import EmptyState, GradientTransformation

Rate = Callable[[Count], Number]  # number of steps done -> learning rate of the next
Factors = Mapping[str, Number]  # by the name of a parameter
TINY_NORM = 1e-8  # added to a norm before division, as in the source of `adamw-norm`
USES = ("weight_decay", "momentum")
OF_TRAIN = (  # keys of [train] that no entry adds
    *("steps", "optimizer", "learning_rate", *USES, "schedule", "batch", "loss", "streams", "attack"),
    *("rates", "decays", "seed"),
)
CLIP = Option("quantity", low=1e-12, optional=True, sentence="largest norm of the gradient of a model")


@dataclass(frozen=True, eq=False)
class Optimizer:
    """An optax optimizer.

    Attributes:
        make: (learning rate as a function of the step, by name: weight_decay, momentum, seed, and options) -> the
            optimizer. Those that use `decays` also get `decaying`, whether weights decay, and `decays`.
        uses: Optimizer-specific keys of [train] that it uses.
        defaults: Values of these keys if the spec gives none.
        signed: Whether weight_decay may be negative.
        tied: Whether it needs parameters W and b of a model f(W^T W x + b).
        plain: Whether updates do not depend on the shapes of parameters, and all integers of its state count steps.
        seeded: Whether `make` has an argument `seed`.
        options: Keys that it adds to [train].
    """

    make: Callable[..., GradientTransformation]
    sentence: str
    uses: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    signed: bool = False
    tied: bool = False
    plain: bool = False
    seeded: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


def _adam(rate: Rate) -> GradientTransformation:
    import optax

    return optax.adam(rate)


def _adamw(rate: Rate, weight_decay: Scalar, decays: Factors) -> GradientTransformation:
    import optax

    if not decays:
        return optax.adamw(rate, weight_decay=weight_decay)
    return optax.chain(optax.scale_by_adam(), _decay(weight_decay, decays), optax.scale_by_learning_rate(rate))


def _decay(weight_decay: Scalar, factors: Factors) -> GradientTransformation:
    """`optax.add_decayed_weights` with a factor on the decay of some parameters."""
    import optax

    if not factors:
        return optax.add_decayed_weights(weight_decay)

    def add(updates: Params, state: EmptyState, params: Params) -> tuple[Params, EmptyState]:
        return {k: g + weight_decay * factors.get(k, 1) * params[k] for k, g in updates.items()}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), add)


def _adamw_norm(rate: Rate, weight_decay: Scalar) -> GradientTransformation:
    import optax

    return optax.chain(optax.scale_by_adam(), _norm_decay(weight_decay), optax.scale_by_learning_rate(rate))


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


def _sgd(rate: Rate, weight_decay: Scalar, momentum: float, decaying: bool, decays: Factors) -> GradientTransformation:
    """Weight decay d adds d times each parameter to the gradient: the minimum is that of loss + d/2 |parameters|^2."""
    import optax

    descent = optax.sgd(rate, momentum=momentum or None)
    return optax.chain(_decay(weight_decay, decays), descent) if decaying else descent


def _rmsprop(rate: Rate, momentum: float) -> GradientTransformation:
    import optax

    return optax.rmsprop(rate, momentum=momentum or None)


def _clipping(make: Callable[..., GradientTransformation]) -> Callable[..., GradientTransformation]:
    """`make` with the option `clip`."""

    def clipped(rate: Rate, *, clip: Number | None = None, **named: Any) -> GradientTransformation:
        import optax

        optimizer = called(make, rate, options=named)
        return optimizer if clip is None else optax.chain(optax.clip_by_global_norm(clip), optimizer)

    return clipped


OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    {
        "adam": Optimizer(_clipping(_adam), "Adam", plain=True, options={"clip": CLIP}),
        "adamw": Optimizer(
            _clipping(_adamw),
            "AdamW; weight_decay defaults to 0.01, as in the paper's notebook",
            uses=("weight_decay", "decays"),
            defaults={"weight_decay": 0.01},
            plain=True,
            options={"clip": CLIP},
        ),
        "adamw-norm": Optimizer(
            _clipping(_adamw_norm),
            "AdamW whose decay acts on W alone and, if negative, draws every |W_i| to 1",
            uses=("weight_decay",),
            signed=True,
            tied=True,
            options={"clip": CLIP},
        ),
        "sgd": Optimizer(
            _clipping(_sgd),
            "gradient descent, with momentum and L2 weight_decay if given",
            uses=("momentum", "weight_decay", "decays"),
            plain=True,
            options={"clip": CLIP},
        ),
        "rmsprop": Optimizer(
            _clipping(_rmsprop),
            "RMSProp, with momentum if given",
            uses=("momentum",),
            plain=True,
            options={"clip": CLIP},
        ),
    },
)


def add_optimizer(
    name: str,
    make: Callable[..., GradientTransformation],
    *,
    options: Mapping[str, Option] | None = None,
    sentence: str = "",
) -> None:
    """Adds an optimizer: any optax gradient transformation of the trained parameters of one model.

    Args:
        name: By which specs find it.
        make: learning rate (a function of the step) -> `optax.GradientTransformation`, as optax's own optimizers. By
            name it also gets the spec's `weight_decay` and `momentum`, whose defaults are those of its signature, its
            options, and `seed`, a random number of each model for noise.
        options: Keys that it adds to [train].
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or an argument does not fit.

    Examples:
        >>> import optax
        >>> tmsjax.add_optimizer("lion", optax.lion, options={"b1": tmsjax.Option("quantity", default=0.9)})
        >>> tmsjax.load_spec(spec, ["train.optimizer=lion"]).train.weight_decay
        0.001
    """
    if hasattr(make, "update"):
        raise OPTIMIZERS.refuse(name, "make must be a function of the learning rate, such as optax.lion")
    checked_callables(OPTIMIZERS, name, make=make)
    options = checked_options(OPTIMIZERS, name, options, table=OF_TRAIN, used=[make])
    arguments = inspect.signature(make).parameters
    given = {key: x.default for key, x in arguments.items() if key in USES}
    defaults = {key: float(x) for key, x in given.items() if isinstance(x, numbers.Real)}
    OPTIMIZERS.add(name, Optimizer(make, sentence, (*given,), defaults, seeded="seed" in arguments, options=options))
