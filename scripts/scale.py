"""The whole command from 1 model to 10^8: time, models/s, memory and disk. Writes a table, as Markdown, to stdout.

    python scripts/scale.py DIR [--most 100000000]

Each size is a one-neuron sweep of sweeps/one_neuron_billion.toml with fewer cells, trained by `tmsjax run` in a process
of its own, after one small run that fills the cache of compiled programs. Removes each run after it is measured.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from tmsjax.terminal import guarded

CELLS = {1: (1, 1), 10: (1, 1), 10**2: (2, 5), 10**3: (10, 10), 10**4: (25, 40), 10**5: (100, 100), 10**6: (250, 400)}
CELLS |= {10**7: (1000, 1000), 10**8: (3200, 3125), 10**9: (10_000, 10_000)}  # feature probabilities, importances
SPEC = Path(__file__).parents[1] / "sweeps" / "one_neuron_billion.toml"


def row(models: int, folder: Path) -> str:
    """Trains one size; a row of the table."""
    probabilities, importances = CELLS[models]
    out = folder / str(models)
    sizes = {
        "axes.feature_probability.count": probabilities,
        "axes.extra_importance.count": importances,
        "axes.replica.count": min(models, 10),
        "init.signs": "random" if models == 1 else "stratified",
    }
    options = [part for key, value in sizes.items() for part in ("--set", f"{key}={value}")]
    command = ["tmsjax", "run", str(SPEC), "--out", str(out), *options]
    done = subprocess.run(["python", str(SPEC.parents[1] / "scripts" / "measured.py"), *command], capture_output=True)
    text = done.stdout.decode()
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    training = float(re.search(r"models in ([\d.]+) s", text)[1])  # type: ignore[index]
    whole, peak = re.search(r"tmsjax run: ([\d.]+) s, peak memory ([\d.]+) GB", text).groups()  # type: ignore[union-attr]
    disk = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    shutil.rmtree(out)
    cells = [f"{models:,}", f"{training:.1f}", whole, f"{models / float(whole):,.0f}", peak, f"{disk / 1e6:,.1f}"]
    return "| " + " | ".join(cells) + " |"


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs go.")],
    most: Annotated[int, typer.Option(help="The largest number of models.")] = 10**8,
) -> None:
    row(1000, folder)
    print("| models | training, s | whole command, s | models/s of the whole | peak memory, GB | disk, MB |")
    print("|---|---|---|---|---|---|")
    for models in CELLS:
        if models <= most:
            print(row(models, folder), flush=True)


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
