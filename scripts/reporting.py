"""Reports: trains sweeps, makes the numbers and figures of each section from them, fills in a template.

Used by scripts/phase_changes and scripts/gallery.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

import tmsjax
from tmsjax import plots
from tmsjax.errors import RunError
from tmsjax.runs import write_json, write_text
from tmsjax.spec import json_copy
from tmsjax.terminal import guarded

ROOT = Path(__file__).parents[1]
QUICK = (
    "*Made with `--quick`, on coarse grids and with short trainings: the sentences are those of the full report. A "
    "number in them may belong to another point of a grid than the sentence says; n/a stands for a point that the "
    "coarse grid lacks. Tables and figures show what was computed.*"
)
Rows = list[list[str]]
Tables = Mapping[str, Callable[[dict], str]]


class Report:
    """The output of a report: numbers by section and name, figures by name."""

    def __init__(self, name: str, out: Path, quick: bool):
        self.name, self.out, self.quick = name, out, quick
        self.path = out / f"{name}.json"

    @property
    def numbers(self) -> dict[str, Any]:
        found: Any = None
        with suppress(ValueError):
            found = json.loads(self.path.read_text()) if self.path.exists() else {}
        if isinstance(found, dict) and all(isinstance(part, dict) for part in found.values()):
            return found
        raise RunError(f"{self.path}: damaged; delete it")

    def run(self, name: str) -> Any:
        return tmsjax.open_run(self.out / "runs" / name)

    def figure(self, name: str, figure: Any) -> None:
        for path in plots.save(figure, self.out / "figures" / self.name / name):
            print(f"  {path}")

    def keep(self, section: str, numbers: dict) -> None:
        write_json(self.path, self.numbers | {section: json_copy(numbers)})


@dataclass(frozen=True)
class Program:
    """How to make a report.

    name:       the NAME of docs/NAME.md, its template, numbers and figures
    runs:       name -> (sweep, changes, further changes for --quick)
    sections:   name -> module with `make(report) -> numbers`
    needs:      section -> names of its runs
    tables:     name -> function from all numbers to Markdown
    by_request: sections that are made only if --only names them
    """

    name: str
    runs: Mapping[str, tuple[str, list[str], list[str]]]
    sections: Mapping[str, Any]
    needs: Mapping[str, list[str]]
    tables: Tables
    by_request: tuple[str, ...] = ()

    @property
    def template(self) -> Path:
        return ROOT / "docs" / f"{self.name}.template.md"

    @property
    def usual(self) -> list[str]:
        return [name for name in self.sections if name not in self.by_request]

    def start(self) -> None:
        """Parses the command line and makes the report."""

        def main(
            out: Annotated[Path, typer.Argument(help="Folder for runs, figures and report.")],
            quick: Annotated[bool, typer.Option("--quick", help="Coarse grids, short training; minutes.")] = False,
            only: Annotated[str | None, typer.Option(help="Only these sections, comma-separated.")] = None,
            publish: Annotated[bool, typer.Option("--publish", help="Copy the report into docs/.")] = False,
        ) -> None:
            chosen = [part.strip() for part in only.split(",")] if only is not None else self.usual
            unknown = [part for part in chosen if part not in self.sections]
            if unknown:
                raise typer.BadParameter(
                    f"--only accepts {', '.join(self.sections)}, not {', '.join(map(repr, unknown))}"
                )
            report = Report(self.name, out, quick)
            self.make(report, chosen)
            if publish:
                self.publish(report)

        main.__doc__ = f"Reproduces docs/{self.name}.md. A second call continues where the first stopped."
        app = typer.Typer(pretty_exceptions_enable=False)  # `guarded` prints errors
        app.command()(main)
        guarded(app)

    def make(self, report: Report, chosen: list[str]) -> None:
        """Trains the runs that the chosen sections need, makes the sections and writes the report.

        Raises RunError for damaged numbers of an earlier call before any work.
        """
        _ = report.numbers
        for name in dict.fromkeys(run for part in chosen for run in self.needs[part]):
            train(report, name, *self.runs[name])
        for part in chosen:
            print(f"{self.sections[part].__doc__}", flush=True)
            start = time.monotonic()
            numbers = self.sections[part].make(report)
            # keep the time of an earlier call, which did the work that this call finds done
            before = report.numbers.get(part, {}).get("section_seconds", 0)
            seconds = max(time.monotonic() - start, before)
            report.keep(part, {**numbers, "section_seconds": seconds, "version": version("tmsjax")})
        report.keep("all", {**self.time_spent(report.numbers), "quick": report.quick})
        self.write(report.numbers, report.out / f"{self.name}.md")
        print(report.out / f"{self.name}.md")

    def write(self, numbers: dict, path: Path) -> None:
        """Writes the page: the template with the numbers filled in. One of --quick says so below its title."""
        template = self.template.read_text(encoding="utf-8")
        if numbers["all"]["quick"]:
            title, _, rest = template.partition("\n\n")
            template = f"{title}\n\n{QUICK}\n\n{rest}"
        write_text(path, render(template, numbers, self.tables))

    def publish(self, report: Report) -> None:
        """Writes numbers, text and the figures that the text shows into docs/. Sections not made stay as published."""
        docs = ROOT / "docs"
        before = Report(self.name, docs, report.quick)
        numbers = before.numbers | report.numbers
        numbers["all"]["runs"] = before.numbers.get("all", {}).get("runs", {}) | numbers["all"]["runs"]
        numbers["all"] |= self.time_spent(numbers)
        write_json(before.path, numbers)
        self.write(numbers, docs / f"{self.name}.md")
        for name in re.findall(r"!\[.*?\]\((.+?)\)", (docs / f"{self.name}.md").read_text(encoding="utf-8")):
            if (report.out / name).exists():
                (docs / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(report.out / name, docs / name)

    def time_spent(self, known: dict) -> dict:
        """Seconds of training and of the rest of the sections, minutes in total, the device; numbers of every run.

        Leaves out the sections by request.
        """
        costs = known.get("all", {}).get("runs", {})
        usual = [costs[run] for run in {run for part in self.usual for run in self.needs[part]} & costs.keys()]
        made = [known[part] for part in self.usual if part in known]
        in_sections = sum(part.get("seconds_of_training", 0) for part in made)
        sections = sum(part["section_seconds"] for part in made)
        return {
            "seconds_of_training": sum(cost["training"] for cost in usual) + in_sections,
            "seconds_of_rest": max(sections - in_sections, 0),
            "minutes": (sum(cost["seconds"] for cost in usual) + sections) / 60,
            "runs": costs,
            "device": "; ".join(sorted({cost["device"] for cost in usual})) or "n/a",
        }


def train(report: Report, name: str, sweep: str, changes: list[str], quick: list[str]) -> None:
    """Calls `tmsjax run` on one sweep, which leaves a complete run as it is. "{runs}" in a change: where runs are."""
    command = [sys.executable, "-m", "tmsjax.cli", "run", str(ROOT / "sweeps" / f"{sweep}.toml")]
    command += ["--out", str(report.out / "runs" / name)]
    for change in [*changes, *(quick if report.quick else [])]:
        command += ["--set", change.replace("{runs}", str((report.out / "runs").resolve()))]
    print("$ tmsjax", *command[3:], flush=True)
    start = time.monotonic()
    done = subprocess.run(command, check=False).returncode
    if done:
        raise SystemExit(done)
    before = report.numbers.get("all", {})
    costs = before.get("runs", {})
    info = report.run(name).directory.info()
    spent = costs.get(name, {}).get("seconds", 0) + time.monotonic() - start  # sum over calls
    stages = ("seconds_of_compiling", "seconds_of_training", "seconds_of_results")
    spent = max(spent, sum(info[stage] for stage in stages))  # a run may have been trained before, by `tmsjax run`
    cost = {"seconds": spent, "training": info["seconds_of_training"], "device": info["device"]}
    report.keep("all", {**before, "runs": {**costs, name: cost}})


def table(head: list[str], rows: Rows) -> str:
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def percent(values: Any) -> list[str]:
    return [f"{v:.1%}" for v in values]


def render(template: str, numbers: dict, tables: Tables) -> str:
    """Fills {{section.name:format}} and {{table name}} into the template; n/a for a number that was not made."""

    def fill(found: re.Match) -> str:
        text = found[1].strip()
        try:
            if text.startswith("table "):
                return tables[text.removeprefix("table ")](numbers)
            path, _, form = text.partition(":")
            value: Any = numbers
            for part in path.split("."):
                value = value[int(part)] if isinstance(value, list) else value[part]
            return format(value, form)
        except (KeyError, IndexError):
            return "n/a"

    return re.sub(r"\{\{(.+?)\}\}", fill, template)
