"""Locates and executes the files and modules in a spec's `imports`, identified by SHA-256.

`run` and `resume` execute them, other commands only on request. Opening a run never does.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
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
    """Resolves `names` to files; paths are relative to `folder`. Executes nothing except parent packages of modules.

    Raises SpecError, which lists every missing file.
    """
    found, problems = [], []
    for k, name in enumerate(names):
        path = _file_of(name, folder)
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path else None
        except OSError as error:
            problems.append((f"imports[{k}]", f"{path} cannot be read: {error.strerror}"))
            continue
        if digest is None:
            problems.append((f"imports[{k}]", f"no module is named {name!r}; a file's name ends in .py"))
        else:
            found.append(Imported(name, str(path), digest))
    if problems:
        raise SpecError("imports", problems)
    return found


def _file_of(name: str, folder: str) -> Path | None:
    if name.endswith(".py"):
        return (Path(folder) / name).resolve()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
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
            registry.remove_source(one.name)  # entries that the module added when it was imported before
        try:
            with importing(one.path):
                _run(one)
        except (Exception, SystemExit) as error:  # a user's file may raise anything
            for registry in registries.values():
                registry.remove_source(one.path)
            message = _where(one, error)
            raise SpecError("imports", [(f"imports[{k}]", message)]) from error
        _executed[one.path] = one.sha256


def _run(one: Imported) -> ModuleType:
    if not one.name.endswith(".py"):
        loaded = sys.modules.get(one.name)
        return importlib.reload(loaded) if loaded is not None else importlib.import_module(one.name)
    name = f"tmsjax_imports_{hashlib.sha256(one.path.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, one.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _where(one: Imported, error: BaseException) -> str:
    """The error's message, with the last line that was reached in the imported file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == one.path]
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"{one.path}, line {line}" if line else one.path
    kind = "" if isinstance(error, RegistryError) else f"{type(error).__name__}: "
    return f"{place}: {kind}{str(error).splitlines()[0] if str(error) else 'failed'}"
