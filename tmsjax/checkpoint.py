"""Checkpoints of a run, by orbax, with a checksum for every array. The only orbax import.

A checkpoint is a flat dict of arrays, "state.params.W", "state.opt_state.0.mu.W", "history.loss", each with a leading
axis instance and no padding, so that it opens on any machine. Orbax itself does not notice a flipped bit in its data:
shape, type and CRC-32 of every array are stored with it and verified on load.
"""

from __future__ import annotations

import json
import logging
import warnings
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from tmsjax.store import CheckpointError

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every save

Arrays = dict[str, np.ndarray]


class Checkpoints:
    """The checkpoints in one directory, by step. Its writer keeps the newest `keep`; readers (None) change nothing."""

    def __init__(self, directory: str | PathLike, keep: int | None = None):
        self.directory = Path(directory).absolute()
        self.keep = keep
        self._checkpointer: Any = None

    def _open(self) -> Any:
        """Orbax's checkpointer, made when it is first needed, since making it creates the directory."""
        if self._checkpointer is None:
            policies = ocp.training.preservation_policies
            self._checkpointer = ocp.training.Checkpointer(
                self.directory,
                preservation_policy=policies.PreserveAll() if self.keep is None else policies.LatestN(self.keep),
                cleanup_tmp_directories=self.keep is not None,
            )
        return self._checkpointer

    def steps(self) -> list[int]:
        """Steps of whole checkpoints, ascending."""
        return sorted(c.step for c in self._open().checkpoints) if self.directory.is_dir() else []

    def save(self, step: int, arrays: Arrays) -> None:
        """Writes `arrays` whole or not at all."""
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        entries = {name: _describe(array) for name, array in arrays.items()}
        manifest = {"arrays": entries, "crc32": _crc_of_entries(entries)}
        self._open().save(step, arrays, force=True, overwrite=True, custom_metadata=manifest)

    def load(self, step: int | None = None) -> tuple[int, Arrays]:
        """(step, arrays) of a checkpoint, the newest by default, verified. Raises CheckpointError."""
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            raise CheckpointError(
                f"{self.directory}: no checkpoint{'' if step is None else f' of step {step}'}; has {steps}"
            )
        step = steps[-1] if step is None else step
        where = self.directory / str(step)
        try:
            manifest = self._open().metadata(step).custom_metadata
            entries = manifest["arrays"]
            if _crc_of_entries(entries) != manifest["crc32"]:
                raise CheckpointError(f"{where}: its list of arrays is damaged")
            empty = {name: np.empty(e["shape"], e["dtype"]) for name, e in entries.items()}
            arrays = {name: np.asarray(a) for name, a in self._open().load(step, empty).items()}
        except CheckpointError:
            raise
        except Exception as error:  # orbax and tensorstore raise many kinds; the cause is kept
            raise CheckpointError(f"{where}: cannot be read ({type(error).__name__}: {_cause(error)})") from error
        damaged = [name for name, array in arrays.items() if _describe(array) != entries[name]]
        if damaged:
            raise CheckpointError(f"{where}: checksums do not match for {', '.join(damaged)}")
        return step, arrays

    def load_newest_good(self) -> tuple[int, Arrays] | None:
        """The newest checkpoint that verifies; damaged ones are renamed and warned about. None if there is none.

        Raises CheckpointError if there are checkpoints but no good one.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step)
            except CheckpointError as error:
                aside = self._set_aside(step)
                warnings.warn(f"{error}; set aside as {aside}", stacklevel=2)
        if steps:
            raise CheckpointError(f"{self.directory}: no good checkpoint is left; --fresh starts again")
        return None

    def _set_aside(self, step: int) -> Path:
        self.close()
        source = self.directory / str(step)
        number = 0
        while (aside := self.directory.parent / f"damaged-{step}-{number}").exists():
            number += 1
        source.rename(aside)
        return aside

    def close(self) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None


def _describe(array: np.ndarray) -> dict:
    data = np.ascontiguousarray(array)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "crc32": zlib.crc32(data.data if data.size else b""),
    }


def _crc_of_entries(entries: dict) -> int:
    return zlib.crc32(json.dumps(entries, sort_keys=True).encode())


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def flatten(tree: Any, prefix: str) -> Arrays:
    """The leaves of `tree` by their path, "prefix.path"."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {f"{prefix}.{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf for path, leaf in leaves}


def unflatten(arrays: Arrays, prefix: str, like: Any) -> Any:
    """The tree shaped as `like` whose leaves `flatten` gave. Raises CheckpointError if one is missing."""
    names = list(flatten(like, prefix))
    missing = [name for name in names if name not in arrays]
    if missing:
        raise CheckpointError(f"the checkpoint lacks {', '.join(missing)}")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in names])
