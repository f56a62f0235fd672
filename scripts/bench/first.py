"""How long the first sweeps of a process take, and from how many seeds on they beat plain PyTorch and a plain vmap.

Every measurement is made by cold.py in a fresh process with an empty cache of compiled programs. The trainings have the
batch of the paper's figures, but 1000 steps instead of 10,000: enough to converge at this learning rate, and to the
disadvantage of the engine, most of whose time is compiling.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import cold
from bench.suite import ENGINE, Workload, check_same, circumstances, has_torch

ROOT = Path(__file__).parents[2]
SIZES = ((2, 1), (5, 2), (20, 5), (33, 4))
SEEDS = (1, 2, 5, 20)
STORED = "first, stored programs"
CLOCKS = ("wall", "processor")


def fresh(function: Callable[..., dict], *numbers: int, checkout: Path = ROOT, cache: str | None = None) -> dict:
    """What a function of cold.py returns in a fresh process.

    Args:
        function: The function.
        numbers: Its arguments.
        checkout: Whose tmsjax it imports.
        cache: The folder of stored programs. None: an empty one.
    """
    with tempfile.TemporaryDirectory() as empty:
        paths = [str(checkout), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]
        changed = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "XDG_CACHE_HOME": cache or empty}
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | changed
        command = [sys.executable, "-P", "-W", "ignore", "-m", "bench.cold", function.__name__, *map(str, numbers)]
        return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def first_calls(versions: Mapping[str, Path], sizes: Sequence[tuple[int, int]], rounds: int) -> list[dict]:
    """The median seconds of each of cold.CALLS, for every version and size, and of the first in a second process."""
    found = defaultdict(list)
    for _ in range(rounds):
        for n, m in sizes:
            for version, checkout in versions.items():
                with tempfile.TemporaryDirectory() as cache:
                    seconds = fresh(cold.calls, n, m, len(cold.CALLS), checkout=checkout, cache=cache)
                    seconds[STORED] = fresh(cold.calls, n, m, 1, checkout=checkout, cache=cache)["first"]
                for call, spent in seconds.items():
                    found[version, n, m, call].append(spent)
    return _medians(found, "version", "features", "hidden", "call")


def trainings(sizes: Sequence[tuple[int, int]], rounds: int, before: Path | None = None) -> list[dict]:
    """The median seconds of training SEEDS in each way. Raises RunFailed if a way learns something else."""
    ways: dict[str, tuple[Callable, Path]] = {ENGINE: (cold.engine, ROOT), "JAX vmap": (cold.vmap, ROOT)}
    if before is not None:
        ways["engine, before"] = (cold.engine, before)
    if has_torch():
        ways["PyTorch"] = (cold.torch, ROOT)
    found = defaultdict(list)
    for _ in range(rounds):
        for n, m in sizes:
            reached = {}
            for way, (function, checkout) in ways.items():
                for seeds in [SEEDS] if function is cold.torch else [(k,) for k in SEEDS]:
                    result = fresh(function, n, m, *seeds, checkout=checkout)
                    for count, spent in result["seconds"].items():
                        found[way, n, m, int(count)].append(spent)
                reached[way] = {"check_loss": result["loss"]}
            check_same(Workload(n, m, SEEDS[-1], cold.BATCH), reached)
    return _medians(found, "way", "features", "hidden", "seeds")


def _medians(found: Mapping[tuple, list], *names: str) -> list[dict]:
    rows = []
    for key, spent in found.items():
        clocks = (statistics.median(each) for each in zip(*spent, strict=True))
        rows.append(dict(zip((*names, *CLOCKS), (*key, *clocks), strict=True)))
    return rows


def wins_from(ours: Mapping[int, float], theirs: Mapping[int, float]) -> int | None:
    """The number of seeds from which on `ours`, seconds by number of seeds, is the smaller; linear in between.

    None if it is not the smaller at the largest number.
    """
    seeds = sorted(ours)
    lead = [theirs[k] - ours[k] for k in seeds]
    last = max((k for k, x in enumerate(lead) if x <= 0), default=-1)  # where it is not the smaller
    if last == len(seeds) - 1:
        return None
    if last < 0:
        return seeds[0]
    slope = (lead[last + 1] - lead[last]) / (seeds[last + 1] - seeds[last])
    return math.floor(seeds[last] - lead[last] / slope) + 1


def wins(rows: Sequence[dict]) -> list[dict]:
    """From how many seeds on the engine beats each other way, in wall and in processor seconds."""
    seconds: dict[tuple, dict] = defaultdict(dict)
    for row in rows:
        seconds[row["way"], row["features"], row["hidden"]][row["seeds"]] = row
    return [
        {"way": way, "features": n, "hidden": m}
        | {c: wins_from(_of(c, seconds[ENGINE, n, m]), _of(c, theirs)) for c in CLOCKS}
        for (way, n, m), theirs in seconds.items()
        if way != ENGINE
    ]


def _of(clock: str, rows: Mapping[int, dict]) -> dict[int, float]:
    return {seeds: row[clock] for seeds, row in rows.items()}


def table(rows: Sequence[dict], column: str) -> str:
    """Rows in Markdown, with "wall / processor" in a column for each value of `column`."""
    names = [name for name in rows[0] if name not in (column, *CLOCKS)]
    cells: dict[tuple, dict] = defaultdict(dict)
    for row in rows:
        pair = ["never" if row[clock] is None else f"{row[clock]:.3g}" for clock in CLOCKS]
        cells[tuple(str(row[name]) for name in names)][str(row[column])] = " / ".join(pair)
    columns = list(dict.fromkeys(str(row[column]) for row in rows))
    lines = [[*names, *columns], ["---"] * (len(names) + len(columns))]
    lines += [[*label, *(found.get(name, "") for name in columns)] for label, found in cells.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def run_first(quick: bool, rounds: int, before: Path | None, say: Callable[[str], None]) -> dict:
    """Measures: prints tables by `say` and returns what `--json` writes. `before`: a checkout to measure as well."""
    versions = {"this": ROOT} | ({"before": before} if before else {})
    result = circumstances() | {"rounds": rounds}
    result["calls"] = first_calls(versions, SIZES[:1] if quick else SIZES, rounds)
    say("4 models, 20 steps: wall / processor seconds\n\n" + table(result["calls"], "call"))
    if not quick:
        result["trainings"] = trainings(SIZES, rounds, before)
        result["wins"] = wins(result["trainings"])
        say(f"\n{cold.STEPS} steps, batch {cold.BATCH}: wall / processor seconds by number of seeds\n")
        say(table(result["trainings"], "seeds"))
        say("\nthe engine is faster from how many seeds on, by wall / processor\n\n" + table(result["wins"], "way"))
        if not has_torch():
            say("torch is not installed")
    return result
