"""Names of a package that are imported when they are first used, so that reading a run needs no jax (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attach(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    `places`: name -> "module" that has it, "module:other" that has it under another name, or "module:" that is it.
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
