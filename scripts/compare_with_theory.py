"""Compare run directories with theory and print the agreement for every selection rule.

    python scripts/compare_with_theory.py RUN [RUN ...]

Writes only theory.nc, comparison.json and report.md (for the rule "best") into each run's directory.
"""

from pathlib import Path
from typing import Annotated

import typer

import tmsjax
from tmsjax.terminal import guarded


def main(runs: Annotated[list[Path], typer.Argument(help="Run directories.")]) -> None:
    for path in runs:
        for rule in ("vote", "paper", "best"):
            result = tmsjax.compare(path, rule)
            shares = (f"{name} {result[name]['agreement']:.2%}" for name in ("candidate", "exact") if name in result)
            typer.echo(f"{path}  {rule:5s}  {'  '.join(shares) or 'no theory applies'}")


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
