"""Models: pure functions of one instance.

An instance holds the swept quantities (instances.py). The model maps one sample to an output, by its family and
activation (model.py). Samples are computed from random bits (sampling.py), fresh at every step or those of a finite set
(training_set.py); the loss is sampled or exact (loss.py, expected.py). The same functions run on small models held as
separate scalars (scalars.py). Imports kinds and spec.
"""

from tmsjax.models import loss, model, sampling, training_set
from tmsjax.models.expected import relu_loss as exact_loss
from tmsjax.models.instances import Instance, inputs, instances, of_activity
from tmsjax.models.loss import of_zero_model
from tmsjax.models.scalars import Scalars, as_arrays, held_as_scalars, joined, split
from tmsjax.models.tracing import elementwise_model
from tmsjax.models.trial import check_spec

__all__ = [
    "Instance",
    "Scalars",
    "as_arrays",
    "check_spec",
    "elementwise_model",
    "exact_loss",
    "held_as_scalars",
    "inputs",
    "instances",
    "joined",
    "loss",
    "model",
    "of_activity",
    "of_zero_model",
    "sampling",
    "split",
    "training_set",
]
