"""The loss of one instance: sum over features of I_i (target_i - output_i)^2, mean over samples.

The paper's notebook takes the mean over features too, which divides this by n.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax import data, expected, model, theory
from tmsjax.grid import Instance
from tmsjax.scalars import as_arrays, held_as_scalars, joined
from tmsjax.spec import Spec


def one(params: Any, instance: Instance, word: Any, offset: Any, spec: Spec) -> Any:
    """The loss of one sample. `word`: (columns,) uint32, which the instance's `offset` (columns,) moves."""
    params, instance, word, offset = as_arrays((params, instance, word, offset))
    x = data.sample(data.rotate(word, offset, spec.train.streams), instance, spec.data)
    error = model.target(x, spec.model) - model.apply(params, x, spec.model)
    return (instance.importance * (error * error)).sum()


def total(params: Any, instance: Instance, words: Any, offset: Any, spec: Spec) -> jax.Array:
    """The sum of the loss over samples. `words`: (samples, columns) uint32, or Scalars of (samples,) columns."""
    return jnp.sum(jax.vmap(lambda word: one(params, instance, word, offset, spec))(words))


def gradient(params: Any, instance: Instance, words: Any, offset: Any, spec: Spec, unroll: int) -> Any:
    """The gradient of `total`.

    Of arrays it is the gradient of the sum: matrix products over the samples. Of Scalars it is the sum of the
    samples' gradients, all parameters in one reduction: XLA makes one kernel of it, which runs through the samples
    with a model's parameters and sums in registers. (Sums of their own would each repeat the forward pass.)
    `unroll`: samples written out in the kernel's body.
    """
    if not held_as_scalars(params):
        return jax.grad(total)(params, instance, words, offset, spec)

    def of_group(words: Any) -> Any:
        def loss(params: Any) -> Any:
            of_sample = [jax.tree.map(itemgetter(k), words) for k in range(unroll)]
            return sum(one(params, instance, word, offset, spec) for word in of_sample)

        return jax.grad(loss)(params)

    groups = jax.tree.map(lambda column: column.reshape(-1, unroll), words)
    leaves, tree = jax.tree.flatten(jax.vmap(of_group)(groups))
    zeros = [np.float32(0)] * len(leaves)
    sums = jax.lax.reduce(leaves, zeros, lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (0,))
    return jax.tree.unflatten(tree, sums)


def exact(params: Any, instance: Instance, spec: Spec) -> Any:
    """The expected loss without samples. Only where `spec.exact_loss` names one."""
    if spec.exact_loss == "linear":
        params, instance = joined((params, instance))  # matrix products need arrays
        W, b = params["W"], params.get("b", np.float32(0))
        probability = instance.feature_probability
        mean, covariance = data.mean(probability, spec.data), data.covariance(probability, spec.data)
        return theory.linear_loss(W, b, instance.importance, mean, covariance)
    if spec.exact_loss == "relu":
        params, instance = as_arrays((params, instance))
        W, features = params["W"], range(spec.model.features)
        gram = [[(W[:, i] * W[:, j]).sum() for j in features] for i in features]
        b = params.get("b", [jnp.zeros_like(gram[0][0])] * len(features))
        lists = ([v[i] for i in features] for v in (b, instance.importance, instance.feature_probability))
        return expected.relu_loss_elementwise(gram, *lists, tied=spec.data.activity == "tied")
    raise ValueError("no exact loss is known for this model")


def of_zero_model(importance: np.ndarray, probability: np.ndarray, spec: Spec) -> np.ndarray:
    """The loss of a model whose output is 0: sum_i I_i p_i E v^2, shape (...)."""
    return np.sum(importance * probability, axis=-1) * data.VALUES[spec.data.values].moments.square
