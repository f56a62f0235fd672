"""Everything in docs/phase_changes.md: trains its sweeps, computes its tables, draws its figures, writes the report.

    python scripts/phase_changes OUT [--quick] [--only three,budget] [--publish]

OUT gets runs/, figures/phase_changes/, phase_changes.json (all numbers) and phase_changes.md, which is
docs/phase_changes.template.md with numbers. A second call goes on where the first stopped. `--quick`: coarse grids and
short trainings, whose numbers are not those of the report. `--publish`: copies report, numbers and figures into docs/.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import activations
import budget
import exact
import selection
import three
import typer
import zroe1
from report import render
from study import ROOT, RUNS, Report, train

from tmsjax.cli import guarded
from tmsjax.files import write_text

TEMPLATE = ROOT / "docs" / "phase_changes.template.md"
SECTIONS = {
    "exact": exact,
    "three": three,
    "selection": selection,
    "zroe1": zroe1,
    "budget": budget,
    "activations": activations,
}
NEEDS = {
    "exact": ["no-bias"],
    "three": ["three-features"],
    "selection": ["selection", "selection-stratified", "init-scale"],
    "zroe1": ["zroe1-relu", "zroe1-relu-tied", "zroe1-linear", "zroe1-linear-tied"],
    "budget": [],
    "activations": ["selection", "constant", "half-normal", "gelu"],
}


def main(
    out: Annotated[Path, typer.Argument(help="The folder of runs, figures and report.")],
    quick: Annotated[bool, typer.Option("--quick", help="Coarse grids, short trainings; minutes.")] = False,
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(SECTIONS)}, by commas.")] = ",".join(SECTIONS),
    publish: Annotated[bool, typer.Option("--publish", help="Copy report, numbers and figures into docs/.")] = False,
) -> None:
    chosen = [part.strip() for part in only.split(",")]
    unknown = [part for part in chosen if part not in SECTIONS]
    if unknown:
        raise typer.BadParameter(f"--only knows {', '.join(SECTIONS)}, not {', '.join(unknown)}")
    report = Report(out, quick)
    for name in dict.fromkeys(run for part in chosen for run in NEEDS[part]):
        train(name, report)
    for part in chosen:
        print(f"{SECTIONS[part].__doc__}", flush=True)
        start = time.monotonic()
        numbers = SECTIONS[part].make(report)
        spent = time.monotonic() - start
        before = report.numbers.get(part, {}).get(
            "section_seconds", 0
        )  # what a second call finds done took its time then
        report.keep(part, {**numbers, "section_seconds": max(spent, before)})
    report.keep("all", {**time_spent(report), "quick": quick})
    write_text(out / "phase_changes.md", render(TEMPLATE.read_text(encoding="utf-8"), report.numbers))
    print(out / "phase_changes.md")
    if publish:
        for path in (report.path, out / "phase_changes.md", *(out / "figures" / "phase_changes").glob("*.png")):
            goal = ROOT / "docs" / path.relative_to(out)
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, goal)


def time_spent(report: Report) -> dict:
    """Seconds of all trainings and of all the rest, and on what."""
    known = report.numbers
    runs = [report.run(name) for name in RUNS if (report.out / "runs" / name / "results.nc").exists()]
    infos = [run.directory.info() for run in runs]
    of_budgets = known.get("budget", {}).get("seconds_of_training", 0)
    training = sum(info["seconds_of_training"] for info in infos) + of_budgets
    rest = max(sum(known[part]["section_seconds"] for part in SECTIONS if part in known) - of_budgets, 0)
    return {
        "seconds_of_training": training,
        "seconds_of_rest": rest,
        "minutes": (training + rest) / 60,
        "device": infos[0]["device"] if infos else "n/a",
    }


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
