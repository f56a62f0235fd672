"""Schedules: the factor by which each step multiplies the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tmsjax.kinds.arrays import Count, Number
from tmsjax.kinds.optimizers import OF_TRAIN
from tmsjax.kinds.registry import Option, Registry, checked_callables, checked_options


@dataclass(frozen=True, eq=False)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        factor: (step, number of training steps, options by name) -> the factor.
        endless: Whether the factor is independent of the number of steps, so that a run can be extended.
        options: Keys that it adds to [train].
    """

    factor: Callable[..., Number]
    sentence: str
    endless: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


def _constant(step: Count, steps: Count, warmup: Number | None = None) -> Number:
    return np.float32(1) if warmup is None else _warm(step, warmup)


def _linear(
    step: Count, steps: Count, warmup: Number | None = None, floor: Number | None = None, restarts: Number | None = None
) -> Number:
    return _shaped(lambda share: 1 - share, step, steps, warmup, floor, restarts)


def _cosine(
    step: Count, steps: Count, warmup: Number | None = None, floor: Number | None = None, restarts: Number | None = None
) -> Number:
    import jax.numpy as jnp

    def half(share: Number) -> Number:
        return np.float32(0.5) * (1 + jnp.cos(np.float32(np.pi) * share))

    return _shaped(half, step, steps, warmup, floor, restarts)


def _shaped(
    shape: Callable[[Number], Number],
    step: Count,
    steps: Count,
    warmup: Number | None,
    floor: Number | None,
    restarts: Number | None,
) -> Number:
    """`shape` of the fraction of the steps that is done, between `floor` and 1, after a warm-up."""
    import jax.numpy as jnp

    if warmup is None and restarts is None:
        share = _share(step, steps)
    else:
        start = np.float32(0) if warmup is None else warmup
        done = jnp.clip(step - start, 0, steps - start)
        length = jnp.maximum(steps - start, 1) / (1 if restarts is None else restarts)
        share = (done - (0 if restarts is None else jnp.floor(done / length) * length)) / length
    factor = shape(share)
    factor = factor if floor is None else floor + (1 - floor) * factor
    return factor if warmup is None else jnp.where(step < warmup, _warm(step, warmup), factor)


def _warm(step: Count, warmup: Number) -> Number:
    """Rises from 0 at step 0 to 1 at step `warmup`."""
    import jax.numpy as jnp

    return jnp.minimum(step / jnp.maximum(warmup, 1), 1)


def _share(step: Count, steps: Count) -> Number:
    """The fraction of the steps that is done, from 0 to 1."""
    import jax.numpy as jnp

    return jnp.minimum(step, steps).astype(jnp.float32) * (np.float32(1) / steps.astype(jnp.float32))


WARMUP = Option("quantity", low=0.0, optional=True, sentence="steps in which the rate first rises from 0")
DECAYING = {
    "warmup": WARMUP,
    "floor": Option("quantity", low=0.0, high=1.0, optional=True, sentence="the least factor, at the end"),
    "restarts": Option("quantity", low=1.0, optional=True, sentence="number of equal cycles after the warm-up"),
}
SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {
        "constant": Schedule(
            _constant, "always 1; a run can be resumed with more steps", endless=True, options={"warmup": WARMUP}
        ),
        "linear": Schedule(_linear, "decays linearly to 0", options=DECAYING),
        "cosine": Schedule(_cosine, "decays to 0 along half a cosine", options=DECAYING),
    },
)


def add_schedule(
    name: str,
    factor: Callable[..., Number],
    *,
    endless: bool = False,
    options: Mapping[str, Option] | None = None,
    sentence: str = "",
) -> None:
    """Adds a learning-rate schedule.

    Args:
        name: By which specs find it.
        factor: (step from 0, number of steps) -> by what to multiply the learning rate; plain JAX. Gets options by
            name.
        endless: Whether the factor does not depend on the number of steps, so that a run can be resumed with more.
        options: Keys that it adds to [train].
        sentence: Describes it in help and tables.

    Raises:
        RegistryError: The name is taken or an argument does not fit.

    Examples:
        >>> half = tmsjax.Option("quantity", default=1000.0, low=1.0)
        >>> tmsjax.add_schedule("halving", lambda step, steps, half: 0.5 ** (step / half), options={"half": half})
        >>> dict(tmsjax.load_spec(spec, ["train.schedule=halving"]).train.options)
        {'half': 1000.0}
    """
    checked_callables(SCHEDULES, name, factor=factor)
    if not isinstance(endless, bool):
        raise SCHEDULES.refuse(name, f"endless must be True or False, not {endless!r}")
    options = checked_options(SCHEDULES, name, options, table=OF_TRAIN, used=[factor])
    SCHEDULES.add(name, Schedule(factor, sentence, endless, options))
