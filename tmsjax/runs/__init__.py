"""Runs: training a sweep, storing it, reopening it.

sweep.py runs a spec: opening.py finds or begins the directory, then trainers.py has the missing units trained: here
(here.py) or by workers (crew.py, remote.py) on this machine (workers.py) or a cluster (cluster.py). unit.py trains a
unit: training.py loops over segments, history.py records, results.py builds the dataset, store.py writes it. Files
appear whole and are verified when read (files.py, directory.py, checkpoint.py, which alone imports orbax). run.py is
the user's handle; capacity.py and estimate.py predict what a run needs, tuning.py finds a fast plan. Reading a run
imports no jax.
"""

from typing import TYPE_CHECKING

from tmsjax.lazy import attach
from tmsjax.runs.directory import RunDirectory, provenance, set_aside
from tmsjax.runs.files import as_path, read_dataset, write_dataset, write_json, write_text, write_whole
from tmsjax.runs.progress import Progress, counted, progress_bar
from tmsjax.runs.run import Run, as_run, open_run, results_of
from tmsjax.runs.share import Share, check_crew
from tmsjax.runs.store import Store

if TYPE_CHECKING:
    from tmsjax.runs.checkpoint import Checkpoints
    from tmsjax.runs.estimate import estimate, estimate_for
    from tmsjax.runs.html import facts
    from tmsjax.runs.imports import with_imports
    from tmsjax.runs.sweep import run_sweep
    from tmsjax.runs.trainers import connect
    from tmsjax.runs.tuning import tune

__getattr__ = attach(
    __name__,
    {
        "Checkpoints": "checkpoint",
        "connect": "trainers",
        "estimate": "estimate",
        "estimate_for": "estimate",
        "facts": "html",
        "run_sweep": "sweep",
        "tune": "tuning",
        "with_imports": "imports",
    },
)
__all__ = [
    "Checkpoints",
    "Progress",
    "Run",
    "RunDirectory",
    "Share",
    "Store",
    "as_path",
    "as_run",
    "check_crew",
    "connect",
    "counted",
    "estimate",
    "estimate_for",
    "facts",
    "open_run",
    "progress_bar",
    "provenance",
    "read_dataset",
    "results_of",
    "run_sweep",
    "set_aside",
    "tune",
    "with_imports",
    "write_dataset",
    "write_json",
    "write_text",
    "write_whole",
]
