"""Collectives for several processes in one run (jax.distributed): the first process does all reading and writing.

With a single process they return their argument. Arrays are sent as integers, so that no bit changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from tmsjax.errors import RegistryError, RunError, RunFailed, SpecError


def join(address: str, index: int, count: int) -> None:
    """Connects to `count` processes at `address`, "host:port" of the first, as process `index` (from 0).

    Raises RunError if they do not connect within a minute.
    """
    try:
        jax.distributed.initialize(address, count, index, initialization_timeout=60)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"processes: cannot join {address} as {index + 1} of {count}: {error}") from error


def count() -> int:
    return jax.process_count()


def index() -> int:
    """The index of this process; the first is 0."""
    return jax.process_index()


def share(blocks: range, index: int, count: int) -> range:
    """The `index`-th of `count` nearly equal parts of consecutive blocks."""
    cuts = [blocks.start + len(blocks) * k // count for k in range(count + 1)]
    return range(cuts[index], cuts[index + 1])


def gathered(tree: Any) -> Any:
    """Concatenates the numpy arrays of all processes, in order of processes; scalars are unchanged."""
    return tree if count() == 1 else jax.tree.map(_gathered, tree)


def _gathered(array: np.ndarray) -> np.ndarray:
    if not np.ndim(array):
        return array
    lengths = _all(np.array(len(array), np.int32))
    words = _as_words(array)
    padded = np.zeros((int(lengths.max()), *words.shape[1:]), words.dtype)
    padded[: len(words)] = words
    parts = _all(padded)
    whole = np.concatenate([part[:length] for part, length in zip(parts, lengths, strict=True)])
    return whole.view(array.dtype)


def _as_words(array: np.ndarray) -> np.ndarray:
    """A view of 4-byte numbers as uint32. Raises TypeError for other sizes, which jax would round."""
    array = np.ascontiguousarray(array)
    if array.dtype.itemsize != 4:
        raise TypeError(f"{array.dtype} cannot be sent between processes")
    return array.view(np.uint32)


def from_first(work: Callable[[], Any]) -> Any:
    """The result of `work()` on the first process, sent as JSON. If it raises, the other processes raise RunError."""
    if count() == 1:
        return work()
    text, failure = "", None
    if index() == 0:
        try:
            text = json.dumps(work())
        except Exception as error:
            failure = error
    data = np.frombuffer(text.encode(), np.uint8)
    length = int(_of_first(np.array(len(data), np.int32)))
    if length:
        padded = np.zeros(length, np.uint8)
        padded[: len(data)] = data
        text = _of_first(padded).astype(np.uint8).tobytes().decode()
    if failure is not None:
        raise failure
    if not length:
        raise RunError("the first process stopped; see its message")
    return json.loads(text)


def everyones(values: list[float]) -> np.ndarray:
    """Gathers `values` of all processes: (processes, values) float32."""
    mine = np.asarray(values, np.float32)
    return mine[None] if count() == 1 else _all(mine)


def agreed(failure: Exception | None) -> None:
    """Raises `failure`, or RunError if another process has one, so that all processes stop together."""
    if everyones([failure is not None]).any():
        raise failure or RunError("another process cannot start; see its message")


@contextmanager
def agreeing() -> Iterator[None]:
    """Makes an error inside stop all processes: it is raised here, and RunError on the others."""
    failure: Exception | None = None
    try:
        yield
    except (RegistryError, RunError, SpecError) as error:
        failure = error
    agreed(failure)


@contextmanager
def _together() -> Iterator[None]:
    """Converts the various errors that jax raises when a process has gone to RunFailed."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise RunFailed(f"another process of this run is gone or out of step ({reason})") from error


def _all(array: np.ndarray) -> np.ndarray:
    """Gathers the array of every process: (processes, ...)."""
    with _together():
        return np.asarray(multihost_utils.process_allgather(array))


def _of_first(array: np.ndarray) -> np.ndarray:
    with _together():
        return np.asarray(multihost_utils.broadcast_one_to_all(array))
