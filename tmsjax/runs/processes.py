"""Several processes at one run, by jax.distributed: the first one reads, writes and decides, each trains its blocks.

With a single process every function here gives its argument back. Arrays travel as integers, so that no bit changes.
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
    """Joins `count` processes at `address` ("host:port" of the first) as number `index`, from 0.

    Raises RunError if they do not find each other within a minute.
    """
    try:
        jax.distributed.initialize(address, count, index, initialization_timeout=60)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"processes: cannot join {address} as {index + 1} of {count}: {error}") from error


def count() -> int:
    return jax.process_count()


def index() -> int:
    """This process's number; 0 is the first."""
    return jax.process_index()


def share(blocks: range, index: int, count: int) -> range:
    """The `index`-th of `count` nearly equal parts of consecutive blocks."""
    cuts = [blocks.start + len(blocks) * k // count for k in range(count + 1)]
    return range(cuts[index], cuts[index + 1])


def gathered(tree: Any) -> Any:
    """Numpy arrays of every process's rows, in the order of the processes; scalars as they are."""
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
    """Arrays of 4 bytes as unsigned integers; jax would round longer numbers."""
    array = np.ascontiguousarray(array)
    if array.dtype.itemsize != 4:
        raise TypeError(f"{array.dtype} does not travel between processes")
    return array.view(np.uint32)


def from_first(work: Callable[[], Any]) -> Any:
    """What `work()` gives on the first process, as JSON. If it raises there, the others raise RunError."""
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
        raise RunError("the first process refused to go on; it says why")
    return json.loads(text)


def everyones(values: list[float]) -> np.ndarray:
    """(processes, values): what each process gave."""
    mine = np.asarray(values, np.float32)
    return mine[None] if count() == 1 else _all(mine)


def agreed(failure: Exception | None) -> None:
    """Raises `failure`, or RunError where another process has one, so that all stop together."""
    if everyones([failure is not None]).any():
        raise failure or RunError("another process cannot begin; it says why")


@contextmanager
def agreeing() -> Iterator[None]:
    """An error of ours inside stops all processes together: it is raised here, RunError on the others."""
    failure: Exception | None = None
    try:
        yield
    except (RegistryError, RunError, SpecError) as error:
        failure = error
    agreed(failure)


@contextmanager
def _together() -> Iterator[None]:
    """What jax raises of many kinds when another process is gone, as RunFailed."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise RunFailed(f"another process of this run is gone or out of step ({reason})") from error


def _all(array: np.ndarray) -> np.ndarray:
    """(processes, ...): everyone's array."""
    with _together():
        return np.asarray(multihost_utils.process_allgather(array))


def _of_first(array: np.ndarray) -> np.ndarray:
    with _together():
        return np.asarray(multihost_utils.broadcast_one_to_all(array))
