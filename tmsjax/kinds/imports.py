"""Locates and executes the files and modules in a spec's `imports`, identified by SHA-256.

`run` and `resume` execute them, other commands only on request. Opening a run never does.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tmsjax.errors import RegistryError, SpecError
from tmsjax.kinds.registry import Registry, importing

_executed: dict[str, str] = {}  # SHA-256 by path


@dataclass(frozen=True)
class Imported:
    """One entry of `imports`: the name as written, the resolved path, and the SHA-256 of the file."""

    name: str
    path: str
    sha256: str

    @property
    def filename(self) -> str:
        """The path for the compiler and for jax, which take no bytes that are not UTF-8."""
        return self.path.encode(errors="backslashreplace").decode()


def located(names: Sequence[str], folder: str) -> list[Imported]:
    """Resolves `names` to files; paths are relative to `folder`. Executes nothing.

    Raises:
        SpecError: Files are missing; it lists all of them.
    """
    found, problems = [], []
    for k, name in enumerate(names):
        path = os.path.realpath(os.path.join(folder, name)) if name.endswith(".py") else _file_of_module(name)
        if path is not None and os.path.isfile(path) and os.access(path, os.R_OK):
            found.append(Imported(name, path, hashlib.sha256(Path(path).read_bytes()).hexdigest()))
        else:
            why = f"no module is named {name!r}; a file's name ends in .py"
            problems.append((f"imports[{k}]", why if path is None else f"{path} is no readable file"))
    if problems:
        raise SpecError("imports", problems)
    return found


def _file_of_module(name: str) -> str | None:
    """The file of a dotted module. Unlike importlib's find_spec, does not execute the packages that it lies in."""
    places, spec = None, None
    for part in name.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return spec.origin if spec is not None else None


def execute(found: Sequence[Imported], registries: Mapping[str, Registry]) -> None:
    """Executes the files that this process has not executed yet; a changed file replaces the entries that it added.

    Raises:
        SpecError: A file fails; it names the line and the reason.
    """
    for k, one in enumerate(found):
        if _executed.pop(one.path, None) != one.sha256:
            for registry in registries.values():
                registry.remove_source(one.path)
            try:
                with importing(one.path):
                    _run(one)
            except (Exception, SystemExit) as error:  # a user's file may raise anything
                for registry in registries.values():
                    registry.remove_source(one.path)
                raise SpecError("imports", [(f"imports[{k}]", _where(one, error))]) from error
        _executed[one.path] = one.sha256


def _run(one: Imported) -> None:
    """Executes the file in a module of its own, which is not the one that `import` would give."""
    module = ModuleType(f"tmsjax_imports_{hashlib.sha256(os.fsencode(one.path)).hexdigest()[:12]}")
    package = "" if one.name.endswith(".py") else one.name.rpartition(".")[0]  # for relative imports
    module.__dict__.update(__file__=one.path, __package__=package)
    sys.modules[module.__name__] = module
    exec(compile(Path(one.path).read_bytes(), one.filename, "exec"), module.__dict__)


def _where(one: Imported, error: BaseException) -> str:
    """The error's message, with the last line that was reached in the imported file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == one.filename]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"{one.path}, line {line}" if line else one.path
    kind = "" if isinstance(error, RegistryError) else f"{type(error).__name__}: "
    return f"{place}: {kind}{str(error).splitlines()[0] if str(error) else 'failed'}"
