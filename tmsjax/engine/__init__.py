"""Engine: trains many instances at once.

train.py defines the state, init and step of one instance; segment.py vmaps steps over a block of instances, in the
form that suits the device (hoisting.py, lanes.py, kernel.py); ensemble.py compiles and calls it, as plan.py splits the
work. Random bits come from counters keyed by an instance's identity (threefry.py), so no instance depends on another;
training_set.py regenerates a finite training set.
machine.py describes the hardware, cache.py keeps compiled programs. forecast.py says what programs need on a chip that
is not here (ahead.py compiles, hlo.py, listing.py and ptx.py read). Imports kinds, spec and models.
"""

from tmsjax.engine import threefry, train
from tmsjax.engine.cache import keep_programs
from tmsjax.engine.chips import CHIPS
from tmsjax.engine.ensemble import WIDE_VECTORS, Ensemble, directions
from tmsjax.engine.forecast import LAUNCH_SECONDS, READ_SECONDS, Forecast, Launches, forecast
from tmsjax.engine.machine import (
    available_memory,
    cores,
    device_line,
    forget_peak_memory,
    peak_memory,
    processor_features,
    processor_name,
)
from tmsjax.engine.plan import Plan, plan, stored_plan
from tmsjax.engine.train import TrainState
from tmsjax.engine.training_set import training_set

__all__ = [
    "CHIPS",
    "LAUNCH_SECONDS",
    "READ_SECONDS",
    "WIDE_VECTORS",
    "Ensemble",
    "Forecast",
    "Launches",
    "Plan",
    "TrainState",
    "available_memory",
    "cores",
    "device_line",
    "directions",
    "forecast",
    "forget_peak_memory",
    "keep_programs",
    "peak_memory",
    "plan",
    "processor_features",
    "processor_name",
    "stored_plan",
    "threefry",
    "train",
    "training_set",
]
