"""Models: pure functions of one instance.

An instance (instance.py) holds the swept quantities, of which a spec has a table (instances.py). `bind` resolves the
names of a spec to a Problem (problem.py): the model's functions, its samples, computed from random bits (sampling.py),
fresh at every step, those of a finite set (training_set.py) or rows in epochs (epochs.py), its loss, sampled or exact
(loss.py, expected.py), and its optimizer (optimized.py). Imports kinds and spec.
"""

from tmsjax.models import epochs, sampling, training_set
from tmsjax.models.expected import relu_loss as exact_loss
from tmsjax.models.instance import Instance
from tmsjax.models.instances import inputs, instances
from tmsjax.models.loss import of_zero_model
from tmsjax.models.moments import Moments, moments
from tmsjax.models.problem import Problem, bind
from tmsjax.models.trial import check_spec

__all__ = [
    "Instance",
    "Moments",
    "Problem",
    "bind",
    "check_spec",
    "epochs",
    "exact_loss",
    "inputs",
    "instances",
    "moments",
    "of_zero_model",
    "sampling",
    "training_set",
]
