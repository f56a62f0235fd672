"""Writes a run's files while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import xarray as xr

from tmsjax.engine import peak_memory
from tmsjax.errors import RunFailed
from tmsjax.runs import processes
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.files import is_disk_full, space_line
from tmsjax.spec import Spec, to_toml


class Writer:
    """Writes run.json, log, checkpoints and results of one run; writes nothing for a run in memory (no directory).

    All processes save checkpoints together; only the first writes everything else. `info`: the content of run.json,
    without the spec. `needed`: size of the whole run on disk in bytes.
    """

    def __init__(self, spec: Spec, info: dict, directory: RunDirectory | None, needed: int = 0):
        self.spec, self.info, self.directory, self.needed = spec, info, directory, needed
        self.checkpoints: Checkpoints | None = None  # set by opening.open_directory

    @property
    def writes(self) -> bool:
        """Whether this process writes run.json, log and results."""
        return self.directory is not None and processes.index() == 0

    @contextmanager
    def timed(self, key: str) -> Iterator[None]:
        """Adds the seconds spent in the block to info[key]."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.info[key] = self.info.get(key, 0.0) + time.monotonic() - start

    def save(self, step: int, arrays: Callable[[], dict[str, np.ndarray]]) -> None:
        """Saves a checkpoint after `step`, then run.json. Collective: all processes call it."""
        if self.directory is None or self.checkpoints is None:
            return
        info = self.info | {"steps_done": step}
        self.checkpoints.save(step, arrays(), info | {"spec": to_toml(self.spec)})
        self.info["steps_done"] = step
        if self.writes:
            self.directory.write(self.info, self.spec)
            self.directory.log("checkpoint", step=step)

    def write_results(self, dataset: xr.Dataset) -> None:
        if self.directory is not None and self.writes:
            self.directory.write_results(dataset)

    def complete(self, step: int, diverged: int) -> None:
        """Marks the run as complete in run.json. `diverged`: the number of diverged models."""
        if self.directory is not None and self.writes:
            self.info |= {"state": "complete", "diverged_models": diverged, "peak_memory_bytes": peak_memory()}
            self.directory.write(self.info, self.spec)
            self.directory.log("complete", step=step)

    def failure(self, step: int, error: Exception) -> RunFailed:
        """The error for a failure after `step`, with the reason and how to resume."""
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        if self.directory is None:
            return RunFailed(f"in memory: failed after step {step}: {reason}")
        path = self.directory.path
        if is_disk_full(error):
            reason = f"{space_line(path, self.needed - self.directory.held())}: {reason}"
        saved = f"what was saved up to step {self.info['steps_done']} is intact"
        return RunFailed(f"{path}: failed after step {step}: {reason}\n  {saved}; to continue: tmsjax resume {path}")
