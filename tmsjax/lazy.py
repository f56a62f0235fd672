"""Lazy imports of a package's public names (PEP 562), so that reading a run does not import jax.

A package lists its names once, as imports `from module import name as name`, which type checkers take for exports.
Those under `if TYPE_CHECKING:` are lazy: `attach` reads the list from the package's source, and a name is imported when
it is first used.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package."""
    places = _exports(package)

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, original = places[name]
        submodule = module == package
        value = import_module(f"{module}.{original}") if submodule else getattr(import_module(module), original)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(places), sorted(places)


def _exports(package: str) -> dict[str, tuple[str, str]]:
    """(module, name in it) of every import with `as` in the package's source, by public name."""
    source = sys.modules[package].__spec__.loader.get_source(package)  # type: ignore[union-attr]
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    return {name.asname: (node.module or "", name.name) for node in imports for name in node.names if name.asname}
