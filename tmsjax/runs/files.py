"""Files that are written atomically and verified when read. No jax.

A file is written to a temporary name in the same directory, synced, then renamed. run.json, manifests and all datasets
carry a CRC-32 of their content, since neither JSON nor HDF5 detects a flipped bit.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.errors import RunError

CHECKSUM = "crc32"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: Path, writer: Callable[[Path], Any]) -> None:
    """Calls `writer` with a temporary path, then syncs and renames the file to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        writer(temporary)
        sync(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Syncs a file, or the entries of a directory, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_sealed(path: Path, value: dict) -> None:
    """Writes JSON with its own checksum."""
    write_json(path, {**value, CHECKSUM: _crc_of_json(value)})


def read_sealed(path: Path) -> tuple[dict, bool]:
    """(value, whether it has a checksum) of a JSON file. Raises ValueError if they do not match, or OSError."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not a table")
    sealed = CHECKSUM in value
    if sealed and value.pop(CHECKSUM) != _crc_of_json(value):
        raise ValueError("its checksum does not match")
    return value, sealed


def _crc_of_json(value: dict) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def crc_of_file(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(2**22):
            crc = zlib.crc32(chunk, crc)
    return crc


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    """Writes netCDF with a checksum of the whole dataset in attrs["crc32"]."""
    sealed = dataset.assign_attrs({CHECKSUM: _crc_of_dataset(dataset)})
    write_whole(path, lambda p: sealed.to_netcdf(p, engine="h5netcdf"))


def read_dataset(path: Path) -> xr.Dataset:
    """Loads a dataset into memory. Raises RunError if it is damaged. Files of format 1 have no checksum."""
    with opened_dataset(path) as opened:
        dataset = opened.load()
        expected = dataset.attrs.pop(CHECKSUM, None)
        if expected is not None and expected != _crc_of_dataset(dataset):
            raise ValueError("its checksum does not match")
        if expected is None and dataset.attrs.get("format") != 1:
            raise ValueError("it has no checksum")
    return dataset


@contextmanager
def opened_dataset(path: Path) -> Iterator[xr.Dataset]:
    """A dataset whose values are read when they are needed, and not verified. Any error in the block is a RunError."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            yield opened
    except Exception as error:  # h5py and xarray raise many types for damaged files
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise RunError(f"{path}: damaged ({reason})") from error


def _crc_of_dataset(dataset: xr.Dataset) -> int:
    """CRC-32 of names, dimensions, dtypes, values and attributes, normalised as if read from a file."""
    crc = zlib.crc32(json.dumps(_plain(dataset.attrs), sort_keys=True).encode())
    for name in sorted(map(str, dataset.variables)):
        variable = dataset[name].variable
        values = variable.to_numpy()
        numbers = values.dtype.kind in "iufb"
        head = [name, variable.dims, str(values.dtype) if numbers else "text", _plain(variable.attrs)]
        crc = zlib.crc32(json.dumps(head, sort_keys=True).encode(), crc)
        crc = zlib.crc32(_bytes(values) if numbers else json.dumps(values.tolist()).encode(), crc)
    return crc


def _bytes(array: np.ndarray) -> memoryview | bytes:
    return np.ascontiguousarray(array).data if array.size else b""


def crc_of_array(array: np.ndarray) -> int:
    return zlib.crc32(_bytes(array))


def _plain(attributes: dict) -> dict:
    """Attributes as netCDF returns them: Python values, with one-element lists replaced by their element."""

    def plain(value: Any) -> Any:
        value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
        value = list(value) if isinstance(value, (list, tuple)) else value
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    return {str(k): plain(v) for k, v in attributes.items() if k != CHECKSUM}


def free_space(path: Path) -> int:
    """Free bytes at `path`, or at its nearest existing parent."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def check_space(path: Path, needed: int) -> None:
    """Raises RunError if fewer than `needed` bytes are free at `path`."""
    if needed > free_space(path):
        raise RunError(f"{path}: not enough space: {space_line(path, needed)}")


def space_line(path: Path, needed: int) -> str:
    return f"needs {megabytes(needed)}, {megabytes(free_space(path))} are free"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


def first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error from Python, orbax or tensorstore means that the disk or a quota is full."""
    cause = first_cause(error)
    named = isinstance(cause, OSError) and cause.errno in NO_SPACE
    return named or any(os.strerror(number) in str(cause) for number in NO_SPACE)
