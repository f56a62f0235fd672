"""Shared by all kinds: the registry of named entries, and options that an entry adds to its table of a spec."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from tmsjax.errors import RegistryError


@runtime_checkable
class Entry(Protocol):
    """A registered entry has a sentence that describes it in help and documentation."""

    @property
    def sentence(self) -> str: ...


T = TypeVar("T", bound=Entry)
R = TypeVar("R")

# Names of dimensions and variables in datasets of results, maps and measures. Nothing else may use them.
DIMENSIONS = ("feature", "hidden")
OF_RESULTS = frozenset({*DIMENSIONS, "instance", "step", "replica", "W", "b", "loss", "status"})
OF_MAPS = frozenset({"phase", "success", "failed", "gradient", "second_loss", "class"})
RESERVED = OF_RESULTS | OF_MAPS
RESERVED_PREFIXES = ("instance_", "history_")
IN_PYTHON = "Python"  # source of entries that no file of `imports` added

_importing: ContextVar[str | None] = ContextVar("_importing", default=None)  # the file of `imports` being executed


OPTION_TYPES = ("int", "quantity", "features", "numbers", "path", "paths")


@dataclass(frozen=True)
class Option:
    """A key that an entry adds to its table of the spec.

    Args:
        type: "int": a size or a count, the same for all instances; "quantity": one number per instance, which can name
            an axis; "features": one number per instance and feature; "numbers": a list of numbers, or a list of such
            lists, the same for all instances; "path" or "paths": a file or folder, or one or a list of them.
        default: The value if the key is absent; None: the key is required.
        low: The lowest allowed value; None: no limit.
        high: The highest allowed value; None: no limit.
        sentence: What it means.
        optional: Whether the key may be absent although it has no default; then functions do not get it.
        of_norm: Whether functions get it times the root mean square norm of a sample.

    Examples:
        >>> rank = tmsjax.Option("int", default=1, high=8, sentence="of W")
        >>> rank.refuses(3) is None, rank.refuses(9)
        (True, 'must be a whole number from 1 to 8, not 9')
    """

    type: Literal["int", "quantity", "features", "numbers", "path", "paths"]
    default: float | None = None
    low: float | None = None
    high: float | None = None
    sentence: str = ""
    optional: bool = False
    of_norm: bool = False

    @property
    def rule(self) -> dict[str, Any]:
        """The rule for its value, in the form that the spec's own keys use (see spec/keys.py)."""
        limits = {"low": self.low, "high": self.high}
        if self.type == "int":
            limits = {"low": 1 if self.low is None else self.low, "high": 2**16 if self.high is None else self.high}
        kind = {"type": "quantity", "per_feature": True} if self.type == "features" else {"type": self.type}
        return kind | {k: v for k, v in limits.items() if v is not None}

    @property
    def varies(self) -> bool:
        """Whether it is a quantity, whose value may differ between instances."""
        return self.type in ("quantity", "features")

    def refuses(self, value: object) -> str | None:
        """Why one number cannot be its value, or None."""
        if self.type == "numbers":
            return f"must be a list of numbers or of such lists, not {value!r:.40}"
        rule, whole = self.rule, self.type == "int"
        low, high = rule.get("low", -math.inf), rule.get("high", math.inf)
        if isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"must be a {'whole ' * whole}number from {low:g} to {high:g}, not {value!r:.40}"

    def misfit(self) -> str | None:
        """What is wrong with its default or its limits, or None."""
        given = {"default": self.default, "low": self.low, "high": self.high}
        kind: tuple[type, ...] = (int,) if self.type == "int" else (int, float)
        if self.type in ("path", "paths", "numbers") and self.default is not None:
            return f"an option of type {self.type!r} has no default; it may be optional"
        for what, value in given.items():
            if value is None:
                continue
            if not isinstance(value, kind) or isinstance(value, bool) or not abs(value) < 2**63:
                return f"{what} must be a {'whole ' * (self.type == 'int')}number or None, not {value!r:.40}"
        if self.type == "int" and self.low is not None and self.low < 0:
            return f"low must be at least 0: an option of type 'int' is a size or a count; not {self.low}"
        low, high = (self.rule.get(end, infinite) for end, infinite in (("low", -math.inf), ("high", math.inf)))
        if low > high:
            return f"low = {low} is above high = {high}"
        if self.default is not None and not low <= self.default <= high:
            return f"the default {self.default} is not in [{low}, {high}]"
        return None


@dataclass(frozen=True)
class Fixed:
    """The value of an option of type "numbers", "path" or "paths": nested tuples of numbers, or text."""

    value: Any

    @property
    def given(self) -> Any:
        """What functions get: an array of float64, or text."""
        leaf = self.value
        while isinstance(leaf, tuple) and leaf:
            leaf = leaf[0]
        return self.value if isinstance(leaf, str) else np.asarray(self.value, np.float64)


class Registry(Mapping[str, T], Generic[T]):
    """The entries of one kind by name. Built-in entries are given at construction, all others come from `add`."""

    def __init__(self, kind: str, built_in: Mapping[str, T]):
        self.kind = kind
        self._entries: dict[str, T] = dict(built_in)
        self._sources: dict[str, str | None] = dict.fromkeys(built_in)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def source(self, name: str) -> str | None:
        """The file of `imports` that added the entry, or IN_PYTHON; None if it is built in."""
        return self._sources[name]

    def refuse(self, name: object, why: str) -> RegistryError:
        """The error that says why an entry cannot be added."""
        return RegistryError(f"{self.kind} {name!r}: {why}")

    def check_name(self, name: object) -> None:
        """Raises RegistryError if a spec could not contain `name`."""
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
            raise self.refuse(name, "a name is a-z, then up to 62 of a-z, 0-9, '-' and '_'")

    def add(self, name: str, entry: T) -> None:
        """Adds an entry.

        Python code may add the same name again, which replaces its entry, so that a notebook cell can be run twice.

        Raises:
            RegistryError: The name is invalid or taken.
        """
        self.check_name(name)
        source = _importing.get() or IN_PYTHON
        if name in self._entries:
            holder = self._sources[name]
            if holder is None:
                raise self.refuse(name, "this name is built in; choose another")
            if holder != source or source != IN_PYTHON:
                raise self.refuse(name, f"this name is taken: {holder} added it")
        self._entries[name], self._sources[name] = entry, source

    def remove_source(self, source: str) -> None:
        """Removes all entries that a file added."""
        for name in [name for name, holder in self._sources.items() if holder == source]:
            del self._entries[name], self._sources[name]


@contextmanager
def importing(source: str) -> Iterator[None]:
    """Records `source` as the source of all entries that are added inside."""
    token = _importing.set(source)
    try:
        yield
    finally:
        _importing.reset(token)


def called(function: Callable[..., R], *arguments: object, options: Mapping[str, Any]) -> R:
    """`function(*arguments)`, with the options that its signature names as keywords."""
    if not options:
        return function(*arguments)
    given = {k: v.given if isinstance(v, Fixed) else v for k, v in options.items() if takes(function, k)}
    return function(*arguments, **given)


def positional(function: Callable, options: Container[str]) -> int:
    """The number of positional arguments without default that a function has, besides options."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some C functions have no signature
        return 1
    given = [p for p in parameters if p.name not in options]
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in given)


def takes(function: Callable, keyword: str) -> bool:
    """Whether a function accepts `keyword`, by name or by `**`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some C functions have no signature
        return False
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return keyword in named or any(p.kind is p.VAR_KEYWORD for p in parameters)


def checked_options(
    registry: Registry,
    name: str,
    options: Mapping[str, Option] | None,
    *,
    table: tuple[str, ...],
    used: Iterable[Callable | str],
) -> dict[str, Option]:
    """The options as a dict.

    Args:
        registry: Of the entry.
        name: Of the entry.
        options: As the user gave them.
        table: Keys that the spec's table already has.
        used: The entry's functions, and names that it uses itself.

    Raises:
        RegistryError: An option has a bad name, type, range or default, or is unused.
    """
    if not isinstance(options, Mapping | None):
        raise registry.refuse(name, f"options must map names to tmsjax.Option, not {options!r}")
    taken, used = RESERVED | {*table, "options"}, list(used)
    for key, option in (options or {}).items():
        if not isinstance(option, Option) or option.type not in OPTION_TYPES:
            needs = f"a tmsjax.Option of type {', '.join(map(repr, OPTION_TYPES))}"
            raise registry.refuse(name, f"option {key!r} must be {needs}, not {option!r}")
        if not isinstance(key, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", key):
            raise registry.refuse(name, f"option {key!r}: a name is a-z, then a-z, 0-9 and '_'")
        if key in taken or key.startswith(RESERVED_PREFIXES):
            raise registry.refuse(name, f"option {key!r}: the name is taken by another key of the spec or by results")
        if problem := option.misfit():
            raise registry.refuse(name, f"option {key!r}: {problem}")
        if not any(key == u if isinstance(u, str) else takes(u, key) for u in used):
            raise registry.refuse(name, f"option {key!r}: none of its functions has an argument of that name")
    return dict(options or {})


def checked_callables(registry: Registry, name: str, **functions: object) -> None:
    """Raises RegistryError if the entry's name is invalid or one of `functions` is not callable."""
    registry.check_name(name)
    for what, function in functions.items():
        if not callable(function):
            raise registry.refuse(name, f"{what} must be a function, not {function!r}")
