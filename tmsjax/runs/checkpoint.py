"""Checkpoints of a run, saved by orbax with a manifest that verifies every file and array. The only orbax import.

A checkpoint is a flat dict of arrays such as "state.params.W", "state.opt_state.0.mu.W" and "history.loss". Each has a
leading instance axis and no padding, so that a checkpoint opens on any machine. Orbax detects neither flipped bits nor
missing files in its data. `manifest.json` therefore lists size and CRC-32 of every file, shape, dtype and CRC-32 of
every array, and a copy of run.json. A checkpoint is written under a temporary name and renamed once it is on disk.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import warnings
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from tmsjax.errors import CheckpointError, RunError, RunFailed
from tmsjax.kinds import first_line
from tmsjax.runs.directory import MANIFEST, free_name, is_step
from tmsjax.runs.faults import first_cause, patiently, reach
from tmsjax.runs.files import crc_of_array, crc_of_file, names_in, read_sealed, sync, sync_folder, write_sealed

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save

Arrays = dict[str, np.ndarray]
_ORBAX = threading.Lock()  # threads of a process share one current operation of orbax, whose folders they would mix up


class Checkpoints:
    """The checkpoints in one directory, by step.

    Args:
        directory: the folder, which may not exist yet
        keep: how many of the newest the writer keeps; None opens them for reading
        most: the last step of interest; later checkpoints are neither listed nor removed
        protected: steps whose checkpoints the writer never removes
    """

    def __init__(
        self,
        directory: str | PathLike,
        keep: int | None = None,
        most: int | None = None,
        protected: Collection[int] = (),
    ):
        self.directory = Path(directory).absolute()
        self.keep, self.most, self.protected = keep, most, protected
        if keep is not None and self.directory.is_dir():
            for name in (".saving-*", ".old-*"):  # left by a killed process
                for path in self.directory.glob(name):
                    shutil.rmtree(path, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps of complete checkpoints up to `most`, ascending. Raises Unreadable."""
        names = [name for name in names_in(self.directory) if is_step(name)]
        with reach(self.directory):
            steps = sorted(int(name) for name in names if (self.directory / name).is_dir())
        return [step for step in steps if self.most is None or step <= self.most]

    def save(self, step: int, arrays: Arrays, run: dict | None = None) -> None:
        """Writes `arrays` atomically, then removes all but the newest `keep` checkpoints and those protected.

        `run`: the content of run.json, so that it can be restored from the checkpoint. Tries again for some seconds
        what fails with an error that may pass. Raises RunFailed.
        """
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        new, place = self.directory / f".saving-{step}", self.directory / str(step)
        try:
            patiently(partial(_write, new, arrays))
            listed = {name: _describe(array) for name, array in arrays.items()}
            files = patiently(partial(_files, new))
            write_sealed(new / MANIFEST, {"step": step, "run": run or {}, "arrays": listed, "files": files})
            patiently(partial(_move, new, place))
        except Exception as error:  # orbax and tensorstore raise many types
            with suppress(OSError):
                for half in self.directory.glob(f"{new.name}*"):
                    shutil.rmtree(half, ignore_errors=True)
            raise RunFailed(f"{place}: cannot be saved ({_words(error)})") from error
        with suppress(OSError, RunError):  # the next save tries to remove them again
            for outdated in self.steps()[: -self.keep] if self.keep else []:
                if outdated not in self.protected:
                    self._remove(self.directory / str(outdated))

    def _remove(self, place: Path) -> None:
        """Renames before deleting, so that a partly deleted checkpoint is never taken for a complete one."""
        old = place.with_name(f".old-{place.name}")
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
        shutil.rmtree(old, ignore_errors=True)

    def load(self, step: int | None = None) -> tuple[int, Arrays]:
        """(step, arrays) of a verified checkpoint, by default the newest. Raises CheckpointError or Unreadable."""
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            raise CheckpointError(
                f"{self.directory}: no checkpoint{'' if step is None else f' of step {step}'}; has {steps}"
            )
        step = steps[-1] if step is None else step
        where = self.directory / str(step)
        manifest = patiently(partial(_manifest, where))
        if manifest["step"] != step:
            raise CheckpointError(f"{where}: its manifest is of step {manifest['step']}")
        listed = manifest["arrays"]
        try:
            empty = {name: np.empty(e["shape"], e["dtype"]) for name, e in listed.items()}
            with _ORBAX, reach(where):
                arrays = {name: np.asarray(a) for name, a in ocp.load(where, empty).items()}
        except RunError:
            raise
        except Exception as error:
            raise CheckpointError(f"{where}: cannot be read ({_words(error)})") from error
        damaged = [name for name, array in arrays.items() if _describe(array) != listed[name]]
        if damaged:
            raise CheckpointError(f"{where}: checksums do not match for {', '.join(damaged)}")
        return step, arrays

    def load_newest_good(self) -> tuple[int, Arrays] | None:
        """The newest intact checkpoint; renames newer, damaged ones with a warning. None if there are no checkpoints.

        Raises CheckpointError, and renames nothing, if all checkpoints are damaged, and Unreadable if one may not be.
        """
        steps, damaged = self.steps(), []
        for step in reversed(steps):
            try:
                found = self.load(step)
            except CheckpointError as error:
                damaged.append((step, error))
                continue
            for bad, why in damaged:
                aside = free_name(self.directory.parent / f"damaged-{bad}")
                (self.directory / str(bad)).rename(aside)
                warnings.warn(f"{why}; set aside as {aside}, going on from step {step}", stacklevel=2)
            return found
        if steps:
            reasons = "".join(f"\n  {why}" for _, why in damaged)
            raise CheckpointError(f"{self.directory}: no good checkpoint is left; --fresh starts again{reasons}")
        return None


def _write(new: Path, arrays: Arrays) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    with _ORBAX, _uncompressed():
        ocp.save(new, arrays, overwrite=True)


def _move(new: Path, place: Path) -> None:
    """Renames the folder `new` to `place`, whose content it replaces."""
    old = place.with_name(f".old-{place.name}")
    if place.exists():
        place.rename(old)
    new.rename(place)
    sync_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def _uncompressed() -> AbstractContextManager:
    """Disables compression: weights do not compress, and saving takes half the time and memory without it."""
    context = ocp.Context()
    context.array.saving.use_compression = False
    return context


def _manifest(where: Path) -> dict:
    """The manifest of the checkpoint at `where`, with its files verified. Raises CheckpointError or Unreadable."""
    path = where / MANIFEST
    try:
        manifest, sealed = read_sealed(path)
        if not sealed:
            raise ValueError("it has no checksum")
        with reach(where):
            trouble = _differences(where, manifest["files"])
    except RunError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: missing or damaged ({_words(error)})") from error
    if trouble:
        raise CheckpointError(f"{where}: {'; '.join(trouble)}")
    return manifest


def _files(where: Path) -> dict[str, list[int]]:
    """[size, CRC-32] of every file below `where`; syncs them to disk."""
    listed = {}

    def fail(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(where, onerror=fail):
        for name in names:
            path = Path(folder) / name
            sync(path)
            listed[str(path.relative_to(where))] = [path.stat().st_size, crc_of_file(path)]
        sync_folder(Path(folder))
    return listed


def _differences(where: Path, files: dict[str, list[int]]) -> list[str]:
    """Messages about files below `where` that are missing or differ from `files`."""
    trouble = []
    for name, (size, crc) in files.items():
        path = where / name
        if not path.is_file():
            trouble.append(f"{name} is missing")
        elif path.stat().st_size != size:
            trouble.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
        elif crc_of_file(path) != crc:
            trouble.append(f"the checksum of {name} does not match")
    return trouble


def _describe(array: np.ndarray) -> dict:
    return {"shape": list(array.shape), "dtype": str(array.dtype), "crc32": crc_of_array(array)}


def _words(error: BaseException) -> str:
    """The type and first line of the error that caused `error`."""
    return first_line(first_cause(error))


def flatten(tree: Any, prefix: str) -> Arrays:
    """The leaves of `tree` by "prefix.path"."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {f"{prefix}.{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf for path, leaf in leaves}


def unflatten(arrays: Arrays, prefix: str, like: Any) -> Any:
    """Inverse of `flatten`, with the structure of `like`. Raises CheckpointError if a leaf is missing or differs."""
    leaves = flatten(like, prefix)
    missing = [name for name in leaves if name not in arrays]
    if missing:
        raise CheckpointError(f"the checkpoint lacks {', '.join(missing)}")
    for name, leaf in leaves.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            found, needed = f"{arrays[name].dtype}{arrays[name].shape}", f"{leaf.dtype}{leaf.shape}"
            raise CheckpointError(f"the checkpoint's {name} is {found}, not {needed}")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in leaves])
