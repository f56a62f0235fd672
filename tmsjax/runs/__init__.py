"""Runs: a run and its life.

A run directory holds spec, provenance, checkpoints and results (store.py), every file written whole and verified when
read (files.py, checkpoint.py, which has the only orbax). sweep.py trains one, alone, in shards (shard.py, merge.py) or in
several processes (processes.py); run.py is the handle that its user gets; capacity.py and estimate.py say beforehand what
it needs. What only reads runs needs no jax. Knows kinds, spec, models and engine.
"""

from typing import TYPE_CHECKING

from tmsjax.lazy import attach
from tmsjax.runs.files import check_space, megabytes, read_dataset, write_dataset, write_json, write_text
from tmsjax.runs.run import Run, open_run
from tmsjax.runs.shard import Shard
from tmsjax.runs.store import RunDirectory, free_name, provenance

if TYPE_CHECKING:
    from tmsjax.runs import processes as processes
    from tmsjax.runs.checkpoint import Checkpoints
    from tmsjax.runs.estimate import estimate
    from tmsjax.runs.merge import merge_shards
    from tmsjax.runs.sweep import Progress, run_sweep

__getattr__ = attach(
    __name__,
    {
        "Checkpoints": "checkpoint",
        "Progress": "sweep",
        "estimate": "estimate",
        "merge_shards": "merge",
        "processes": "processes:",
        "run_sweep": "sweep",
    },
)
__all__ = [
    "Checkpoints",
    "Progress",
    "Run",
    "RunDirectory",
    "Shard",
    "check_space",
    "estimate",
    "free_name",
    "megabytes",
    "merge_shards",
    "open_run",
    "processes",
    "provenance",
    "read_dataset",
    "run_sweep",
    "write_dataset",
    "write_json",
    "write_text",
]
