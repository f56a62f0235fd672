"""Options: keys that the chosen registry entries add to a table of a spec. No jax."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tmsjax.kinds import REGISTRIES, Fixed, Option

Options = tuple[tuple[str, Any], ...]  # (key, value) pairs that the chosen registry entries add to a table


def static(options: Options) -> Options:
    """The options that are equal for all instances: whole numbers, lists of numbers, paths."""
    return tuple((key, value) for key, value in options if isinstance(value, (int, Fixed)))


def sizes(options: Options) -> dict[str, int]:
    """The whole numbers among the options."""
    return {key: value for key, value in options if isinstance(value, int)}


def choosers(table: str) -> list[str]:
    """The keys of a table that choose an entry."""
    return [key for of, _, key in (path.partition(".") for path in REGISTRIES) if of == table]


def declared_options(table: str, chosen: Mapping[str, Any]) -> dict[str, Option]:
    """Options that the chosen registry entries add to `table`, by key; none for unregistered entries.

    Entries can share a key: the first one's declaration counts, such as `edges` of an activity and a sampler.

    Args:
        table: Of the spec.
        chosen: The table's values by key.
    """
    found: dict[str, Option] = {}
    for path, registry in REGISTRIES.items():
        of, _, key = path.partition(".")
        if of == table and isinstance(chosen[key], str) and (entry := registry.get(chosen[key])) is not None:
            found = {**getattr(entry, "options", {}), **found}
    return found


def others_with(table: str, key: str) -> str:
    """The end of a message: which entries of the table have the option `key`, or nothing if none has."""
    found = [
        f"{chooser} = {name!r}"
        for chooser in choosers(table)
        for name, entry in REGISTRIES[f"{table}.{chooser}"].items()
        if key in getattr(entry, "options", {})
    ]
    return f"; it belongs to {' or '.join(found)}" if found else ""


def complete(table: str, part: Any) -> bool:
    """Whether all options that the chosen entries need were given and could be read. `part`: the table of the spec."""
    given, declared = dict(part.options), declared_options(table, vars(part))
    return None not in given.values() and all(key in given or option.optional for key, option in declared.items())


def call(function: Callable[..., int], known: Mapping[str, int]) -> int:
    """A size, from those that `function` names as arguments: n, m and options. A first argument may have any name."""
    names = list(inspect.signature(function).parameters)
    first = [known["n"]] if names and names[0] not in known else []
    return function(*first, **{name: known[name] for name in names[len(first) :] if name in known})
