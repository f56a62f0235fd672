"""Files that are written atomically and verified when read, on a file system or in an object store. No jax.

A file is written to a temporary name in the same directory, synced, then renamed; an object is uploaded as a whole.
run.json, manifests and all datasets carry a CRC-32 of their content, since neither JSON nor HDF5 detects a flipped bit.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from tmsjax.errors import RunError, Unreadable
from tmsjax.runs.faults import patiently, reach
from tmsjax.spec import part_shape

CHECKSUM = "crc32"
CHUNK = 2**18  # values that are compressed together; 1 MB of float32, as HDF5 keeps in memory
COPY = "copy the run to a folder of yours (cp -r) and use the copy"
UNLOCKED: Any = {"locking": False}  # a file is never written in place, and file systems may have no locks
_encoding = threading.Lock()  # HDF5 works for one thread at a time
NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # from file systems that cannot sync


def as_path(path: str | PathLike) -> Path:
    """A local Path, or for a URL such as s3://bucket/run a UPath, which has the same methods.

    Raises RunError if a package that such URLs need is not installed.
    """
    scheme, separator, rest = str(path).partition("://")
    if not separator:
        return Path(path)
    if scheme in ("file", "local"):
        return Path(rest)
    try:
        from upath import UPath

        found: Any = UPath(path, use_listings_cache=False)  # other processes write there too
        _ = found.fs  # imports the package for this scheme
    except (ImportError, ValueError) as error:
        raise RunError(
            f"{path!s:.200}: {error}; URLs need `pip install tmsjax[cloud]` and the scheme's own package, such as s3fs"
        ) from error
    return found


def is_local(path: Path) -> bool:
    """Whether a path is of a file system, with renames, locks and links, and not of an object store."""
    return isinstance(path, Path)


def write_whole(path: Path, writer: Callable[[Path], Any]) -> None:
    """Calls `writer` with a temporary path, then syncs and renames the file to `path`, or uploads it as one object."""
    if not is_local(path):
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / path.name
            writer(local)
            _upload(local, path)
        return
    patiently(partial(_write_local, path, writer))


def _write_local(path: Path, writer: Callable[[Path], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.touch(exist_ok=False)  # with the mode that the umask asks for, unlike tempfile's
        writer(temporary)
        sync(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _upload(local: Path, path: Any) -> None:
    path.fs.put_file(str(local), path.path)


def rename(path: Path, target: Path) -> None:
    """Renames a file or folder. In an object store, each object of a folder is copied and removed in turn."""
    if is_local(path) or path.is_file():
        path.rename(target)
        return
    for file in [p for p in path.rglob("*") if p.is_file()]:
        file.rename(target / str(file.relative_to(path)))


def stamp(path: Any) -> Any:
    """What changes when a file does. Raises FileNotFoundError."""
    if not is_local(path):
        return path.fs.ukey(path.path)
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def sync(path: Path) -> None:
    """Syncs a file to disk, if its file system can."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Syncs the entries of a folder to disk as far as that is possible: network and cloud drives refuse it."""
    with suppress(OSError):
        sync(folder)


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; empty if there is none. Raises Unreadable."""
    with reach(folder):
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_sealed(path: Path, value: dict) -> None:
    """Writes JSON with its own checksum."""
    write_json(path, {**value, CHECKSUM: _crc_of_json(value)})


def read_sealed(path: Path) -> tuple[dict, bool]:
    """(value, whether it has a checksum) of a JSON file.

    Raises ValueError if they do not match, Unreadable, or OSError if the file is missing.
    """
    with reach(path):
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
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            crc = zlib.crc32(chunk, crc)
    return crc


def write_dataset(path: Path, dataset: xr.Dataset, compressed: Collection[str] = ()) -> None:
    """Writes netCDF with a checksum of the whole dataset in attrs["crc32"]. `compressed`: names of variables.

    The file is built in memory: on a full disk, HDF5 crashes the process when it writes by itself.
    """
    sealed = dataset.assign_attrs({CHECKSUM: _crc_of_dataset(dataset)})
    encoding = {
        name: {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": part_shape(sealed[name].shape, CHUNK)}
        for name in compressed
        if sealed[name].size > 0
    }
    with _encoding, _without_dask():
        content = sealed.to_netcdf(engine="h5netcdf", encoding=encoding)
    write_whole(path, lambda p: p.write_bytes(content))


def _without_dask() -> AbstractContextManager:
    """Keeps xarray from asking a Dask client of this process for a lock, which fails for files in memory."""
    dask = sys.modules.get("dask")
    return nullcontext() if dask is None else dask.config.set(scheduler="threads")


def read_dataset(path: Path) -> xr.Dataset:
    """Loads a dataset into memory. Raises RunError if it is damaged."""
    with _readable(path):
        source = path if is_local(path) else io.BytesIO(path.read_bytes())
        with xr.open_dataset(source, engine="h5netcdf", driver_kwds=UNLOCKED) as opened:
            dataset = opened.load()
        expected = dataset.attrs.pop(CHECKSUM, None)
        if expected is None:
            raise ValueError("it has no checksum")
        if expected != _crc_of_dataset(dataset):
            raise ValueError("its checksum does not match")
    return dataset


def read_values(path: Path, name: str, slices: tuple[slice, ...]) -> np.ndarray:
    """Part of a variable of numbers, as stored and not verified. Raises RunError if it cannot be read."""
    with _readable(path), _hdf5(path) as file:
        return file[name][slices]


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of a dataset, not verified. Raises RunError if they cannot be read."""
    with _readable(path), _hdf5(path) as file:
        return {name: value for name, value in file.attrs.items() if not name.startswith("_")}


@contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    """The file, of which only what is used is read, or fetched."""
    with nullcontext(path) if is_local(path) else path.open("rb") as source, h5py.File(source, **UNLOCKED) as file:
        yield file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what goes wrong while the file is read into a RunError, Unreadable if the file may be intact."""
    try:
        with reach(path):
            yield
    except Unreadable:
        raise
    except Exception as error:  # h5py and xarray raise many types for damaged files, clients of object stores their own
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise RunError(f"{path}: damaged{'' if is_local(path) else ' or out of reach'} ({reason})") from error


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


def free_space(path: Path) -> int | None:
    """Free bytes at `path`, or at its nearest existing parent; None in an object store."""
    if not is_local(path):
        return None
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def check_writable(path: Path, otherwise: str = COPY) -> None:
    """Raises RunError, which says what to do `otherwise`, if a file or a folder cannot be written. Changes nothing."""
    if not is_local(path):
        return
    folder = path if path.is_dir() else path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}; {otherwise}") from error


def check_space(path: Path, needed: int) -> None:
    """Raises RunError if fewer than `needed` bytes are free at `path`."""
    free = free_space(path)
    if free is not None and needed > free:
        raise RunError(f"{path}: not enough space: {space_line(path, needed)}")


def space_line(path: Path, needed: int) -> str:
    free = free_space(path)
    return f"needs {megabytes(needed)}" + ("" if free is None else f", {megabytes(free)} are free")


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
