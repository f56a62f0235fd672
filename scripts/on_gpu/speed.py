"""How fast the machine trains: rates of the engine, the benchmark suite, and the one-neuron phase diagram."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.suite import Workload

import tmsjax
from on_gpu.checks import call, command, sweep_file, sweep_spec
from on_gpu.steps import attempt
from tmsjax.engine import Ensemble
from tmsjax.runs.tuning import rate
from tmsjax.spec import Engine, Spec

FLAGSHIP = "one_neuron_relu"
TINY = ["axes.feature_probability.count=4", "axes.extra_importance.count=4", "axes.replica.count=4", "train.steps=600"]
SECONDS = 2.0  # of one timing: many chunks of steps, as the last one may be partly unused
LEAST_AGREEMENT = 0.998  # of the flagship's cells with exact theory; two CPU cores reach 0.9994
SWEEPS = ("three_features", "intro", "intro axes.replica.count=12800")  # that both kernels train, as the flagship
LARGE_SWEEPS = ("basic_relu_20_5",)
LARGE = (Workload(20, 5, 10_000, 1024), Workload(200, 20, 1000, 1024))  # as many models as fill a device


def rates(kernel: str, sweeps: tuple[str, ...], works: tuple[Workload, ...], dry: bool) -> dict[str, dict]:
    """The engine's rate in samples/s, by sweep or workload; of a dry run of the first sweep, made tiny."""
    if dry:
        specs = {sweeps[0]: sweep_spec(sweeps[0], TINY)}
    else:
        specs = {name: sweep_spec(name) for name in sweeps} | {work.name: work.spec() for work in works}
    return {name: attempt(_rate, spec, kernel, dry) for name, spec in specs.items()}


def _rate(spec: Spec, kernel: str, dry: bool) -> dict:
    spec = replace(spec, engine=Engine(kernel=kernel))
    measured = rate(Ensemble(spec), 0.02, 1) if dry else rate(Ensemble(spec), SECONDS)
    return {"models": spec.instances, "samples_per_second": measured}


def bench(options: tuple[str, ...], dry: bool) -> dict[str, dict]:
    """What `bash scripts/bench.sh --json` writes; of a dry run, only whether the command takes these arguments."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.json"
        call(command("--json", file, *options, *(["--help"] if dry else []), module="bench"))
        return {"bench": {} if dry else json.loads(file.read_text())}


def flagship(kernel: str, dry: bool) -> dict[str, dict]:
    """The one-neuron phase diagram by `tmsjax run`, compared with theory. Times in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        changes = [*(TINY if dry else []), f"engine.kernel={kernel}"]
        start = time.monotonic()
        call(command("run", sweep_file(FLAGSHIP), "--out", out, *(part for c in changes for part in ("--set", c))))
        wall = time.monotonic() - start
        run = tmsjax.open_run(out)
        assert run.directory is not None
        info, spec, compared = vars(run.directory.info()), run.spec, tmsjax.compare(run)
    facts: dict[str, Any] = {key: info[key] for key in ("models", "plan", "diverged_models", "peak_memory_bytes")}
    facts |= {key: info[key] for key in ("seconds_of_compiling", "seconds_of_training", "seconds_of_results")}
    facts |= {name: compared[name]["agreement"] for name in ("exact", "candidate")}
    facts["wall_seconds"] = wall
    facts["samples_per_second"] = spec.instances * spec.train.batch * spec.train.steps / info["seconds_of_training"]
    if not dry and not facts["exact"] >= LEAST_AGREEMENT:
        facts["error"] = f"{facts['exact']:.2%} of cells agree with exact theory, fewer than {LEAST_AGREEMENT:.1%}"
    return {f"{FLAGSHIP}, whole run": facts}
