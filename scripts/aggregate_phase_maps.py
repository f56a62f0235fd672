"""Summarize the phase maps of run directories, by one or several selection rules.

    python scripts/aggregate_phase_maps.py RUN [RUN ...] [--select best --select paper]

Prints one row per run and rule: cells in each phase, share of inits that succeeded, diverged models.
"""

from pathlib import Path
from typing import Annotated

import typer

import tmsjax
from tmsjax.terminal import guarded


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    select: Annotated[list[str] | None, typer.Option(help="best, paper or vote; may be repeated.")] = None,
) -> None:
    for path in runs:
        dataset = tmsjax.open_run(path).dataset
        for rule in select or ["best", "paper", "vote"]:
            mapped = tmsjax.phase_map(dataset, rule)
            names = mapped["phase"].attrs["flag_meanings"].split()
            counts = "  ".join(f"{name} {int((mapped['phase'] == k).sum())}" for k, name in enumerate(names))
            success = float(mapped["success"].mean())
            typer.echo(f"{path}  {rule:5s}  {counts}  success {success:.1%}  diverged {int(mapped['failed'].sum())}")


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
