"""The whole command from 1 model to 10^8: time, models/s, memory and disk. Prints a table as Markdown, draws a figure.

    python scripts/scale.py DIR [--most 100000000] [--run RUN]

Each size is sweeps/one_neuron_billion.toml with fewer cells, trained by `tmsjax run` in a process of its own, after one
small run that fills the cache of compiled programs. Removes each run after it is measured. `--run`: a finished run to
add as the last row, such as that of scripts/billion.sh; its time is from its first start to its end. The figure is
DIR/scale.png.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tmsjax import plots
from tmsjax.runs import open_run
from tmsjax.terminal import guarded

CELLS = {1: (1, 1), 10: (1, 1), 10**2: (2, 5), 10**3: (10, 10), 10**4: (25, 40), 10**5: (100, 100), 10**6: (250, 400)}
CELLS |= {10**7: (1000, 1000), 10**8: (3200, 3125), 10**9: (10_000, 10_000)}  # feature probabilities, importances
SCRIPTS = Path(__file__).parent
SPEC = SCRIPTS.parent / "sweeps" / "one_neuron_billion.toml"


@dataclass(frozen=True)
class Row:
    """What one size took: seconds of training and of the whole command, GB of memory, MB of disk."""

    models: int
    training: float
    whole: float
    memory: float
    disk: float

    def __str__(self) -> str:
        models, training, whole, memory, disk = astuple(self)
        cells = [f"{models:,}", f"{training:.1f}", f"{whole:.1f}", f"{models / whole:,.3g}", f"{memory:.2f}"]
        return "| " + " | ".join([*cells, f"{disk:,.1f}"]) + " |"


def measured(models: int, folder: Path) -> Row:
    """Trains one size."""
    probabilities, importances = CELLS[models]
    out = folder / str(models)
    sizes = {
        "axes.feature_probability.count": probabilities,
        "axes.extra_importance.count": importances,
        "axes.replica.count": min(models, 10),
        "init.signs": "random" if models == 1 else "stratified",
    }
    options = [part for key, value in sizes.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, SCRIPTS / "measured.py", "tmsjax", "run", SPEC, "--out", out, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    whole, memory = map(float, re.findall(r"tmsjax run: ([\d.]+) s, peak memory ([\d.]+) GB", done.stdout)[0])
    row = Row(models, facts(out)["seconds_of_training"], whole, memory, disk(out))
    shutil.rmtree(out)
    return row


def stored(out: Path) -> Row:
    """A finished run."""
    info = facts(out)
    times = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    ends = [time.mktime(time.strptime(t["time"][:19], "%Y-%m-%dT%H:%M:%S")) for t in times]
    memory = info["peak_memory_bytes"] / 1e9
    return Row(info["models"], info["seconds_of_training"], ends[-1] - ends[0], memory, disk(out))


def facts(out: Path) -> dict[str, Any]:
    directory = open_run(out).directory
    assert directory is not None
    return directory.info()


def disk(out: Path) -> float:
    """Megabytes of a run without what was made of it later."""
    files = [*(out / "results").rglob("*"), *out.glob("*")]
    return sum(p.stat().st_size for p in files if p.is_file()) / 1e6


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs and the figure go.")],
    most: Annotated[int, typer.Option(help="The largest number of models to train.")] = 10**8,
    run: Annotated[Path | None, typer.Option(help="A finished run for the last row.")] = None,
) -> None:
    measured(1000, folder)
    print("| models | training, s | whole command, s | models/s of the whole | peak memory, GB | disk, MB |")
    print("|---|---|---|---|---|---|")
    rows = []
    for models in [models for models in CELLS if models <= most]:
        rows.append(measured(models, folder))
        print(rows[-1], flush=True)
    if run is not None:
        rows.append(stored(run))
        print(rows[-1])
    panels = {
        "models/s of the whole command": [row.models / row.whole for row in rows],
        "peak memory, GB": [row.memory for row in rows],
        "disk, MB": [row.disk for row in rows],
    }
    for path in plots.save(plots.scale([row.models for row in rows], panels), folder / "scale"):
        print(path)


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
