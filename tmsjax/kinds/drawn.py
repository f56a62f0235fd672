"""An activity with its options for a number of features: what a spec's [data] table chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from tmsjax.kinds.activities import ACTIVITIES, Activity, Subset
from tmsjax.kinds.arrays import Array, Features, Floats, Numbers, PerFeature, PerPair
from tmsjax.kinds.registry import Fixed, called

T = TypeVar("T")
UNKNOWN = "the probability that two features are both active is not given (`joint`); `tmsjax.moments` measures it"


@dataclass(frozen=True)
class Drawn:
    """An activity with its options bound, for `n` features: the functions of `Activity` without keywords."""

    activity: Activity
    n: int
    options: tuple[tuple[str, Numbers], ...] = ()

    def _call(self, function: Callable[..., T], *arguments: int | Array | Sequence) -> T:
        return called(function, *arguments, options=dict(self.options))

    @property
    def name(self) -> str:
        return next((name for name, entry in ACTIVITIES.items() if entry is self.activity), "activity")

    def columns(self) -> int:
        return self._call(self.activity.columns, self.n)

    def active(self, u: Float[Array, "columns"], p: Features) -> Bool[Array, "feature"]:
        return self._call(self.activity.active, u, p)

    @property
    def known(self) -> bool:
        """Whether the probabilities of its sets are given, not measured."""
        return self.activity.joint is not None

    @property
    def known_alone(self) -> bool:
        """Whether the probability that a feature is active is given, not measured."""
        return self.known or self.activity.marginal is not None

    def joint(self, p: PerFeature) -> PerPair:
        """Raises ValueError if it is not given."""
        if self.activity.joint is None:
            raise ValueError(f"{self.name!r}: {UNKNOWN}")
        return self._call(self.activity.joint, p)

    def marginal(self, p: PerFeature) -> PerFeature:
        """Raises ValueError if it is not given."""
        if self.activity.marginal is not None:
            return self._call(self.activity.marginal, p)
        return p.__array_namespace__().diagonal(self.joint(p), axis1=-2, axis2=-1)

    def exactly(self, p: Sequence[Floats], subset: Subset) -> Numbers:
        assert self.activity.exactly is not None  # callers ask first
        return self._call(self.activity.exactly, p, subset)

    def possible(self, subset: Subset) -> bool:
        return self._call(self.activity.possible, subset, self.n)

    def most_active(self) -> int:
        return self._call(self.activity.most_active, self.n)

    def exact_up_to(self) -> int:
        return self._call(self.activity.exact_up_to) if self.activity.exactly else 0

    def misfit(self) -> str | None:
        return self._call(self.activity.misfit, self.n)


def _numbers(value: object) -> Fixed | None:
    """A list of numbers or a list of such lists as the value of an option."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    if array.ndim not in (1, 2):
        return None
    return Fixed(tuple(array.tolist() if array.ndim == 1 else map(tuple, array.tolist())))


def drawn_by(activity: str, n: int, **options: Any) -> Drawn:
    """The activity named `activity` for n features; options that are not given have their defaults.

    Raises:
        ValueError: The activity or an option is unknown, or n features do not allow an option's value.
    """
    if activity not in ACTIVITIES:
        raise ValueError(f"activity must be one of {', '.join(ACTIVITIES)}, not {activity!r}")
    declared = ACTIVITIES[activity].options
    if unknown := options.keys() - declared.keys():
        raise ValueError(f"{activity!r} has no option {', '.join(sorted(unknown))}")
    given: dict[str, Any] = {}
    for key, option in sorted(declared.items()):
        value = options.get(key, option.default)
        if value is None and option.optional:
            continue
        if option.type == "numbers" and not isinstance(value, Fixed):
            value = _numbers(value)
        problem = None if isinstance(value, Fixed) else option.refuses(value)
        if problem:
            raise ValueError(f"{activity!r}: {key} {problem}")
        given[key] = value
    drawn = Drawn(ACTIVITIES[activity], n, tuple(given.items()))
    if problem := drawn.misfit():
        raise ValueError(f"{activity!r}: {problem}")
    return drawn
