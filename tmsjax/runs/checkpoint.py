"""Checkpoints of a run, by orbax, with a manifest that verifies every file and array. The only orbax import.

A checkpoint is a flat dict of arrays, "state.params.W", "state.opt_state.0.mu.W", "history.loss", each with a leading
axis instance and no padding, so that it opens on any machine. Orbax itself notices neither a flipped bit nor a missing
file in its data, so `manifest.json` beside them lists size and CRC-32 of every file, shape, type and CRC-32 of every
array, and what run.json said. A checkpoint is made under another name and renamed when all of it is on the disk.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
import zlib
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from tmsjax.errors import CheckpointError, RunFailed
from tmsjax.runs.files import (
    crc_of_array,
    crc_of_file,
    first_cause,
    read_sealed,
    sync,
    write_sealed,
)
from tmsjax.runs.store import MANIFEST, free_name, is_step

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save

Arrays = dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints in one directory, by step. Its writer keeps the newest `keep`; readers (None) change nothing."""

    def __init__(self, directory: str | PathLike, keep: int | None = None):
        self.directory = Path(directory).absolute()
        self.keep = keep
        self.loads = (
            0  # calls of orbax's load: it counts them, and processes that save together must agree on the count
        )
        if keep is not None and self.directory.is_dir():
            for name in (".saving-*", ".old-*"):  # what a killed process left half made or half removed
                for path in self.directory.glob(name):
                    shutil.rmtree(path, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps of whole checkpoints, ascending."""
        if not self.directory.is_dir():
            return []
        return sorted(int(p.name) for p in self.directory.iterdir() if is_step(p.name) and p.is_dir())

    def save(self, step: int, arrays: Arrays, run: dict | None = None) -> None:
        """Writes `arrays` whole or not at all, then removes what is older than the newest `keep`. Raises RunFailed.

        `run`: what run.json says, so that it can be made again from here. All processes call this (orbax makes them
        meet), with the same arrays and path; the first one writes.
        """
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        new, place = self.directory / f".saving-{step}", self.directory / str(step)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with _uncompressed():
                ocp.save(new, arrays, overwrite=True)
            if jax.process_index() > 0:
                return
            listed = {name: _describe(array) for name, array in arrays.items()}
            write_sealed(new / MANIFEST, {"step": step, "run": run or {}, "arrays": listed, "files": _files(new)})
            old = place.with_name(f".old-{step}")
            if place.exists():
                place.rename(old)
            new.rename(place)
            sync(self.directory)
            shutil.rmtree(old, ignore_errors=True)
        except Exception as error:  # orbax and tensorstore raise many kinds; the cause is kept
            if jax.process_index() == 0:
                shutil.rmtree(new, ignore_errors=True)
            raise RunFailed(f"{place}: cannot be saved ({_words(error)})") from error
        for outdated in self.steps()[: -self.keep] if self.keep else []:
            self._remove(self.directory / str(outdated))

    def _remove(self, place: Path) -> None:
        """Under another name first, so that no half of it looks like a checkpoint."""
        old = place.with_name(f".old-{place.name}")
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
        shutil.rmtree(old, ignore_errors=True)

    def load(self, step: int | None = None) -> tuple[int, Arrays]:
        """(step, arrays) of a checkpoint, the newest by default, verified. Raises CheckpointError."""
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            raise CheckpointError(
                f"{self.directory}: no checkpoint{'' if step is None else f' of step {step}'}; has {steps}"
            )
        step = steps[-1] if step is None else step
        where = self.directory / str(step)
        manifest = _manifest(where)
        if manifest.get("step", step) != step:
            raise CheckpointError(f"{where}: its manifest is of step {manifest['step']}")
        listed = manifest["arrays"]
        self.loads += 1
        try:
            empty = {name: np.empty(e["shape"], e["dtype"]) for name, e in listed.items()}
            with _this_process_alone():
                arrays = {name: np.asarray(a) for name, a in ocp.load(where, empty).items()}
        except Exception as error:
            raise CheckpointError(f"{where}: cannot be read ({_words(error)})") from error
        damaged = [name for name, array in arrays.items() if _describe(array) != listed[name]]
        if damaged:
            raise CheckpointError(f"{where}: checksums do not match for {', '.join(damaged)}")
        return step, arrays

    def load_newest_good(self) -> tuple[int, Arrays] | None:
        """The newest checkpoint that verifies; damaged ones are renamed and warned about. None if there is none.

        Raises CheckpointError if there are checkpoints but no good one; then nothing is renamed.
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


def _uncompressed() -> AbstractContextManager:
    """Weights do not compress: without, saving takes half the time and half the memory."""
    context = ocp.Context()
    context.array.saving.use_compression = False
    return context


def _this_process_alone() -> AbstractContextManager:
    """Keeps orbax from waiting for other processes: the first one alone reads."""
    if jax.process_count() == 1:
        return nullcontext()
    here = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )
    return ocp.Context(multiprocessing_options=options)


def _manifest(where: Path) -> dict:
    """What the checkpoint at `where` must hold, its files verified. Raises CheckpointError."""
    path = where / MANIFEST
    try:
        if path.exists():
            manifest, sealed = read_sealed(path)
            if not sealed:
                raise ValueError("it has no checksum")
            trouble = _differences(where, manifest["files"])
        else:
            manifest, trouble = _manifest_of_format_1(where), []
    except Exception as error:
        raise CheckpointError(f"{path}: missing or damaged ({_words(error)})") from error
    if trouble:
        raise CheckpointError(f"{where}: {'; '.join(trouble)}")
    return manifest


def _manifest_of_format_1(where: Path) -> dict:
    """Format 1 kept the list of arrays in orbax's own metadata."""
    manifest: Any = ocp.metadata(where).custom_metadata
    if not manifest:
        raise ValueError("no manifest")
    if zlib.crc32(json.dumps(manifest["arrays"], sort_keys=True).encode()) != manifest["crc32"]:
        raise ValueError("the list of arrays is damaged")
    return manifest


def _files(where: Path) -> dict[str, list[int]]:
    """[size, CRC-32] of every file below `where`, all synced to the disk."""
    listed = {}
    for folder, _, names in os.walk(where):
        for name in names:
            path = Path(folder) / name
            sync(path)
            listed[str(path.relative_to(where))] = [path.stat().st_size, crc_of_file(path)]
        sync(Path(folder))
    return listed


def _differences(where: Path, files: dict[str, list[int]]) -> list[str]:
    """What is wrong with the files below `where`, in words."""
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
    """Kind and first line of what caused an error."""
    cause = first_cause(error)
    lines = str(cause).splitlines()
    return f"{type(cause).__name__}: {lines[0][:200]}" if lines else type(cause).__name__


def flatten(tree: Any, prefix: str) -> Arrays:
    """The leaves of `tree` by their path, "prefix.path"."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {f"{prefix}.{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf for path, leaf in leaves}


def unflatten(arrays: Arrays, prefix: str, like: Any) -> Any:
    """The tree shaped as `like` whose leaves `flatten` gave. Raises CheckpointError if one is missing or differs."""
    leaves = flatten(like, prefix)
    missing = [name for name in leaves if name not in arrays]
    if missing:
        raise CheckpointError(f"the checkpoint lacks {', '.join(missing)}")
    for name, leaf in leaves.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            found, needed = f"{arrays[name].dtype}{arrays[name].shape}", f"{leaf.dtype}{leaf.shape}"
            raise CheckpointError(f"the checkpoint's {name} is {found}, not {needed}")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in leaves])
