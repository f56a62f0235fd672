"""Checks and measures tmsjax on this machine's GPU and writes OUT/DEVICE.json and OUT/DEVICE.md anew after each step.

Each step prints its outcome; the others run even if it fails. `--dry-run`: tiny sizes, on CPU, to test this script.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from on_gpu import checks, report, speed
from on_gpu.steps import Step, outcome, tell
from tmsjax.runs import provenance, write_json, write_text

COMMANDS = ("h5netcdf", "orbax", "rich", "typer")  # packages that `tmsjax run` needs as well
# The most telling first. The seconds are guesses for a GPU of 2023 (a process starts in 8 s, a program compiles in
# 3 s); no GPU was measured.
STEPS = {
    "training, xla": Step(partial(checks.training, "xla", checks.SCALARS), 50),
    "training, pallas": Step(partial(checks.training, "pallas", checks.SCALARS), 50),
    "rates, xla": Step(partial(speed.rates, "xla", (speed.FLAGSHIP,), ()), 25),
    "rates, pallas": Step(partial(speed.rates, "pallas", (speed.FLAGSHIP,), ()), 25),
    "flagship, xla": Step(partial(speed.flagship, "xla"), 60, COMMANDS),
    "resume": Step(partial(checks.resume, checks.RESUMED), 60, COMMANDS),
    "bench, quick": Step(partial(speed.bench, ("--quick",)), 90, ("matplotlib", "typer")),
    "flagship, pallas": Step(partial(speed.flagship, "pallas"), 60, COMMANDS),
    "more training, xla": Step(partial(checks.training, "xla", checks.OTHERS), 50),
    "more rates, pallas": Step(partial(speed.rates, "pallas", speed.SWEEPS, ()), 50),
    "more rates, xla": Step(partial(speed.rates, "xla", speed.SWEEPS + speed.LARGE_SWEEPS, speed.LARGE), 100),
    "more resume": Step(partial(checks.resume, checks.ALSO_RESUMED), 120, COMMANDS),
    "bench": Step(partial(speed.bench, ()), 1200, ("matplotlib", "typer")),
}


def main(arguments: list[str] | None = None, steps: Mapping[str, Step] = STEPS) -> int:
    """Runs the steps and writes what they find. Returns the exit code: 0, 1 if a step failed, 2 without a GPU."""
    options = _options(arguments)
    _choose_devices(options.dry_run)
    began = time.monotonic()
    ends = began + 60 * options.minutes
    first = outcome("machine", checks.machine, options.dry_run, ends - began)
    machine = first["cases"].get("machine")
    if machine is None or (not options.dry_run and machine["platform"] != "gpu"):
        reason = "".join(f" ({failure})" for failure in first["failures"])
        print(f"jax sees no GPU here{reason}; --dry-run --out DIR tries every step on CPU", file=sys.stderr)
        return 2
    path = (options.out or checks.ROOT / "docs" / "benchmarks") / f"{report.slug(machine['kind'])}.json"
    result = provenance() | {
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["bash", "scripts/on_gpu.sh", *(sys.argv[1:] if arguments is None else arguments)]),
        "device": machine["device"],
        "kind": machine["kind"],
        "dry_run": options.dry_run,
    }
    for done, not_run in _progress(first, steps, options.dry_run, ends):
        result |= {
            "seconds": time.monotonic() - began,
            "failed": [step["name"] for step in done if step["failures"]],
            "not_run": not_run,
            "rates": report.rates(done),
            "steps": done,
        }
        write_text(path.with_suffix(".md"), report.text(result))
        write_json(path, result)
    print(f"{path}\n{path.with_suffix('.md')}")
    if result["failed"]:
        print(f"failed: {'; '.join(result['failed'])}", file=sys.stderr)
    return 1 if result["failed"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bash scripts/on_gpu.sh", description=__doc__, formatter_class=formatter)
    parser.add_argument("--out", type=Path, help="folder for the two files; default docs/benchmarks")
    parser.add_argument("--here", action="store_true", help="use the Python on PATH and install nothing")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin only steps that fit into this time")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on CPU; needs --out")
    options = parser.parse_args(arguments)
    if options.dry_run and options.out is None:
        parser.error("--dry-run needs --out")
    if not options.minutes > 0:  # NaN is not
        parser.error("--minutes needs a number above 0")
    return options


def _progress(first: dict, steps: Mapping[str, Step], dry: bool, ends: float) -> Iterator[tuple[list, dict[str, str]]]:
    """Runs the steps one after the other, so that times are their own, until the monotonic time `ends`.

    Yields:
        Before the first step and after each: the outcomes so far, and for every other step why it has none.
    """
    done, not_run = [tell(first)], dict.fromkeys(steps, "not yet run")
    yield done, not_run
    for name, step in steps.items():
        left = ends - time.monotonic()
        reason = step.obstacle(left)
        if reason:
            not_run[name] = reason
            print(f"{name:20s} {reason}", flush=True)
        else:
            done.append(tell(outcome(name, step.function, dry, left)))
            del not_run[name]
        yield done, not_run


def _choose_devices(dry: bool) -> None:
    """Sets the environment of all steps: one GPU, beside the CPU; only the CPU of a dry run."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    platforms = os.environ.get("JAX_PLATFORMS")
    if dry:
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif platforms and "cpu" not in platforms:
        os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"
