"""An activity with its options for a number of features: what a spec's [data] table chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tmsjax.kinds.activities import ACTIVITIES, Activity, Subset
from tmsjax.kinds.registry import called


@dataclass(frozen=True)
class Drawn:
    """An activity with its options bound, for `n` features: the functions of `Activity` without keywords."""

    activity: Activity
    n: int
    options: tuple[tuple[str, Any], ...] = ()

    def _call(self, function: Any, *arguments: Any) -> Any:
        return called(function, *arguments, options=dict(self.options))

    def columns(self) -> int:
        return self._call(self.activity.columns, self.n)

    def active(self, u: Any, p: Any) -> Any:
        return self._call(self.activity.active, u, p)

    def joint(self, p: Any) -> Any:
        return self._call(self.activity.joint, p)

    def marginal(self, p: Any) -> Any:
        if self.activity.marginal is not None:
            return self._call(self.activity.marginal, p)
        return p.__array_namespace__().diagonal(self.joint(p), axis1=-2, axis2=-1)

    def exactly(self, p: list, subset: Subset) -> Any:
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

    Raises ValueError for an unknown activity or option, and for option values that n features do not allow.
    """
    if activity not in ACTIVITIES:
        raise ValueError(f"activity must be one of {', '.join(ACTIVITIES)}, not {activity!r}")
    declared = ACTIVITIES[activity].options
    if unknown := options.keys() - declared.keys():
        raise ValueError(f"{activity!r} has no option {', '.join(sorted(unknown))}")
    given = {key: options.get(key, option.default) for key, option in declared.items()}
    for key, option in declared.items():
        if problem := option.refuses(given[key]):
            raise ValueError(f"{activity!r}: {key} {problem}")
    drawn = Drawn(ACTIVITIES[activity], n, tuple(sorted(given.items())))
    if problem := drawn.misfit():
        raise ValueError(f"{activity!r}: {problem}")
    return drawn
