"""Schedules: the factor on the learning rate at each step, 1 at step 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tmsjax.kinds.registry import Registry


@dataclass(frozen=True)
class Schedule:
    """factor: steps of the training -> optax.Schedule; endless: whether it does not depend on the number of steps, so
    that a run may go on for longer."""

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
        "constant": Schedule(_constant, "always 1; such a run can be resumed for more steps", endless=True),
        "linear": Schedule(_linear, "falls to 0 along a line"),
        "cosine": Schedule(_cosine, "falls to 0 along half a cosine"),
    },
)
