"""Engine: trains many instances at once.

train.py defines the state, init and step of one instance, with gradient.py and streams.py. scalars.py holds small
models as separate scalars, stages.py middle-sized ones as arrays over models and samples. segment.py vmaps steps over a
block of instances, in the form that suits the device (hoisting.py, kernel.py); programs.py compiles it and ensemble.py
calls it, as plan.py splits the work. Random bits come from counters keyed by an instance's identity (threefry.py), so
no instance depends on another; training_set.py regenerates a finite training set. machine.py describes the hardware,
forks.py notices processes in which jax cannot work, cache.py keeps compiled programs on disk, topology.py compiles for
a chip that is not here. Imports kinds, spec and models.
"""

from tmsjax.engine import train
from tmsjax.engine.cache import keep_programs
from tmsjax.engine.ensemble import Ensemble, directions
from tmsjax.engine.forks import check_not_forked
from tmsjax.engine.machine import (
    available_memory,
    cores,
    device_line,
    memory_group,
    peak_memory,
    processor_features,
    resident_memory,
)
from tmsjax.engine.plan import Plan, plan, slow_path, stored_plan, why_arrays
from tmsjax.engine.programs import WIDE_VECTORS
from tmsjax.engine.topology import compile_for
from tmsjax.engine.train import TrainState
from tmsjax.engine.training_set import training_set

__all__ = [
    "WIDE_VECTORS",
    "Ensemble",
    "Plan",
    "TrainState",
    "available_memory",
    "check_not_forked",
    "compile_for",
    "cores",
    "device_line",
    "directions",
    "keep_programs",
    "memory_group",
    "peak_memory",
    "plan",
    "processor_features",
    "resident_memory",
    "slow_path",
    "stored_plan",
    "train",
    "training_set",
    "why_arrays",
]
