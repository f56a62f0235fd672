"""The loss of one instance: sum over features of I_i (target_i - output_i)^2, mean over samples.

The paper's notebook takes the mean over features too, which divides this by n.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax import data, model, theory
from tmsjax.grid import Instance
from tmsjax.scalars import as_arrays, joined, objects
from tmsjax.spec import Spec


def total(params: Any, instance: Instance, bits: jax.Array, offset: Any, spec: Spec) -> jax.Array:
    """The sum over samples of the loss. `bits`: (samples, columns) uint32; `offset` (columns,) is added to each.

    Parameters held as Scalars are written out sample by sample, arrays are mapped over the samples.
    """
    params, instance, offset = as_arrays((params, instance, offset))
    if isinstance(offset, np.ndarray):
        samples, columns = bits.shape
        rows = [[bits[s, i] for i in range(columns)] for s in range(samples)]
        terms = [_one(params, instance, objects(row, offset.shape) + offset, spec) for row in rows]
        return sum(terms[1:], terms[0])
    return jnp.sum(jax.vmap(lambda word: _one(params, instance, word + offset, spec))(bits))


def _one(params: Any, instance: Instance, bits: Any, spec: Spec) -> Any:
    """The loss of one sample, drawn from `columns` words of bits."""
    x = data.sample(bits, instance, spec.data)
    error = model.target(x, spec.model) - model.apply(params, x, spec.model)
    return (instance.importance * (error * error)).sum()


def exact(params: Any, instance: Instance, spec: Spec) -> Any:
    """The expected loss in closed form; see theory.py. Only where `spec.exact_loss` names one."""
    held = as_arrays if spec.exact_loss == "relu2" else joined  # matrix products need arrays
    params, instance = held((params, instance))
    W, b = params["W"], params["b"]
    importance, probability = instance.importance, instance.feature_probability
    if spec.exact_loss == "relu2":
        a = [(W[:, i] * W[:, i]).sum() for i in (0, 1)]
        overlap = (W[:, 0] * W[:, 1]).sum()
        return theory.relu2_loss_elementwise(a, overlap, b, importance, probability, tied=spec.data.activity == "tied")
    if spec.exact_loss == "linear":
        mean, covariance = data.mean(probability, spec.data), data.covariance(probability, spec.data)
        return theory.linear_loss(W, b, importance, mean, covariance)
    raise ValueError("no exact loss is known for this model")


def of_zero_model(importance: np.ndarray, probability: np.ndarray, spec: Spec) -> np.ndarray:
    """The loss of a model whose output is 0: sum_i I_i p_i E v^2, shape (...)."""
    return np.sum(importance * probability, axis=-1) * data.VALUES[spec.data.values].second_moment
