"""An activity with its options for a number of features: what a spec's [data] table chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from jaxtyping import Bool, Float

from tmsjax.kinds.activities import ACTIVITIES, Activity, Subset
from tmsjax.kinds.arrays import Array, Features, Floats, Numbers, PerFeature, PerPair
from tmsjax.kinds.registry import Fixed, called

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    """An activity with its options bound, for `n` features: the functions of `Activity` without keywords."""

    activity: Activity
    n: int
    options: tuple[tuple[str, Numbers], ...] = ()

    def _call(self, function: Callable[..., T], *arguments: int | Array | Sequence) -> T:
        return called(function, *arguments, options=dict(self.options))

    def columns(self) -> int:
        return self._call(self.activity.columns, self.n)

    def active(self, u: Float[Array, "columns"], p: Features) -> Bool[Array, "feature"]:
        return self._call(self.activity.active, u, p)

    @property
    def known(self) -> bool:
        """Whether the probabilities of its sets are given, not measured."""
        return self.activity.joint is not None

    def joint(self, p: PerFeature) -> PerPair:
        assert self.activity.joint is not None  # callers ask first
        return self._call(self.activity.joint, p)

    def marginal(self, p: PerFeature) -> PerFeature:
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


def drawn_by(activity: str, n: int, **options: float) -> Drawn:
    """The activity named `activity` for n features; options that are not given have their defaults.

    Raises:
        ValueError: The activity or an option is unknown, or n features do not allow an option's value.
    """
    if activity not in ACTIVITIES:
        raise ValueError(f"activity must be one of {', '.join(ACTIVITIES)}, not {activity!r}")
    declared = ACTIVITIES[activity].options
    if unknown := options.keys() - declared.keys():
        raise ValueError(f"{activity!r} has no option {', '.join(sorted(unknown))}")
    given = {}
    for key, option in sorted(declared.items()):
        value = options.get(key, option.default)
        if value is None and option.optional:
            continue
        problem = None if isinstance(value, Fixed) else option.refuses(value)
        if value is None or problem:
            raise ValueError(f"{activity!r}: {key} {problem}")
        given[key] = value
    drawn = Drawn(ACTIVITIES[activity], n, tuple(given.items()))
    problem = drawn.misfit() or (None if drawn.known else "no probabilities of its sets are given (joint)")
    if problem:
        raise ValueError(f"{activity!r}: {problem}")
    return drawn
