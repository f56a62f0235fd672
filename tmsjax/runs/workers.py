"""Trains units on several processes of this machine.

The coordinator starts a Python that calls `main` for each worker and talks to it over a pipe: the number of a unit goes
there, News comes back. A worker ends as soon as its pipe is closed, so none outlives its coordinator. Workers divide
the cores; on a machine with GPUs each sees one.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

import jax

from tmsjax.engine import device_line, keep_programs
from tmsjax.errors import RunError, RunFailed
from tmsjax.runs.capacity import check_memory
from tmsjax.runs.crew import hand_out
from tmsjax.runs.progress import Listener, Progress
from tmsjax.runs.remote import News, open_job, work
from tmsjax.runs.unit import Job
from tmsjax.spec import Spec

STARTS = 3  # of a worker that ends before it is ready
PROBE = (
    "import json, jax; from tmsjax.engine import device_line; "
    "print(json.dumps([jax.default_backend(), device_line(jax.local_devices())]))"
)
PREALLOCATE, FRACTION = "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION"


class LocalWorkers:
    """Trains units on `count` processes of this machine. `out`: the run's directory or URL."""

    def __init__(self, count: int, out: str):
        self.count, self.out = count, out
        self.gpus = visible_gpus()
        self._platform, self._device = "", ""

    def __enter__(self) -> LocalWorkers:
        if self.gpus:  # this process leaves their memory to the workers
            os.environ.setdefault(PREALLOCATE, "false")
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def platform(self, spec: Spec) -> str:
        """What the workers' devices are: "cpu" or "gpu"."""
        if not self.gpus:
            self._platform, self._device = jax.default_backend(), device_line(jax.local_devices())
        else:
            asked = subprocess.run(
                _python(PROBE), env=_environment(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False
            )
            if asked.returncode != 0:
                raise RunError(f"--workers: jax cannot use the devices of this machine (exit code {asked.returncode})")
            self._platform, self._device = json.loads(asked.stdout.splitlines()[-1])
        if self._platform not in ("cpu", "gpu"):
            raise RunError(f"--workers: processes cannot share a {self._platform}; train without it")
        return self._platform

    def prepare(self, job: Job, todo: int) -> dict[str, Any]:
        """Checks memory, and compiles for CPUs, so that workers find the program. Returns facts for run.json."""
        platform = self._platform or self.platform(job.ensemble.spec)
        check_memory(job.ensemble, job.units[0], copies=min(self.count, todo), device=platform == "cpu")
        return {"device": f"{self.count} workers on {self._device}", "platform": platform}

    def train(
        self, job: Job, todo: Sequence[int], listen: Listener | None, should_stop: Callable[[], bool]
    ) -> tuple[int, list]:
        with Processes(self.out, min(self.count, len(todo)), self.gpus) as crew:
            return hand_out(job, todo, crew, listen, should_stop), []


def visible_gpus() -> list[dict[str, str]]:
    """For each GPU that this process may use, the environment in which it is the only one."""
    if os.environ.get("JAX_PLATFORMS", "").lower() == "cpu":
        return []
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        if name in os.environ:
            return [{name: one.strip()} for one in os.environ[name].split(",") if one.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except OSError:
        return []
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")] if not listed.returncode else []
    return [{"CUDA_VISIBLE_DEVICES": str(k)} for k in range(len(found))]


def seats(count: int, gpus: Sequence[dict[str, str]]) -> list[tuple[list[int], dict[str, str]]]:
    """(cores, environment) of each of `count` workers."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    places = []
    for k in range(count):
        first, end = k * len(usable) // count, (k + 1) * len(usable) // count
        own = usable[first:end] or usable[k % max(1, len(usable)) :][:1]
        environment = dict(gpus[k % len(gpus)]) if gpus else {}
        sharing = len(range(k % len(gpus), count, len(gpus))) if gpus else 1
        if sharing > 1:
            environment[FRACTION] = os.environ.get(FRACTION, f"{0.75 / sharing:.2f}")
        places.append((own, environment))
    return places


def _python(code: str) -> list[str]:
    return [sys.executable, "-P", "-c", code]


def _environment() -> dict[str, str]:
    """This process's environment, for children that import the same modules."""
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return {key: value for key, value in os.environ.items() if key != PREALLOCATE} | {"PYTHONPATH": path}


@dataclass
class _Worker:
    """A worker's process, the pipe to it, and its units, the one under way first."""

    seat: int
    process: subprocess.Popen
    pipe: Connection
    ready: bool = False
    units: list[int] = field(default_factory=list)


class Processes:
    """A crew (see crew.py) of processes. A process that dies is replaced."""

    def __init__(self, out: str, count: int, gpus: Sequence[dict[str, str]]):
        self.out, self.places = out, seats(count, gpus)
        self.workers: list[_Worker] = []
        self.early_ends = 0  # in a row
        self.stopping = False

    def __enter__(self) -> Processes:
        self.workers = [self._start(seat) for seat in range(len(self.places))]
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends the workers, at once after an error."""
        for worker in self.workers:
            worker.pipe.close()
            if kind is not None:
                worker.process.kill()
        for worker in self.workers:
            worker.process.wait()

    def _start(self, seat: int) -> _Worker:
        """Starts a worker on its cores, which it takes before it starts any thread."""
        mine, other = socket.socketpair()
        usable, environment = self.places[seat]
        take = f"os.sched_setaffinity(0, {usable}); " if usable else ""
        code = f"import os; {take}from tmsjax.runs.workers import main; main({other.fileno()}, {self.out!r})"
        with other:
            process = subprocess.Popen(
                _python(code),
                env=_environment() | environment,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        return _Worker(seat, process, Connection(mine.detach()))

    def free(self, second: bool) -> list[_Worker]:
        return [worker for worker in self.workers if worker.ready and len(worker.units) == int(second)]

    def size(self) -> int:
        return len(self.workers)

    def give(self, worker: _Worker, unit: int) -> None:
        worker.units.append(unit)
        self._send(worker, unit)

    def stop(self) -> None:
        self.stopping = True
        for worker in self.workers:
            self._send(worker, None)

    def _send(self, worker: _Worker, order: int | None) -> None:
        with suppress(OSError):  # `news` notices if it has died
            worker.pipe.send(order)

    def news(self, seconds: float) -> Iterator[News]:
        heard: Any = wait([worker.pipe for worker in self.workers], seconds)
        for worker in [worker for worker in self.workers if worker.pipe in heard]:
            try:
                news = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._lost(worker)
                continue
            if news.kind == "ready":
                worker.ready, self.early_ends = True, 0
                continue
            if news.kind == "refused":
                raise RunError(news.value)
            if news.unit in worker.units and news.kind != "progress":
                worker.units.remove(news.unit)
            yield news

    def _lost(self, worker: _Worker) -> Iterable[News]:
        """Replaces a dead worker. Its first unit was under way, the second not."""
        code = worker.process.wait()
        worker.pipe.close()
        self.workers.remove(worker)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not worker.ready:
            self.early_ends += 1
            if self.early_ends >= STARTS:
                raise RunFailed(f"{self.out}: workers end before they have begun ({how})")
        if not self.stopping:
            self.workers.append(self._start(worker.seat))
        for unit in worker.units:
            under_way = unit == worker.units[0] and not self.stopping
            yield News("lost", unit, f"its worker ended ({how})") if under_way else News("stopped", unit)


def main(pipe: int, out: str) -> None:
    """A worker's process. Signals are the coordinator's business, which tells the workers over `pipe`."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    connection, sending = Connection(pipe), threading.Lock()
    orders: queue.Queue[int] = queue.Queue()
    stopping = threading.Event()

    def tell(kind: str, unit: int = -1, value: Any = None) -> None:
        with sending:
            connection.send(News(kind, unit, value))

    def listen() -> None:
        while True:
            try:
                order = connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the coordinator has ended; what was saved is intact
            if order is None:
                stopping.set()
            else:
                orders.put(order)

    def show(message: Any, *where: Any, **others: Any) -> None:
        tell("warning", value=str(message))

    threading.Thread(target=listen, daemon=True).start()
    warnings.showwarning = show
    try:
        keep_programs()
        job = open_job(out)
    except Exception as error:
        tell("refused", value=str(error) or type(error).__name__)
        return
    tell("ready")
    turn = threading.Lock()

    def train(unit: int) -> None:
        def told(progress: Progress) -> None:
            tell("progress", unit, progress)

        news = work(job, unit, turn, told, stopping.is_set)
        tell(news.kind, unit, news.value)

    with ThreadPoolExecutor(2) as pool:
        while True:
            pool.submit(train, orders.get())
