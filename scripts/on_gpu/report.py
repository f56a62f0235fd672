"""The table of measured rates beside the paper figures of docs/devices.json.

A paper figure is the rate of a sweep on a chip by arithmetic, from what takes longest (made by
scripts/device_table.py).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from studies.reporting import table

from on_gpu.checks import sweep_spec

HEAD = ["sweep", "kernel", "models", "measured, samples/s", "on paper, samples/s", "bound on paper", "measured / paper"]
AGREEMENT = {
    "parameters": "largest difference of parameters",
    "parameters_of_99_percent": "of 99 % of models",
    "median_loss": "relative difference of median losses",
}
RUN = {"seconds_of_training": "training, s", "wall_seconds": "whole command, s", "exact": "agreement with exact theory"}


def slug(device: str) -> str:
    """A device's name for files: a-z, 0-9 and '-'."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def paper_facts(path: Path) -> list[dict]:
    """The facts in docs/devices.json, one per sweep and chip; none without the file."""
    return json.loads(path.read_text(encoding="utf-8"))["facts"] if path.exists() else []


def rows(steps: list[dict], device: str, facts: list[dict]) -> list[dict]:
    """One row per measured rate: those of the steps "rates" and "flagship"."""
    measured = [
        (case, step["name"].partition(", ")[2], found)
        for step in steps
        for case, found in step["cases"].items()
        if "samples_per_second" in found
    ]
    return [_row(case, kernel, found, device, facts) for case, kernel, found in measured]


def _row(case: str, kernel: str, found: dict, device: str, facts: list[dict]) -> dict:
    row: dict[str, Any] = {"case": case, "kernel": kernel, "models": found["models"]}
    row["measured"] = found["samples_per_second"]
    chips = set(slug(device).split("-")) & {fact["chip"] for fact in facts}
    if not chips:
        return row | {"missing": "no figure for this device" if facts else "no docs/devices.json"}
    sweep = case.partition(", ")[0]
    for fact in facts:
        same = fact["sweep"] == sweep and fact["plan"].get("kernel", "xla") == kernel
        if same and fact["chip"] in chips:
            paper = _rate_on_paper(fact)
            return row | {"paper": paper, "bound": fact["bound"], "ratio": row["measured"] / paper}
    return row | {"missing": "no figure for this sweep and kernel"}


def _rate_on_paper(fact: dict) -> float:
    """Samples/s of a whole sweep on one chip."""
    spec = sweep_spec(fact["sweep"])
    samples = spec.train.batch if spec.train.loss == "sampled" else 1
    return spec.instances * samples * spec.train.steps / fact["run_seconds"]


def _found(steps: list[dict], columns: dict[str, str]) -> str:
    """A table of the facts named by `columns`, for every case that has them all."""
    cells = [
        [step["name"], case, *(f"{found[key]:.4g}" for key in columns)]
        for step in steps
        for case, found in step["cases"].items()
        if columns.keys() <= found.keys()
    ]
    return table(["step", "case", *columns.values()], cells)


def text(result: dict) -> str:
    """The report in Markdown."""
    rows = [
        [r["case"], r["kernel"], f"{r['models']:,}", f"{r['measured']:.2e}"]
        + ([f"{r['paper']:.2e}", r["bound"], f"{r['ratio']:.2f}"] if "ratio" in r else [r["missing"], "", ""])
        for r in result["rates"]
    ]
    steps = [[s["name"], "; ".join(s["failures"]) or "ok", f"{s['seconds']:.1f}"] for s in result["steps"]]
    command = "bash scripts/on_gpu.sh" + (" --dry-run" if result["dry_run"] else "")
    commit = result["git_commit"] or "unknown"
    return "\n".join(
        [
            f"# {result['device']}",
            "",
            f"Made by `{command}` on {result['date']}, commit {commit}. All facts: {slug(result['kind'])}.json.",
            "",
            table(HEAD, rows),
            "",
            'On paper: by docs/devices.json, for one device. A "whole run" is that of `tmsjax run`; other rates are of',
            "the engine alone.",
            "",
            _found(result["steps"], RUN),
            "",
            "Against the CPU of the same machine, after 200 steps (of a dry run 60):",
            "",
            _found(result["steps"], AGREEMENT),
            "",
            table(["step", "result", "seconds"], steps),
            "",
        ]
    )
