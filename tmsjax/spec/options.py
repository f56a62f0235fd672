"""Options: keys that the chosen registry entries add to a table of a spec. No jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tmsjax.kinds import ACTIVITIES, FAMILIES, Option

Options = tuple[tuple[str, Any], ...]  # (key, value) pairs that the chosen registry entries add to a table


def static(options: Options) -> Options:
    """The integer options: sizes and counts, equal for all instances."""
    return tuple((key, value) for key, value in options if isinstance(value, int))


def declared_options(table: str, chosen: Mapping[str, Any]) -> Mapping[str, Option]:
    """Options that the chosen registry entries add to `table`, by key; none for unregistered entries.

    `chosen`: the table's values by key.
    """
    if table == "model" and chosen["family"] in FAMILIES:
        return FAMILIES[chosen["family"]].options
    if table == "data" and chosen["activity"] in ACTIVITIES:
        return ACTIVITIES[chosen["activity"]].options
    return {}
