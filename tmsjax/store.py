"""A run's directory: spec, provenance, log, and the results as one labelled dataset. No jax.

    spec.toml  run.json  log.jsonl  checkpoints/  results.nc  figures/  report.md  .lock

Every file is written whole or not at all: to a temporary file beside it, synced, then renamed.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.spec import Spec, difference, load_spec, to_toml

FORMAT = 1  # of the run directory; raised when an older tmsjax could not read it
STATUS = {"ok": 0, "non_finite": 1, "diverged": 2}


class RunError(RuntimeError):
    """A run directory that cannot be used: says which and why."""


class RunFailed(RuntimeError):
    """A run that began and could not go on: says where and why. What was saved before stays good."""


class CheckpointError(RunFailed):
    """A checkpoint that is missing or damaged: says which, and what is wrong with it."""


class RunDirectory:
    """Paths and files of one run. Nothing is created before `create`."""

    def __init__(self, path: str | PathLike):
        self.path = Path(path)
        self.spec_file = self.path / "spec.toml"
        self.info_file = self.path / "run.json"
        self.results_file = self.path / "results.nc"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"

    def exists(self) -> bool:
        return os.path.exists(self.info_file)

    def complete(self, spec: Spec) -> bool:
        """Whether the results of `spec` are here and can be read."""
        try:
            return self.info()["state"] == "complete" and _is_of(self.results(), spec)
        except RunError:
            return False

    def check_free(self, spec: Spec) -> None:
        """Raises RunError if there is something else here than a run, or the first trace of one of `spec`."""
        found = {p.name for p in self.path.iterdir() if not p.name.startswith(".")}
        if found == {"spec.toml"} and to_toml(self.spec()) == to_toml(spec):
            return
        if found:
            raise RunError(f"{self.path}: not empty, and not a run (no run.json): holds {', '.join(sorted(found)[:5])}")

    def create(self) -> None:
        """Makes the directory. Raises RunError if it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written: {error.strerror}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the directory for one writer; a lock dies with its process. Raises RunError if it is held."""
        with open(self.path / ".lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise RunError(f"{self.path}: another process is writing this run ({file.read().strip()})") from error
            file.truncate(0)
            file.write(f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            file.flush()
            yield

    def write_spec(self, spec: Spec) -> None:
        write_whole(self.spec_file, lambda path: path.write_text(to_toml(spec), encoding="utf-8"))

    def spec(self) -> Spec:
        """The spec as run."""
        return load_spec(self.spec_file)

    def write_info(self, info: dict) -> None:
        write_json(self.info_file, info)

    def info(self) -> dict:
        """run.json: versions, device, plan, timings, state. Raises RunError if absent, damaged or too new."""
        if not self.exists():
            raise RunError(f"{self.path}: not a run directory (it has no run.json)")
        try:
            info = json.loads(self.info_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.info_file}: damaged: {error}") from error
        needed = {"format": int, "state": str, "steps_done": int, "versions": dict}
        wrong = not isinstance(info, dict) or [k for k in needed if k in info and not isinstance(info[k], needed[k])]
        if wrong or "format" not in info:
            raise RunError(f"{self.info_file}: damaged: not what a run writes")
        if info["format"] <= FORMAT and needed.keys() - info.keys():
            raise RunError(f"{self.info_file}: damaged: lacks {', '.join(sorted(needed.keys() - info.keys()))}")
        if info["format"] > FORMAT:
            raise RunError(f"{self.path}: written by a newer tmsjax (format {info['format']}; this one reads {FORMAT})")
        return info

    def log(self, event: str, **values: Any) -> None:
        """Appends one line to log.jsonl."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values})
        with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_results(self, dataset: xr.Dataset) -> None:
        write_dataset(self.results_file, dataset)

    def results(self) -> xr.Dataset:
        """The results, read into memory. Raises RunError if the run is not complete."""
        if not self.results_file.exists():
            done = self.info().get("steps_done", 0)
            raise RunError(f"{self.path}: no results yet ({done} steps done); `tmsjax resume {self.path}` goes on")
        results = read_dataset(self.results_file)
        if not _is_of(results, self.spec()):
            raise RunError(f"{self.results_file}: these are the results of another spec")
        return results


def _is_of(results: xr.Dataset, spec: Spec) -> bool:
    """Whether `results` are those of `spec`, whatever its checkpoints."""
    return not difference(load_spec(tomllib.loads(results.attrs["spec"])), spec)


def write_whole(path: Path, writer: Callable[[Path], Any]) -> None:
    """`writer(temporary path)`, then sync and rename to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        writer(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write_whole(path, lambda p: p.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8"))


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    write_whole(path, lambda p: dataset.to_netcdf(p, engine="h5netcdf"))


def read_dataset(path: Path) -> xr.Dataset:
    """The dataset in a file, in memory. Raises RunError if it is damaged."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: damaged ({type(error).__name__}); running the same sweep again rebuilds it") from error


def results_dataset(
    spec: Spec,
    dims: dict[str, tuple[str, ...]],
    params: dict[str, np.ndarray],
    instances: dict[str, np.ndarray],
    loss: np.ndarray,
    status: np.ndarray,
    history: dict[str, np.ndarray],
    steps: tuple[int, ...],
    directions: bool = True,
) -> xr.Dataset:
    """The results as one dataset whose dimensions and coordinates are the spec's axes.

    Arrays come with a leading axis instance; `history` with (instance, step, ...). `dims` names the dimensions of each
    parameter; `directions`: whether W's columns are the features' directions. The dataset carries its spec as TOML in
    attrs["spec"].
    """
    axes = tuple(a.name for a in spec.axes)

    def variable(array: np.ndarray, extra: tuple[str, ...] = (), **attrs: Any) -> xr.Variable:
        array = np.asarray(array)
        return xr.Variable((*axes, *extra), array.reshape((*spec.shape, *array.shape[1:])), attrs)

    meanings: dict[str, Any] = {"flag_values": list(STATUS.values()), "flag_meanings": " ".join(STATUS)}
    variables = {name: variable(array, dims[name]) for name, array in params.items()}
    variables["loss"] = variable(loss, long_name="noise-free loss, sum over features")
    variables["status"] = variable(status.astype(np.int8), **meanings)
    for name, array in instances.items():
        variables[f"instance_{name}"] = variable(array, ("feature",))
    shapes = {"loss": (), "W": ("hidden", "feature")}
    for name, array in history.items():
        variables[f"history_{name}"] = variable(array, ("step", *shapes.get(name, ("feature",))))
    coordinates: dict[str, Any] = {a.name: list(a.values) for a in spec.axes}
    if history:
        coordinates["step"] = list(steps)
    return xr.Dataset(variables, coordinates, {"spec": to_toml(spec), "format": FORMAT, "directions": int(directions)})


def provenance() -> dict:
    """Versions and the git commit of this package's repository ("-dirty" if it was changed), for run.json."""
    packages = ["tmsjax", "jax", "jaxlib", "optax", "flax", "orbax-checkpoint", "numpy", "xarray"]
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return {"format": FORMAT, "versions": versions, "git_commit": _git_commit()}


def _git_commit() -> str | None:
    here = Path(__file__).parent
    try:
        ask = partial(subprocess.run, cwd=here, capture_output=True, text=True, timeout=10, check=False)
        top = ask(["git", "rev-parse", "--show-toplevel"]).stdout.strip()
        if not top or Path(top) / "tmsjax" != here:  # installed somewhere inside another repository
            return None
        return ask(["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None
