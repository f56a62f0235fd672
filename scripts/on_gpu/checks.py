"""What the machine is, and whether it trains the models of its CPU and resumes to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from bench.suite import Workload

import tmsjax
from on_gpu.steps import attempt, some
from tmsjax.engine import Ensemble, available_memory, device_line, plan
from tmsjax.errors import RunFailed
from tmsjax.spec import Engine, Spec, load_spec

ROOT = Path(__file__).parents[2]
# Largest differences between GPU and CPU after 200 steps, in float32 with sums in another order. Measured between the
# plans for "cpu" and "gpu" on one CPU, 4096 models per case: parameters of 99 % of the models 6e-7, of all 4e-4, median
# loss 5e-7. Rarely a sample near a ReLU's kink falls on its other side, and Adam magnifies a small gradient's change.
MOST_PARAMETERS = 1e-4  # absolute, of 99 % of the models
ALL_PARAMETERS = 1e-2  # absolute
MEDIAN_LOSS = 1e-4  # relative
LEAST_CHANGE = 0.01  # of some parameter in training, so that the comparison is one of trained models
SEGMENTS = (1, 2, 5, 37)  # steps after which a segmented training stops

SMALL, EXACT, SOBOL = Workload(2, 1, 1024), Workload(2, 1, 1024, loss="exact"), {"streams": "sobol"}
SCALARS: dict[str, tuple[Workload, dict]] = {  # models that both kernels train
    "(2,1)": (SMALL, {}),
    "(2,1) sobol": (SMALL, SOBOL),
    "(3,2)": (Workload(3, 2, 1024), {}),
    "(5,2)": (Workload(5, 2, 1024), {}),
}
OTHERS: dict[str, tuple[Workload, dict]] = {
    "(2,1) exact": (EXACT, {}),
    "(20,5)": (Workload(20, 5, 1024), {}),
    "(20,5) sobol": (Workload(20, 5, 1024, 128), SOBOL),
}
CELLS = ["axes.feature_probability.count=20", "axes.extra_importance.count=20"]
RESUMED = {"one_neuron_relu, xla": CELLS}  # changes of a sweep
ALSO_RESUMED = {
    "one_neuron_relu, pallas": [*CELLS, "engine.kernel=pallas"],
    "basic_relu_20_5, xla": ["train.batch=64"],
}


def machine(_: bool) -> dict[str, dict]:
    """Devices as jax sees them, driver, memory in bytes."""
    devices = jax.devices()
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit",
        "--format=csv,noheader",
    ]
    stats = devices[0].memory_stats() or {}
    facts = {
        "device": device_line(devices),
        "kind": devices[0].device_kind,
        "platform": devices[0].platform,
        "count": len(devices),
        "device_memory_bytes": stats.get("bytes_limit"),
        "main_memory_bytes": available_memory(),
        "runtime": devices[0].client.platform_version,
    }
    if devices[0].platform == "gpu":
        facts["nvidia_smi"] = attempt(lambda: {"lines": subprocess.check_output(query, text=True).splitlines()})
    return {"machine": facts}


def training(kernel: str, cases: Mapping[str, tuple[Workload, dict]], dry: bool) -> dict[str, dict]:
    """Trains small sweeps on the device and on the CPU, and on the device again in segments of odd lengths.

    Parameters and noise-free losses of the two must agree; the segments must change no bit.
    """
    return {name: attempt(_trained, *case, kernel, dry) for name, case in some(cases, dry).items()}


def resume(cases: Mapping[str, list[str]], dry: bool) -> dict[str, dict]:
    """Stops `tmsjax run` by SIGTERM and resumes it; the results must have the bytes of an uninterrupted run."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # this process and its commands share the GPU
    return {case: attempt(_resumed, case.partition(", ")[0], sets, dry) for case, sets in some(cases, dry).items()}


def _trained(workload: Workload, changes: dict, kernel: str, dry: bool) -> dict:
    spec = workload.spec(16 if dry else None, steps=60 if dry else 200, **changes)
    reference = Ensemble(spec, jax.devices("cpu")[:1])
    spec = replace(spec, engine=Engine(kernel=kernel))
    device = Ensemble(spec, jax.devices()[:1], plan(spec, "gpu"))  # of a dry run the CPU, with a GPU's plan
    ours, theirs, parts = _states(device), _states(reference), device.gather(_states(device, SEGMENTS))
    losses = [float(np.median(e.noise_free_loss(s))) for e, s in ((device, ours), (reference, theirs))]
    whole, expected = device.gather(ours), reference.gather(theirs).params
    pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True)
    differences = _differences(whole.params, expected)
    facts: dict[str, Any] = {
        "parameters": float(differences.max()),
        "parameters_of_99_percent": float(np.quantile(differences, 0.99)),
        "median_loss": abs(losses[0] / losses[1] - 1),
        "change_in_training": float(_differences(expected, reference.gather(reference.init()).params).max()),
        "unequal_arrays": sum(a.tobytes() != b.tobytes() for a, b in pairs),
    }
    problems = _problems(facts)
    return facts | ({"error": ", ".join(problems)} if problems else {})


def _states(ensemble: Ensemble, stops: Sequence[int] = ()) -> list:
    """The states after the last step, reached with stops on the way."""
    states = ensemble.init()
    for stop in (*stops, ensemble.spec.train.steps):
        states = ensemble.advance(states, stop)
    return states


def _differences(ours: Mapping, theirs: Mapping) -> np.ndarray:
    """The largest absolute difference in each model's parameters, (models,)."""
    return np.max([np.abs(ours[k] - theirs[k]).reshape(len(theirs[k]), -1).max(1) for k in theirs], axis=0)


def _problems(facts: dict) -> list[str]:
    """What is wrong with the facts of a training. NaN is."""
    most, largest, loss = (facts[key] for key in ("parameters_of_99_percent", "parameters", "median_loss"))
    problems = []
    if not most <= MOST_PARAMETERS:
        problems.append(
            f"parameters of 99 % of models differ by {most:.1e} from the CPU's, limit {MOST_PARAMETERS:.0e}"
        )
    if not largest <= ALL_PARAMETERS:
        problems.append(f"some parameter differs by {largest:.1e} from the CPU's, limit {ALL_PARAMETERS:.0e}")
    if not loss <= MEDIAN_LOSS:
        problems.append(f"median losses differ by a relative {loss:.1e}, limit {MEDIAN_LOSS:.0e}")
    if not facts["change_in_training"] >= LEAST_CHANGE:
        problems.append(f"nothing was trained: parameters changed by {facts['change_in_training']:.1e}")
    if facts["unequal_arrays"]:
        problems.append(f"{facts['unequal_arrays']} arrays depend on how steps are cut into segments")
    return problems


def command(*arguments: object, module: str = "tmsjax.cli") -> list[str]:
    """The command `tmsjax ARGUMENTS`, or another module's, with this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def call(words: Sequence[str]) -> None:
    """Runs a command. Raises RunFailed with what it says if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailed(f"{' '.join(words[2:4])}: exit code {done.returncode}: {done.stderr[-500:]}")


def sweep_file(sweep: str) -> Path:
    """The file of a sweep of this repository."""
    return ROOT / "sweeps" / f"{sweep}.toml"


def sweep_spec(name: str, changes: Sequence[str] = ()) -> Spec:
    """The spec of a sweep that is named "SWEEP KEY=VALUE ...", with further changes."""
    sweep, *own = name.split()
    return load_spec(sweep_file(sweep), [*own, *changes])


def _resumed(sweep: str, sets: list[str], dry: bool) -> dict:
    sets = [*sets, "checkpoint.every_seconds=0", "checkpoint.segment_seconds=0.05"]
    with tempfile.TemporaryDirectory() as folder:
        out, steps = _stopped(sweep_file(sweep), sets, Path(folder), 6000 if dry else 20_000)
        run = tmsjax.open_run(out)
        assert run.directory is not None
        stopped = run.directory.info().steps_done
        call(command("resume", out))
        spec = sweep_spec(sweep, [*sets, f"train.steps={steps}"])
        whole, resumed = tmsjax.run_sweep(spec, progress=False).dataset, tmsjax.open_run(out).dataset
        unequal = [str(v) for v in whole.variables if whole[v].to_numpy().tobytes() != resumed[v].to_numpy().tobytes()]
    facts: dict[str, Any] = {"models": spec.instances, "steps": steps, "stopped_after": stopped, "unequal": unequal}
    if unequal or not 0 < stopped < steps:
        facts["error"] = f"stopped after {stopped} of {steps} steps; other bytes in: {', '.join(unequal) or 'nothing'}"
    return facts


def _stopped(file: Path, sets: list[str], folder: Path, steps: int) -> tuple[Path, int]:
    """(directory, steps) of a run that SIGTERM stopped in the middle. Tries more steps if a run ended before."""
    for number in range(6):
        out, steps = folder / str(number), steps * 4 ** min(number, 1)
        options = [part for change in [*sets, f"train.steps={steps}"] for part in ("--set", change)]
        process = subprocess.Popen(
            command("run", file, "--out", out, *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None and not any(int(p.name) > steps / 50 for p in out.glob("checkpoints/[0-9]*")):
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
        if process.returncode == 128 + signal.SIGTERM:
            return out, steps
        if process.returncode:
            raise RunFailed(f"tmsjax run: exit code {process.returncode}: {errors[-500:]}")
    raise RunFailed(f"a run of {steps} steps ended before SIGTERM")
