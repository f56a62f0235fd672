"""Measures the models that the field trains: tmsjax beside plain JAX and plain PyTorch, each in its own process.

PYTHONPATH=scripts python -m bench.field [--quick] [--rows NAMES] [--rounds N] [--json FILE]
PYTHONPATH=scripts python -m bench.field --published [--json FILE]      results beside published numbers
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.field import measure, published
from tmsjax.runs import write_json
from tmsjax.terminal import guarded, make_folder, say


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three small rows in short rounds; takes a minute")
    parser.add_argument("--rows", metavar="NAMES", help="names of rows, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="number of alternating rounds (default 3)")
    parser.add_argument("--published", action="store_true", help="instead: train what others published")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to this file")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    known = {row.name: row for row in measure.ROWS}
    chosen = measure.QUICK if options.quick else measure.ROWS
    names = options.rows.split(",") if options.rows else [row.name for row in chosen]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--rows: no row {unknown[0]!r}; rows are {', '.join(known)}")
    if options.json is not None:
        make_folder(options.json.parent)
    with tempfile.TemporaryDirectory() as folder:
        if options.published:
            result = published.run(Path(folder), options.quick, say)
        else:
            rows, seconds = [known[name] for name in names], 0.2 if options.quick else 1.0
            result = measure.run_table(rows, Path(folder), options.rounds, seconds, say)
            say(f"\nprocessor seconds per 1e6 samples, medians of {options.rounds} rounds\n")
            say(measure.table(result["rows"]))
    if options.json is not None:
        write_json(options.json, result)


if __name__ == "__main__":
    guarded(main)
