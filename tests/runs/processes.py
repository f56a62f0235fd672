"""Real processes that train one run, for tests of kills, joins and clusters."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from conftest import command, small_spec, write_spec

BRIEF = {"every_seconds": 0.2, "segment_seconds": 0.05}


def sweep(folder: Path, steps: int = 4000, **changes) -> str:
    """The path of a spec of 6 units, each a cell of 300 models."""
    raw = small_spec(train={"steps": steps}, engine={"unit": 300}, checkpoint=BRIEF, **changes)
    raw["axes"]["replica"]["count"] = 300
    return write_spec(folder / "sweep.toml", raw)


def start(*arguments, stderr=subprocess.PIPE) -> subprocess.Popen:
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=stderr, text=True)


def wait_for(what: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 60) -> object:
    """Waits until something is true, while the process runs."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "took too long"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def stored(out: Path) -> list[Path]:
    return sorted((out / "results").glob("[0-9]*.nc"))


def under_way(out: Path) -> list[Path]:
    """Checkpoints of units that have no results yet."""
    return [p for p in out.glob("units/*/checkpoints/[0-9]*") if not (out / f"results/{p.parts[-3]}.nc").exists()]
