"""Runs: training a sweep, storing it, reopening it.

sweep.py runs a spec: opening.py finds or begins the directory, part.py selects the blocks that this shard and process
train, training.py loops over segments, history.py records, writer.py saves, results.py builds the labelled dataset.
Files are written atomically and verified when read (files.py, directory.py; only checkpoint.py imports orbax). run.py
is the user's handle. capacity.py and estimate.py predict what a run needs. Reading a run does not import jax. Imports
kinds, spec, models and engine.
"""

from typing import TYPE_CHECKING

from tmsjax.lazy import attach
from tmsjax.runs.directory import RunDirectory, free_name, provenance
from tmsjax.runs.files import read_dataset, write_dataset, write_json, write_text
from tmsjax.runs.progress import Progress, counted, progress_bar
from tmsjax.runs.run import Run, open_run
from tmsjax.runs.shard import Shard
from tmsjax.runs.store import Store

if TYPE_CHECKING:
    from tmsjax.runs import processes as processes
    from tmsjax.runs.checkpoint import Checkpoints
    from tmsjax.runs.estimate import estimate
    from tmsjax.runs.imports import with_imports
    from tmsjax.runs.merge import merge_shards
    from tmsjax.runs.sweep import run_sweep

__getattr__ = attach(
    __name__,
    {
        "Checkpoints": "checkpoint",
        "estimate": "estimate",
        "merge_shards": "merge",
        "processes": "processes:",
        "run_sweep": "sweep",
        "with_imports": "imports",
    },
)
__all__ = [
    "Checkpoints",
    "Progress",
    "Run",
    "RunDirectory",
    "Shard",
    "Store",
    "counted",
    "estimate",
    "free_name",
    "merge_shards",
    "open_run",
    "processes",
    "progress_bar",
    "provenance",
    "read_dataset",
    "run_sweep",
    "with_imports",
    "write_dataset",
    "write_json",
    "write_text",
]
