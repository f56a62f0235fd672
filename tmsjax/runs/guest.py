"""A worker of a cluster: tells what it is, opens a run if it agrees with the coordinator, and trains units of it.

Dask calls these functions in the worker (cluster.py); they know nothing of it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax

from tmsjax.engine import device_line, keep_programs, processor_features
from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import located
from tmsjax.runs.progress import Listener
from tmsjax.runs.remote import News, open_job, work
from tmsjax.runs.unit import Job

PACKAGES = ("tmsjax", "jax", "jaxlib", "numpy", "optax")  # whose versions must agree
SEE_SECONDS = 10.0  # until a network file system shows the run to all workers
RUNS_KEPT = 4  # open in a worker


@dataclass(frozen=True)
class Order:
    """What a worker needs to open a run.

    token: names this coordinator. out: the run's directory or URL. begun: run.json's `started`. imports, folder: of the
    spec. expected: the facts that must be those of the worker.
    """

    token: str
    out: str = ""
    begun: str = ""
    imports: tuple[str, ...] = ()
    folder: str = ""
    expected: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Open:
    """A run that this process has opened."""

    job: Job
    stopping: threading.Event = field(default_factory=threading.Event)


_runs: dict[str, _Open] = {}  # by token
_turn = threading.Lock()  # one unit at a time, of whichever run


def facts(imports: Sequence[str], folder: str) -> dict[str, str]:
    """What must be the same in all processes that train units of a run: versions, code, and imported files."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown version"
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        code.update(path.read_bytes())
    found["code of tmsjax"] = code.hexdigest()[:8]
    for name in imports:
        try:
            found[name] = located([name], folder)[0].sha256[:8]
        except SpecError as error:
            found[name] = error.problems[0][1]
    return found


def greet(order: Order) -> tuple[dict[str, str], dict[str, str]]:
    """(facts that must agree, facts about the worker) of this process."""
    keep_programs()
    device = jax.local_devices()[0]
    found = facts(order.imports, order.folder) | {"platform": device.platform}
    kind = processor_features() if device.platform == "cpu" else device.device_kind
    about = {"host": socket.gethostname(), "device": device_line(jax.local_devices()), "kind": kind}
    return found, about


def enter(order: Order) -> list[str]:
    """Opens a run in this process. Returns what speaks against it."""
    found, _ = greet(order)
    if trouble := differences(found, order.expected):
        return trouble
    try:
        job = _seen(order)
    except Exception as error:
        return [f"cannot open the run: {error}" if str(error) else type(error).__name__]
    _runs[order.token] = _Open(job)
    while len(_runs) > RUNS_KEPT:
        _runs.pop(next(iter(_runs)))
    return []


def _seen(order: Order) -> Job:
    """The run, as soon as the file system shows it. Raises RunError if it is absent or another."""
    until = time.monotonic() + SEE_SECONDS
    while True:
        try:
            job = open_job(order.out)
            if job.info["started"] == order.begun:
                return job
            raise RunError(f"{order.out}: this worker sees another run there; workers need a shared file system")
        except RunError as error:
            if "not a run directory" not in str(error):
                raise
            if time.monotonic() > until:
                raise RunError(f"{error}; workers need a shared file system, or an object store as --out") from None
        time.sleep(0.5)


def train(order: Order, unit: int, listen: Listener) -> News:
    """Trains and stores a unit. "unknown" if this process has not entered the run."""
    opened = _runs.get(order.token)
    if opened is None:
        return News("unknown", unit)
    return work(opened.job, unit, _turn, listen, opened.stopping.is_set)


async def stop(token: str) -> None:
    """Asks units under way in this process to save and stop. Async: no one waits for it."""
    if token in _runs:
        _runs[token].stopping.set()


async def leave(token: str) -> None:
    """Forgets a run."""
    _runs.pop(token, None)


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """A line for every fact that is not as expected."""
    return [
        f"{key}: {found.get(key, 'none')}, not {value}" for key, value in expected.items() if found.get(key) != value
    ]
