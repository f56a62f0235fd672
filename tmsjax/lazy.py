"""Lazy imports for the public names of a package (PEP 562), so that reading a run does not import jax."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attach(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The module-level `__getattr__` of `package`, which imports each name on first use.

    `places` maps a name to the module that defines it: "module", "module:other" if it is called `other` there, or
    "module:" if the name is the module itself.
    """

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, colon, other = places[name].partition(":")
        loaded = import_module(f"{package}.{module}")
        value = loaded if colon and not other else getattr(loaded, other or name)
        setattr(sys.modules[package], name, value)
        return value

    return load


def names(places: Mapping[str, str]) -> Callable[[], list[str]]:
    """The `__dir__` of such a package."""
    return lambda: sorted(places)
