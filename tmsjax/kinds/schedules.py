"""Schedules: the factor by which each step multiplies the learning rate, 1 at step 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tmsjax.kinds.arrays import Count, Number
from tmsjax.kinds.registry import Registry


@dataclass(frozen=True, eq=False)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        factor: (step, number of training steps) -> the factor.
        endless: Whether the factor is independent of the number of steps, so that a run can be extended.
    """

    factor: Callable[[Count, Count], Number]
    sentence: str
    endless: bool = False


def _constant(step: Count, steps: Count) -> Number:
    return np.float32(1)


def _linear(step: Count, steps: Count) -> Number:
    return 1 - _share(step, steps)


def _cosine(step: Count, steps: Count) -> Number:
    import jax.numpy as jnp

    return np.float32(0.5) * (1 + jnp.cos(np.float32(np.pi) * _share(step, steps)))


def _share(step: Count, steps: Count) -> Number:
    """The fraction of the steps that is done, from 0 to 1."""
    import jax.numpy as jnp

    return jnp.minimum(step, steps).astype(jnp.float32) * (np.float32(1) / steps.astype(jnp.float32))


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {
        "constant": Schedule(_constant, "always 1; a run can be resumed with more steps", endless=True),
        "linear": Schedule(_linear, "decays linearly to 0"),
        "cosine": Schedule(_cosine, "decays to 0 along half a cosine"),
    },
)
