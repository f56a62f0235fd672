"""Models: one instance, as pure functions that do not know of any other.

An instance is what is swept (instances.py); a model is what its family and activation make of one sample (model.py);
samples come from bits (sampling.py); the loss is sampled or exact (loss.py, expected.py). Small models are held as
separate scalars (scalars.py), for which the same functions serve. Knows kinds and spec.
"""

from tmsjax.models import expected, loss, model, sampling, scalars
from tmsjax.models.expected import relu_loss
from tmsjax.models.instances import Instance, identities, inputs, instances
from tmsjax.models.loss import linear_loss, of_zero_model
from tmsjax.models.scalars import Scalars, as_arrays, held_as_scalars, join, joined, split
from tmsjax.models.trial import check_spec, elementwise_model

__all__ = [
    "Instance",
    "Scalars",
    "as_arrays",
    "check_spec",
    "elementwise_model",
    "expected",
    "held_as_scalars",
    "identities",
    "inputs",
    "instances",
    "join",
    "joined",
    "linear_loss",
    "loss",
    "model",
    "of_zero_model",
    "relu_loss",
    "sampling",
    "scalars",
    "split",
]
