"""Finds out before training whether a folder can hold a run, and keeps results that it could not hold after all."""

from __future__ import annotations

import copy
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from tmsjax.errors import RunError, RunFailed, first_line
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.directory import TRIAL
from tmsjax.runs.faults import first_cause
from tmsjax.runs.files import is_local, write_text
from tmsjax.runs.locks import NoLocks, take
from tmsjax.runs.store import Store

T = TypeVar("T")


def trial(folder: Path) -> bool:
    """Does in a hidden folder in `folder` what a run will do there. Returns whether its file system has locks.

    Raises RunError, which names the operation that failed. Does nothing in an object store, which has no locks.
    """
    if not is_local(folder):
        return False
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise RunError(
            f"{folder}: cannot hold a run: its path is not UTF-8, and orbax saves no checkpoints there; choose another "
            "--out"
        ) from error

    def tried(operation: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except (OSError, RunError, RunFailed) as error:
            cause = first_cause(error)
            reason = getattr(cause, "strerror", None) or first_line(cause)
            raise RunError(
                f"{folder}: cannot hold a run: {operation} failed ({reason}); choose another --out, on a local disk"
            ) from error

    with _hidden(folder, tried) as place:
        file = place / "file"
        tried("writing a file", lambda: write_text(file, "trial"))
        if tried("reading a file", lambda: file.read_text(encoding="utf-8")) != "trial":
            raise RunError(f"{folder}: cannot hold a run: a file did not keep its content; choose another --out")
        locks = tried("locking a file", lambda: _locks(file))
        checkpoints = Checkpoints(place / "checkpoints")
        tried("saving a checkpoint", lambda: checkpoints.save(0, {"trial": np.arange(3, dtype=np.float32)}))
        tried("reading a checkpoint", checkpoints.load)
    return locks


@contextmanager
def _hidden(folder: Path, tried: Callable[[str, Callable[[], Any]], Any]) -> Iterator[Path]:
    """A new hidden folder, which is removed afterwards."""
    place = folder / f"{TRIAL}{secrets.token_hex(4)}"
    tried("making a folder", place.mkdir)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _locks(path: Path) -> bool:
    """Whether files on this file system can be locked."""
    with open(path, "rb+") as file:
        try:
            return take(file)
        except NoLocks:
            return False


def write_elsewhere(store: Store, unit: int, dataset: xr.Dataset, facts: Mapping[str, Any] | None = None) -> Path:
    """Writes a unit's file, which `store` could not take, into a new temporary folder. Returns its path.

    The run is complete once the file is copied to `store.path(unit)`. Raises OSError.
    """
    elsewhere = copy.copy(store)
    elsewhere.folder = Path(tempfile.mkdtemp(prefix="tmsjax-")) / store.folder.name
    elsewhere.write(unit, dataset, facts)
    return elsewhere.path(unit)
