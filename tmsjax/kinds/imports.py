"""Locates and executes the files and modules in a spec's `imports`, identified by SHA-256.

`run` and `resume` execute them, other commands only on request. Opening a run never does. The executed bytes are the
hashed ones: neither `__pycache__` nor a file that changes in between can put other code in their place.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
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


def located(names: Sequence[str], folder: str) -> list[Imported]:
    """Resolves `names` to files; paths are relative to `folder`. Executes nothing.

    Raises SpecError, which lists every missing file and every file that is named twice.
    """
    found: list[Imported] = []
    problems = []
    for k, name in enumerate(names):
        try:
            path = _file_of(name, folder)
            one = Imported(name, str(path), hashlib.sha256(path.read_bytes()).hexdigest()) if path else None
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            problems.append((f"imports[{k}]", f"{name} cannot be read: {getattr(error, 'strerror', error)}"))
            continue
        if one is None:
            problems.append((f"imports[{k}]", f"no module is named {name!r}; a file's name ends in .py"))
        elif one.path in [other.path for other in found]:
            problems.append((f"imports[{k}]", f"{name} is {one.path}, which an entry before it names already"))
        else:
            found.append(one)
    if problems:
        raise SpecError("imports", problems)
    return found


def _file_of(name: str, folder: str) -> Path | None:
    """The file of an entry; None if there is no such module. Raises OSError if it is no regular file."""
    if not name.endswith(".py"):
        return _file_of_module(name)
    path = (Path(folder) / name).resolve()
    if path.exists() and not path.is_file():
        raise OSError(0, "it is not a regular file")
    return path


def _file_of_module(name: str) -> Path | None:
    """The file of a dotted module. Unlike importlib's find_spec, does not execute the packages that it lies in."""
    if name.partition(".")[0] == "tmsjax":
        return None
    places, spec = None, None
    for part in name.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def execute(found: Sequence[Imported], registries: Mapping[str, Registry]) -> None:
    """Executes the files that this process has not executed yet; a changed file replaces the entries that it added.

    Raises SpecError if a file fails, with the line and the reason.
    """
    for k, one in enumerate(found):
        if _executed.get(one.path) == one.sha256:
            continue
        for registry in registries.values():
            registry.remove_source(one.path)
        try:
            with importing(one.path):
                _run(one)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's file may raise anything, SystemExit included
            for registry in registries.values():
                registry.remove_source(one.path)
            message = _where(one, error)
            raise SpecError("imports", [(f"imports[{k}]", message)]) from error
        _executed[one.path] = one.sha256


def _run(one: Imported) -> None:
    """Executes the file in a module of its own, which is not the one that `import` would give."""
    source = Path(one.path).read_bytes()
    if hashlib.sha256(source).hexdigest() != one.sha256:
        raise RegistryError("the file changed while it was being read")
    name = f"tmsjax_imports_{hashlib.sha256(one.path.encode()).hexdigest()[:12]}"
    package = "" if one.name.endswith(".py") else one.name.rpartition(".")[0]  # for relative imports
    module = ModuleType(name)
    module.__dict__.update(__file__=one.path, __package__=package)
    sys.modules[name] = module
    exec(compile(source, one.path, "exec"), module.__dict__)


def _where(one: Imported, error: BaseException) -> str:
    """The error's message, with the last line that was reached in the imported file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == one.path]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"{one.path}, line {line}" if line else one.path
    kind = "" if isinstance(error, RegistryError) else f"{type(error).__name__}: "
    return f"{place}: {kind}{str(error).splitlines()[0] if str(error) else 'failed'}"
