"""Schedules: the factor by which each step multiplies the learning rate, 1 at step 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tmsjax.kinds.registry import Registry


@dataclass(frozen=True, eq=False)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        factor: (step, number of training steps) -> the factor. Both may be traced
        endless: whether the factor is independent of the number of steps, so that a run can be extended
    """

    factor: Callable[[Any, Any], Any]
    sentence: str
    endless: bool = False


def _constant(step: Any, steps: Any) -> Any:
    return np.float32(1)


def _linear(step: Any, steps: Any) -> Any:
    return 1 - _share(step, steps)


def _cosine(step: Any, steps: Any) -> Any:
    import jax.numpy as jnp

    return np.float32(0.5) * (1 + jnp.cos(np.float32(np.pi) * _share(step, steps)))


def _share(step: Any, steps: Any) -> Any:
    """The share of the steps that is done, from 0 to 1."""
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
