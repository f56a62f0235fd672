"""The report in Markdown: measured rates, agreement with the CPU, and which steps passed."""

from __future__ import annotations

import re

AGREEMENT = {
    "parameters": "largest difference of parameters",
    "parameters_of_99_percent": "of 99 % of models",
    "median_loss": "relative difference of median losses",
}
RUN = {"seconds_of_training": "training, s", "wall_seconds": "whole command, s", "exact": "agreement with exact theory"}


def slug(device: str) -> str:
    """A device's name for files: a-z, 0-9 and '-'."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def rates(steps: list[dict]) -> list[dict]:
    """One row per measured rate: those of the steps "rates" and "flagship"."""
    return [
        {"case": case, "kernel": step["name"].partition(", ")[2]}
        | {key: found[key] for key in ("models", "samples_per_second")}
        for step in steps
        for case, found in step["cases"].items()
        if "samples_per_second" in found
    ]


def text(result: dict) -> str:
    """The report in Markdown."""
    rows = [
        [row["case"], row["kernel"], f"{row['models']:,}", f"{row['samples_per_second']:.2e}"]
        for row in result["rates"]
    ]
    steps = [[s["name"], "; ".join(s["failures"]) or "ok", f"{s['seconds']:.1f}"] for s in result["steps"]]
    steps += [[name, reason, ""] for name, reason in result["not_run"].items()]
    commit = result["git_commit"] or "unknown"
    return "\n".join(
        [
            f"# {result['device']}",
            "",
            f"Made by `{result['command']}` on {result['date']}, commit {commit}.",
            f"All facts: {slug(result['kind'])}.json.",
            "",
            _table(["sweep", "kernel", "models", "samples/s"], rows),
            "",
            'A "whole run" is that of `tmsjax run`; other rates are of the engine alone.',
            "",
            _found(result["steps"], RUN),
            "",
            "Against the CPU of the same machine, after 200 steps (of a dry run 60):",
            "",
            _found(result["steps"], AGREEMENT),
            "",
            _table(["step", "result", "seconds"], steps),
            "",
        ]
    )


def _found(steps: list[dict], columns: dict[str, str]) -> str:
    """A table of the facts named by `columns`, for every case that has them all."""
    cells = [
        [step["name"], case, *(f"{found[key]:.4g}" for key in columns)]
        for step in steps
        for case, found in step["cases"].items()
        if columns.keys() <= found.keys()
    ]
    return _table(["step", "case", *columns.values()], cells)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])
