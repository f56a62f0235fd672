"""A run's directory: its files, lock and log, and what made it. No jax.

    run.json  spec.toml  log.jsonl  results.nc  checkpoints/  figures/  report.md  .lock  .begin

A run of several units has results/00000.nc, ... instead of results.nc, and units/00000/checkpoints/ instead of
checkpoints/.

run.json holds the spec as run and all facts needed to resume; every checkpoint has a copy. spec.toml is for people.

In an object store, such as s3://bucket/run, there are no locks and no checkpoints: two processes that write one run
are not noticed, and the units under way when a process is killed are trained again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO, Any

from tmsjax.errors import CheckpointError, RunError, Unreadable
from tmsjax.runs.facts import EXTENDED, FORMAT, RunFacts
from tmsjax.runs.faults import MAY_PASS, NO_SPACE, reach
from tmsjax.runs.files import (
    as_path,
    check_writable,
    is_local,
    names_in,
    read_dataset,
    read_sealed,
    rename,
    write_sealed,
    write_text,
)
from tmsjax.runs.locks import NoLocks, take
from tmsjax.spec import Spec

LAST_READER = "0.11.0"  # the last version that reads formats 1 and 2
MANIFEST = "manifest.json"  # in a checkpoint
TRIAL = ".trial-"  # the folder of a trial (trial.py), as its name begins
TRIES = 5  # to lock a run: who asks whether it is locked holds the lock for a moment
GONE = (FileNotFoundError, NotADirectoryError)  # another process may have just removed it
FACTS = "facts"  # attribute of a unit's results: JSON about its training


class OtherFormat(RunError):
    """A run of a format that this version does not read."""


class RunDirectory:
    """Paths and files of one run. Creates nothing before `create`."""

    def __init__(self, path: str | PathLike):
        self.path = as_path(path)
        self.spec_file = self.path / "spec.toml"
        self.info_file = self.path / "run.json"
        self.checkpoints = self.path / "checkpoints"  # of a run of one unit
        self.units = self.path / "units"  # locks and checkpoints of units under way
        self.figures = self.path / "figures"

    def exists(self) -> bool:
        """Whether the directory holds a run, possibly damaged. Raises RunError if the path cannot be read."""
        # ValueError: a null character; clients of object stores raise many types
        errors = (OSError, ValueError) if self.local else (Exception,)
        try:
            return self.info_file.exists() or bool(self._copies())
        except errors as error:
            kind = Unreadable if isinstance(error, OSError) else RunError
            raise kind(f"{self.path!s:.200}: cannot be used: {getattr(error, 'strerror', error)}") from error

    def held(self) -> int:
        """The size of its checkpoints and results in bytes; 0 in an object store, whose space is not limited."""
        if not self.local:
            return 0

        def passes(error: OSError) -> None:
            if not isinstance(error, GONE):
                raise error

        with reach(self.path):
            files = [str(self.path / "results.nc")]
            for top in (self.checkpoints, self.units, self.path / "results"):
                files += [os.path.join(a, name) for a, _, names in os.walk(top, onerror=passes) for name in names]
            return sum(map(_size, files))

    @property
    def local(self) -> bool:
        """Whether the directory is on a file system, which has locks and takes checkpoints."""
        return is_local(self.path)

    def unit_folder(self, unit: int) -> Path:
        """Where a unit of several keeps its lock and checkpoints while it is under way."""
        return self.units / f"{unit:05d}"

    def check_free(self) -> None:
        """Raises RunError if the directory contains anything else. Call it if there is no run."""
        if found := [name for name in names_in(self.path) if not name.startswith(".")]:
            raise RunError(f"{self.path}: not empty, and not a run (no run.json): holds {', '.join(found[:5])}")

    def create(self) -> None:
        """Creates the directory. Raises RunError if it is not writable; trial.py tries the rest."""
        if not self.local:
            self._check_writable()
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from error
        check_writable(self.path, "choose another --out")

    def _check_writable(self) -> None:
        """Writes and removes an object. Raises RunError if that fails."""
        probe = self.path / ".writable"
        try:
            write_text(probe, "")
            probe.unlink()
        except Exception as error:
            raise RunError(f"{self.path}: cannot be written: {error}") from error

    @contextmanager
    def lock(self, shared: bool = False) -> Iterator[None]:
        """Locks the directory for one writer, or for those that share its units; the lock ends with its process.

        Raises RunError if it is locked otherwise, and, if `shared`, on a file system without locks; warns there of the
        second writer that nobody notices. Does nothing in an object store, which has no locks.
        """
        if not self.local:
            yield
            return
        with self._file(".lock") as file:
            try:
                if not _taken(file, shared):
                    file.seek(0)
                    holder = file.read().decode(errors="replace").strip() or "it does not say who"
                    raise RunError(f"{self.path}: another process is writing this run ({holder})")
            except NoLocks as reason:
                if shared:
                    raise RunError(
                        f"{self.path}: --join needs a file system with locks; this one has none ({reason}): train it "
                        "by one process, without --join"
                    ) from reason
                warnings.warn(
                    f"{self.path}: its file system has no locks ({reason}): a second process that trains this run "
                    "would not be noticed",
                    stacklevel=3,
                )
            _sign(file)
            yield

    @contextmanager
    def begin_lock(self) -> Iterator[None]:
        """Waits until no other process begins or repairs this run. Does nothing in an object store."""
        if not self.local:
            yield
            return
        with self._file(".begin") as file:
            with suppress(NoLocks):
                take(file, wait=True)
            yield

    @contextmanager
    def try_lock(self, folder: Path) -> Iterator[bool]:
        """Locks a unit's folder, which it creates. Yields False if another process holds the lock."""
        with self._lock_file(folder) as file:
            try:
                locked = take(file)
            except NoLocks:
                locked = True
            yield locked

    def _lock_file(self, folder: Path) -> IO[bytes]:
        """The open lock of a unit's folder; makes both, again if another process has just completed the run."""
        for tries_left in reversed(range(TRIES)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                return open(folder / ".lock", "ab+", opener=_not_through_links)
            except OSError as error:
                if not (isinstance(error, FileNotFoundError) and tries_left):
                    raise RunError(f"{folder}: cannot be made: {error.strerror}") from error
        raise AssertionError

    def is_held(self) -> bool | None:
        """Whether a process, also this one, holds the run's lock. None if that cannot be told."""
        if not self.local:
            return None
        for mode in ("rb+", "rb"):  # over NFS, a file is locked only if it is open for writing
            try:
                with open(self.path / ".lock", mode, opener=_not_through_links) as file:
                    return not take(file)
            except FileNotFoundError:
                return False
            except (OSError, RunError, NoLocks):
                continue
        return None

    @contextmanager
    def _file(self, name: str | Path) -> Iterator[IO[bytes]]:
        try:
            file = open(self.path / name, "ab+", opener=_not_through_links)  # noqa: SIM115 (closed below)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from error
        with file:
            yield file

    def clean(self) -> None:
        """Removes temporary files of killed writers. Requires the lock."""
        for file in (self.info_file, self.spec_file) if self.local else ():
            for half in self.path.glob(f".{file.name}.*"):
                half.unlink(missing_ok=True)
        for folder in self.path.glob(f"{TRIAL}*") if self.local else ():
            shutil.rmtree(folder, ignore_errors=True)

    def write(self, facts: RunFacts) -> None:
        """Writes run.json, then spec.toml."""
        write_sealed(self.info_file, facts.to_json())
        write_text(self.spec_file, facts.spec)

    def spec(self) -> Spec:
        """The spec as run."""
        facts = self.info()
        return facts.all_extents[-1].loaded(str(self.info_file), facts.folder)

    def info(self) -> RunFacts:
        """What run.json holds.

        Raises RunError if it is missing, damaged or of another format, Unreadable if it may be intact.
        """
        if not self.exists():
            raise RunError(f"{self.path}: not a run directory (it has no run.json)")
        try:
            info, sealed = read_sealed(self.info_file)
            self._check_format(info.get("format"))
            facts = RunFacts.from_json(info)
            if not sealed:
                raise ValueError("it has no checksum")
        except (OSError, ValueError, RecursionError) as error:
            again = f"; `tmsjax resume {self.path}` rebuilds it from a copy" if self._copies() else ""
            raise RunError(f"{self.info_file}: damaged: {error}{again}") from error
        return facts

    def _check_format(self, format_: Any) -> None:
        """Raises OtherFormat for the formats of other versions."""
        if not isinstance(format_, int) or FORMAT <= format_ <= EXTENDED or format_ < 1:
            return
        if format_ > EXTENDED:
            why = f"written by a newer tmsjax (format {format_}; this one reads up to {EXTENDED})"
        else:
            why = (
                f"run format {format_:d}; tmsjax {LAST_READER} is the last version that reads it: open it with that "
                "version, or train its spec.toml again (without engine.tile) into another directory"
            )
        raise OtherFormat(f"{self.path}: {why}")

    def repair(self) -> None:
        """Restores a missing or damaged run.json from the newest checkpoint or a unit's results. Requires the lock.

        Raises CheckpointError, and changes nothing, if there is no copy.
        """
        if not self.exists():
            return
        try:
            self.info()
        except (OtherFormat, Unreadable):
            raise
        except RunError as error:
            for copy in self._copies():
                try:
                    info = _copy_of_info(copy)
                    self._check_format(info["format"])
                    facts = RunFacts.from_json(info)
                    facts.all_extents[-1].loaded(str(copy))
                except (OtherFormat, Unreadable):
                    raise
                except (OSError, ValueError, KeyError, TypeError, RecursionError, RunError):
                    continue
                if self.info_file.exists():
                    self.info_file.rename(free_name(self.path / "damaged-run.json"))
                self.write(facts.with_(state="running"))
                warnings.warn(f"{error}; made again from {copy}", stacklevel=2)
                return
            raise CheckpointError(f"{error}; and no checkpoint has a copy of it; --fresh starts again") from error

    def _copies(self) -> list[Path]:
        """Files with a copy of run.json: manifests of checkpoints, newest first, then the results of units."""
        folders = [self.checkpoints, *self.units.glob("*/checkpoints")]
        found = [p for folder in folders for p in folder.glob(f"*/{MANIFEST}") if is_step(p.parent.name)]
        return sorted(found, key=lambda p: -int(p.parent.name)) + sorted((self.path / "results").glob("[0-9]*.nc"))

    def log(self, event: str, **values: Any) -> None:
        """Appends one line to log.jsonl, unless the disk is full or away, which must not end a run.

        In an object store, lines of processes that write at once can be lost.
        """
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values})
        path = self.path / "log.jsonl"
        if not self.local:
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            write_text(path, f"{before}{line}\n")
            return
        try:
            _append(path, line)
        except OSError as error:
            if error.errno not in (*MAY_PASS, *NO_SPACE):
                raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def _append(path: Path, line: str) -> None:
    """Appends a line, also after an incomplete one of a killed process."""
    with open(path, "ab+", opener=_not_through_links) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write((line + "\n").encode())


def _copy_of_info(path: Path) -> dict:
    """The copy of run.json in a checkpoint's manifest or a unit's results. Raises many types if it is damaged."""
    if path.name == MANIFEST:
        return read_sealed(path)[0]["run"]
    return json.loads(read_dataset(path).attrs[FACTS])["run"]


def _not_through_links(path: str, flags: int) -> int:
    """An opener that refuses a symbolic link: a run that a stranger sent must not lead to files elsewhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _taken(file: IO[bytes], shared: bool) -> bool:
    """Whether the lock of a run was taken."""
    for _ in range(TRIES):
        if take(file, shared=shared):
            return True
        time.sleep(0.05)
    return False


def _sign(file: IO[bytes]) -> None:
    """Writes into the locked file who holds it, if the disk has space for that."""
    command = " ".join(sys.argv)[:200]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    text = f"process {os.getpid()} on {socket.gethostname()} since {since}: {command}"
    with suppress(OSError):
        file.truncate(0)
        file.write(text.encode(errors="backslashreplace"))
        file.flush()


def _size(path: str) -> int:
    """The size of a file; 0 if it is gone."""
    try:
        return os.stat(path).st_size
    except GONE:
        return 0


def is_step(name: str) -> bool:
    """Whether `name` can be the directory of a checkpoint."""
    return re.fullmatch(r"[0-9]{1,10}", name) is not None


def set_aside(directory: str | Path) -> Path | None:
    """Renames the run in `directory`, if there is one, and returns its new path.

    Raises:
        RunError: if it is being written.
    """
    run = RunDirectory(directory)
    if not run.exists():
        return None
    aside = free_name(run.path.with_name(f"{run.path.name}.old"))
    with run.lock():
        try:
            rename(run.path, aside)
        except OSError as error:
            raise RunError(f"{run.path}: cannot be renamed to {aside.name}: {error.strerror}") from error
    return aside


def free_name(path: Path) -> Path:
    """The first unused path of `path`-0, `path`-1, ..."""
    number = 0
    while (free := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return free
