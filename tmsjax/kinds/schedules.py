"""Schedules: the factor by which each step multiplies the learning rate, 1 at step 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tmsjax.kinds.registry import Registry


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        factor: number of training steps -> optax.Schedule
        endless: whether the factor is independent of the number of steps, so that a run can be extended
    """

    factor: Callable[[int], Any]
    sentence: str
    endless: bool = False


def _constant(steps: int) -> Any:
    import optax

    return optax.constant_schedule(1.0)


def _linear(steps: int) -> Any:
    import optax

    return optax.linear_schedule(1.0, 0.0, steps)


def _cosine(steps: int) -> Any:
    import optax

    return optax.cosine_decay_schedule(1.0, steps)


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {
        "constant": Schedule(_constant, "always 1; a run can be resumed with more steps", endless=True),
        "linear": Schedule(_linear, "decays linearly to 0"),
        "cosine": Schedule(_cosine, "decays to 0 along half a cosine"),
    },
)
