"""Checks and measures tmsjax on this machine's GPU and writes OUT/DEVICE.json and OUT/DEVICE.md.

    PYTHONPATH=scripts python -m on_gpu [--out OUT] [--dry-run]

Each step prints its outcome; the others run even if it fails. `--dry-run`: tiny sizes, on CPU, to test this script.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from on_gpu import checks, report, speed
from on_gpu.steps import Step, outcome, tell
from tmsjax.runs import provenance, write_json, write_text

STEPS: dict[str, Step] = {**checks.STEPS, **speed.STEPS}


def main(arguments: list[str] | None = None, steps: Mapping[str, Step] = STEPS) -> int:
    """Runs the steps and writes what they find. Returns the exit code: 0, 1 if a step failed, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the two files; default docs/benchmarks")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on CPU; needs --out")
    options = parser.parse_args(arguments)
    if options.dry_run and options.out is None:
        parser.error("--dry-run needs --out")
    _choose_devices(options.dry_run)
    began = time.monotonic()
    first = outcome("machine", checks.machine, options.dry_run)
    machine = first["cases"].get("machine")
    if machine is None or (not options.dry_run and machine["platform"] != "gpu"):
        reason = "".join(f" ({failure})" for failure in first["failures"])
        print(f"jax sees no GPU here{reason}; --dry-run --out DIR tries every step on CPU", file=sys.stderr)
        return 2
    done = [tell(first), *_run(steps, options.dry_run)]
    failed = [step["name"] for step in done if step["failures"]]
    result = provenance() | {
        "date": time.strftime("%Y-%m-%d"),
        "device": machine["device"],
        "kind": machine["kind"],
        "dry_run": options.dry_run,
        "seconds": time.monotonic() - began,
        "failed": failed,
        "rates": report.rates(done),
        "steps": done,
    }
    path = (options.out or checks.ROOT / "docs" / "benchmarks") / f"{report.slug(machine['kind'])}.json"
    write_text(path.with_suffix(".md"), report.text(result))
    write_json(path, result)
    print(f"{path}\n{path.with_suffix('.md')}")
    if failed:
        print(f"failed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(steps: Mapping[str, Step], dry: bool) -> list[dict]:
    """The outcomes of all steps, one after the other, so that times are their own; of a dry run two at once."""
    if not dry:
        return [tell(outcome(name, step, dry)) for name, step in steps.items()]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda item: tell(outcome(item[0], item[1], dry)), steps.items()))


def _choose_devices(dry: bool) -> None:
    """Sets the environment of all steps: one GPU, beside the CPU; only the CPU of a dry run."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    platforms = os.environ.get("JAX_PLATFORMS")
    if dry:
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif platforms and "cpu" not in platforms:
        os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the step under way, too
    sys.exit(main())
