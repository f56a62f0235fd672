"""Times the engine against PyTorch, a plain vmap and the machine's limits, each in its own process.

bash scripts/bench.sh [--quick] [--rounds N] [--json FILE]
bash scripts/bench.sh --curve DIR      the engine's rate for many sizes, with a figure, into DIR
bash scripts/bench.sh --first          the first sweeps of a process, and from how many seeds on they beat others
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import first, suite, throughput
from tmsjax import plots
from tmsjax.runs import write_dataset, write_json
from tmsjax.terminal import guarded, make_folder, say


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small workload; takes a minute")
    parser.add_argument("--first", action="store_true", help="instead: time cold processes")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="with --first: also time this version")
    parser.add_argument("--rounds", type=int, help="number of alternating rounds (default 5; of --first 3)")
    outputs = parser.add_mutually_exclusive_group()
    outputs.add_argument("--json", type=Path, metavar="FILE", help="also write the result to this file")
    outputs.add_argument("--curve", type=Path, metavar="DIR", help="instead: measure the engine's rate for many sizes")
    options = parser.parse_args(arguments)
    rounds = (3 if options.first else 5) if options.rounds is None else options.rounds
    if rounds < 1:
        parser.error("--rounds: at least 1")
    if options.first and options.curve is not None:
        parser.error("--curve: not with --first")
    if options.before is not None and not options.first:
        parser.error("--before: only with --first")
    if options.curve is not None:
        make_folder(options.curve)
        measured = throughput.curve(say)
        write_dataset(options.curve / "throughput.nc", measured)
        for path in plots.save(throughput.figure(measured), options.curve / "throughput"):
            say(str(path))
        return
    if options.json is not None:
        make_folder(options.json.parent)
    if options.first:
        result = first.run_first(options.quick, rounds, options.before, say)
    else:
        result = suite.run_suite(options.quick, rounds, say)
    if options.json is not None:
        write_json(options.json, result)


if __name__ == "__main__":
    guarded(main)
