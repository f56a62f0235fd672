"""The benchmark suite: the engine against other ways to train the same models, and against the machine's own rates.

Each way runs in its own process. Rounds alternate between the processes, so that machine noise affects all of them
alike. A rate is the median over rounds, in samples/s or, for the exact loss, in model-steps/s. Ways other than the
engine may train fewer models (`most_models`).
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bench import competitors
from bench.bound import bound_of, machine_rates
from tmsjax.engine import Ensemble, device_line, peak_memory, plan
from tmsjax.errors import RunFailed
from tmsjax.runs import provenance
from tmsjax.spec import Spec, load_spec

ENGINE, SHARED = "engine", "engine, shared stream"
FLOATS = 2**24  # most batch x models x features in a tensor: 67 MB; a step holds a few dozen and takes 1 to 2 s
SAME_LOSS = 0.1  # largest relative difference in mean loss after the check's training


@dataclass(frozen=True)
class Workload:
    """Models to train in the benchmark: their sizes, number, batch, loss and activation."""

    features: int
    hidden: int
    instances: int
    batch: int = 64
    loss: str = "sampled"
    activation: str = "relu"

    @property
    def name(self) -> str:
        kind = "exact" if self.loss == "exact" else f"batch {self.batch}"
        linear = " linear" if self.activation == "linear" else ""
        return f"({self.features},{self.hidden}){linear} x {self.instances:,}, {kind}"

    def spec(self, instances: int | None = None, streams: str = "independent", **changes: Any) -> Spec:
        """A sweep over feature probability of models whose importances fall from feature to feature."""
        training = {"steps": 10**6, "batch": self.batch, "learning_rate": 1e-2, "schedule": "cosine"}
        training |= {"loss": self.loss, "streams": streams} | changes
        return load_spec(
            {
                "name": "bench",
                "model": {"features": self.features, "hidden": self.hidden, "activation": self.activation},
                "axes": {"probability": {"log": [1.0, 0.01], "count": instances or self.instances}},
                "instance": {
                    "feature_probability": "probability",
                    "importance": {"first": 1.0, "ratio": 0.9},
                    "init_scale": "xavier",
                },
                "train": training,
                "record": {"measures": []},
            }
        )


WORKLOADS = (
    Workload(2, 1, 100_000),
    Workload(2, 1, 1_000_000),
    Workload(2, 1, 100_000, 1024),
    Workload(2, 1, 1_000_000, 1024),
    Workload(3, 2, 100_000),
    Workload(5, 2, 10_000),
    Workload(20, 5, 1000),
    Workload(20, 5, 1000, 1024),
    Workload(80, 20, 64, 1024),
    Workload(200, 20, 20, 1024),
    Workload(2, 1, 1_000_000, loss="exact"),
    Workload(2, 1, 100_000, activation="linear"),
)
QUICK = (Workload(2, 1, 20_000),)


class Engine:
    """This package; each `run` continues where the last one stopped."""

    def __init__(self, spec: Spec):
        self.ensemble = Ensemble(spec)
        self.states = self.ensemble.init()
        self.step = 0

    def run(self, steps: int) -> dict[str, Any]:
        self.step += steps
        self.states = self.ensemble.advance(self.states, self.step)
        return dict(self.ensemble.gather(self.states).params)


WAYS: dict[str, Callable[[Spec], Any]] = {
    ENGINE: Engine,
    SHARED: Engine,
    "JAX vmap": competitors.TextbookJax,
    "PyTorch matmul": competitors.TorchMatmul,
    "PyTorch einsum": competitors.TorchEinsum,
}


def ways(workload: Workload) -> list[str]:
    """The ways that can run a workload; shared streams and PyTorch need a sampled loss."""
    return [ENGINE, "JAX vmap"] if workload.loss == "exact" else list(WAYS)


def most_models(way: str, workload: Workload) -> int:
    """How many models a way trains: all for the engine, else as many as keep a batch within FLOATS floats."""
    if way in (ENGINE, SHARED):
        return workload.instances
    return min(workload.instances, max(1, FLOATS // (workload.batch * workload.features)))


class Process:
    """One way in its own process."""

    def __init__(self, way: str, workload: Workload):
        self.way = way
        self.models = most_models(way, workload)
        self.pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def call(self, function: Callable, *args: Any) -> Any:
        return self.pool.submit(function, *args).result()

    def close(self) -> None:
        self.pool.shutdown()


_held: dict[str, Any] = {}  # per process: its trainer and its steps per round


def _load(way: str) -> None:
    """Runs in the process: imports what the way needs, concurrently with the other processes."""
    if way.startswith("PyTorch") and has_torch():
        import torch  # noqa: F401


def _begin(way: str, workload: Workload, models: int, seconds: float) -> dict:
    """Runs in the process: checks, builds and compiles the way; finds how many steps take about `seconds`."""
    if way.startswith("PyTorch") and not has_torch():
        return {"missing": "PyTorch is not installed (extra `bench`)"}
    streams = "shared" if way == SHARED else "independent"
    reached = _loss_after_training(WAYS[way](_check_spec(workload, streams)), workload)
    forget_peak_memory()
    start = time.perf_counter()
    trainer = WAYS[way](workload.spec(models, streams))
    trainer.run(1)
    first = time.perf_counter() - start
    once = _seconds(trainer, 1)
    steps = 1
    while once < seconds / 2:
        steps = max(2 * steps, min(round(steps * seconds / once), 64 * steps))
        trainer.run(steps)
        once = _seconds(trainer, steps)
    _held.update(trainer=trainer, steps=steps)
    return {"compile_seconds": max(0.0, first - once / steps), "check_loss": reached, "models": models}


def _round() -> float:
    """Runs in the process: the steps/s of one round."""
    return _held["steps"] / _seconds(_held["trainer"], _held["steps"])


def _seconds(trainer: Any, steps: int) -> float:
    start = time.perf_counter()
    trainer.run(steps)
    return time.perf_counter() - start


def forget_peak_memory() -> None:
    """Resets the peak that `peak_memory` reports, if the system supports it (Linux)."""
    with suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def has_torch() -> bool:
    return find_spec("torch") is not None


def _check_spec(workload: Workload, streams: str) -> Spec:
    """A short training of a few models, on the path that the timed training takes."""
    models, steps = (1024, 300) if workload.features <= 5 else (32, 200) if workload.features <= 20 else (32, 50)
    path = "scalars" if plan(workload.spec(), jax.default_backend()).scalars else "arrays"
    spec = workload.spec(models, streams, steps=steps, batch=32)
    return replace(spec, engine=replace(spec.engine, path=path))


def _loss_after_training(trainer: Any, workload: Workload) -> float:
    """The mean loss of a few models after a short training, on the same samples for all ways; in float64 numpy."""
    spec = _check_spec(workload, "independent")
    params = trainer.run(spec.train.steps)
    rng = np.random.default_rng(0)
    shape = (spec.instances, 2000, workload.features)
    x = (rng.random(shape) < spec.evaluate("feature_probability")[:, None, :]) * rng.random(shape)
    W, b = params["W"].astype(float), params["b"].astype(float)
    output = x @ W.swapaxes(1, 2) @ W + b[:, None]
    output = output if workload.activation == "linear" else np.maximum(output, 0)
    return float(((output - x) ** 2 * spec.evaluate("importance")[:, None, :]).sum(-1).mean())


def run_workload(workload: Workload, rounds: int, seconds: float, machine: dict, say: Callable[[str], None]) -> dict:
    """Measures one workload, a row of the table. Raises RunFailed if a way does not learn what the engine learns."""
    processes = [Process(way, workload) for way in ways(workload)]
    try:
        list(map(Future.result, [process.pool.submit(_load, process.way) for process in processes]))
        rows: dict[str, dict] = {}
        for process in processes:
            rows[process.way] = process.call(_begin, process.way, workload, process.models, seconds)
        check_same(workload, rows)
        present = [p for p in processes if "missing" not in rows[p.way]]
        rates: dict[str, list[float]] = {p.way: [] for p in present}
        for _ in range(rounds):
            for process in present:
                rates[process.way].append(process.call(_round))
        for process in present:
            rows[process.way]["peak_memory_bytes"] = process.call(peak_memory)
    finally:
        for process in processes:
            process.close()
    samples = 1 if workload.loss == "exact" else workload.batch
    for way, steps_per_second in rates.items():
        row = rows[way]
        row["rates"] = [r * samples * row["models"] for r in steps_per_second]
        row["rate"] = statistics.median(row["rates"])
    bound = bound_of(workload.spec(2), machine)  # per model, whatever their number
    ratios = {way: rows[ENGINE]["rate"] / rows[way]["rate"] for way in rates if way != ENGINE}
    result = {
        "workload": workload.name,
        "unit": "model-steps/s" if workload.loss == "exact" else "samples/s",
        "ways": rows,
        "ratios": ratios,
        "bound": bound,
        "share_of_bound": rows[ENGINE]["rate"] / bound["rate"],
    }
    for line in lines_of(result):
        say(line)
    return result


def check_same(workload: Workload, rows: dict[str, dict]) -> None:
    """Raises RunFailed unless every way reached the engine's loss in its check."""
    ours = rows[ENGINE]["check_loss"]
    for way, row in rows.items():
        if "missing" not in row and not abs(row["check_loss"] / ours - 1) <= SAME_LOSS:
            raise RunFailed(
                f"{workload.name}: {way} learns something else: loss {row['check_loss']:.4g}, engine's {ours:.4g}"
            )


def lines_of(result: dict) -> list[str]:
    """A workload's result as lines of text."""
    lines = [f"\n{result['workload']}   ({result['unit']})"]
    for way, row in result["ways"].items():
        if "missing" in row:
            lines.append(f"  {way:22s} {row['missing']}")
            continue
        ratio = f"engine / this {result['ratios'][way]:7.2f}" if way in result["ratios"] else " " * 21
        lines.append(
            f"  {way:22s} {row['rate']:9.2e} ({min(row['rates']):.2e} to {max(row['rates']):.2e}) {ratio}"
            f"  {row['models']:>9,} models {row['peak_memory_bytes'] / 1e9:5.2f} GB"
            f"  first call {row['compile_seconds']:5.1f} s"
        )
    lines.append(f"  {'bound':22s} {result['bound']['rate']:9.2e}; the engine reaches {result['share_of_bound']:.0%}")
    return lines


def table(result: dict) -> str:
    """The suite's result in Markdown: the engine's rate, its ratio to each other way, its share of the bound."""
    others = [way for way in WAYS if way != ENGINE]
    head = ["models", "engine", *others, "of the bound", "memory", "first call"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in result["workloads"]:
        engine = row["ways"][ENGINE]
        ratios = [f"{row['ratios'][way]:.3g} x" if way in row["ratios"] else "" for way in others]
        cells = [
            row["workload"],
            f"{engine['rate']:.2e} {row['unit']}",
            *ratios,
            f"{row['share_of_bound']:.0%}",
            f"{engine['peak_memory_bytes'] / 1e9:.2f} GB",
            f"{engine['compile_seconds']:.1f} s",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def startup(tries: int = 5) -> dict[str, float]:
    """Start-up times in seconds, in fresh processes.

    Medians of `tries`: `tmsjax --help`, importing jax, importing tmsjax after jax. Once each: building a (2, 1) sweep
    and running one step, with an empty and with a filled compilation cache.
    """
    timed = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"

    def imported(modules: str) -> float:
        return statistics.median(float(_python("-c", timed.format(modules))) for _ in range(tries))

    def help_() -> float:
        start = time.perf_counter()
        _python("-m", "tmsjax.cli", "--help")
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as cache:
        compiling = [float(_python("-c", _FIRST_SEGMENT, JAX_COMPILATION_CACHE_DIR=cache)) for _ in range(2)]
    return {
        "help": statistics.median(help_() for _ in range(tries)),
        "import_jax": imported("jax"),
        "import_tmsjax_after_jax": imported("jax, tmsjax") - imported("jax"),
        "first_segment": compiling[0],
        "first_segment_from_cache": compiling[1],
    }


_FIRST_SEGMENT = """
import time, jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
from bench.suite import Engine, WORKLOADS
start = time.perf_counter()
Engine(WORKLOADS[0].spec(1000)).run(1)
print(time.perf_counter() - start)
"""


def _python(*arguments: str, **environment: str) -> str:
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    everything = {**os.environ, "PYTHONPATH": paths, **environment}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, env=everything)
    return done.stdout


def circumstances() -> dict:
    """When and where a benchmark runs, with which versions."""
    return provenance() | {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_line(jax.devices()),
        "python": platform.python_version(),
        "torch": version("torch") if has_torch() else None,
    }


def run_suite(quick: bool, rounds: int, say: Callable[[str], None]) -> dict:
    """Runs the whole suite: prints lines by `say` and returns what `--json` writes."""
    began = time.monotonic()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # because processes share a GPU
    say(f"device: {device_line(jax.devices())}")
    machine = machine_rates()
    say(f"operations/s: matrix product {machine['matmul']:.2e}, elementwise {machine['elementwise']:.2e}")
    workloads, seconds, rounds, tries = (QUICK, 0.3, min(rounds, 3), 2) if quick else (WORKLOADS, 1.0, rounds, 5)
    results = []
    for number, workload in enumerate(workloads, 1):
        results.append(run_workload(workload, rounds, seconds, machine, say))
        spent = time.monotonic() - began
        say(f"  {number} of {len(workloads)}, about {spent / number * (len(workloads) - number):.0f} s left")
    starting = startup(tries)
    say("\nstart-up, seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in starting.items()))
    result = circumstances() | {
        "rounds": rounds,
        "seconds": time.monotonic() - began,
        "machine": machine,
        "startup": starting,
        "workloads": results,
    }
    say(f"\nrate of the engine, and its ratio to each other way's (medians of {rounds} rounds)\n\n{table(result)}")
    say(f"{result['seconds']:.0f} s")
    return result
