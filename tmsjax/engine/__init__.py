"""Engine: many instances at once.

The one vmap over instances and jit stand in ensemble.py, how the work is cut in plan.py, one instance's state, init and
step in train.py. Random bits are counted from each instance's identity (threefry.py), so that no instance depends on
another. machine.py tells what the machine has. Knows kinds, spec and models.
"""

from tmsjax.engine import threefry, train
from tmsjax.engine.ensemble import WIDE_VECTORS, Ensemble, directions
from tmsjax.engine.machine import (
    available_memory,
    cores,
    device_line,
    forget_peak_memory,
    peak_memory,
    processor_features,
)
from tmsjax.engine.plan import Plan, plan
from tmsjax.engine.train import TrainState

__all__ = [
    "WIDE_VECTORS",
    "Ensemble",
    "Plan",
    "TrainState",
    "available_memory",
    "cores",
    "device_line",
    "directions",
    "forget_peak_memory",
    "peak_memory",
    "plan",
    "processor_features",
    "threefry",
    "train",
]
