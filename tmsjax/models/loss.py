"""The loss of one instance: sum over outputs of I_i (target_i - output_i)^2, mean over samples.

The paper's notebook also takes the mean over features, so its loss is smaller by a factor of n.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.kinds import VALUES
from tmsjax.models import expected, model, sampling, training_set
from tmsjax.models.attack import attacked
from tmsjax.models.instances import Instance
from tmsjax.models.scalars import as_arrays, held_as_scalars, joined
from tmsjax.spec import ATTACK, SAMPLES, Spec


def one(params: Any, instance: Instance, word: Any, offset: Any, spec: Spec, penalised: bool = False) -> Any:
    """The loss of one sample. `word`: (columns,) uint32 random bits, shifted by the instance's `offset` (columns,).

    `penalised`: as in training, with the spec's attack on the sample and the family's penalty, where they exist; of a
    finite training set, `word` and `offset` have one more column, and the loss is weighted (see training_set.py).
    """
    params, instance, word, offset = as_arrays((params, instance, word, offset))
    share = None
    if penalised and SAMPLES in instance.options:
        bits, share = training_set.member(word, offset, spec.train.batch)
    else:
        bits = sampling.rotate(word, offset, spec.train.streams)
    x = sampling.inputs(bits, instance, spec)
    target = model.target(x, instance, spec.model)
    if penalised and ATTACK in instance.options:
        x = attacked(params, x, target, instance, spec.model, instance.options[ATTACK])
    loss = _weighted_square(target - model.apply(params, x, instance, spec.model), instance)
    extra = model.penalty(params, x, instance, spec.model) if penalised else None
    loss = loss if extra is None else loss + extra
    return loss if share is None else share * loss


def total(params: Any, instance: Instance, words: Any, offset: Any, spec: Spec, penalised: bool = False) -> jax.Array:
    """The sum of the loss over samples. `words`: (samples, columns) uint32, or Scalars of (samples,) columns."""
    return jnp.sum(jax.vmap(lambda word: one(params, instance, word, offset, spec, penalised))(words))


def zero_total(instance: Instance, words: Any, offset: Any, spec: Spec) -> jax.Array:
    """`total` of a model whose output is 0."""

    def one_sample(word: Any) -> Any:
        row, own, shift = as_arrays((instance, word, offset))
        x = sampling.inputs(sampling.rotate(own, shift, spec.train.streams), row, spec)
        target = model.target(x, row, spec.model)
        return _weighted_square(target, row)

    return jnp.sum(jax.vmap(one_sample)(words))


def _weighted_square(error: Any, instance: Instance) -> Any:
    """sum_i I_i error_i^2 of one sample. There may be fewer outputs than features; output i has importance I_i."""
    outputs, importance = error.shape[0], instance.importance
    importance = importance if outputs == importance.shape[0] else importance[:outputs]
    return (importance * (error * error)).sum()


def gradient(params: Any, instance: Instance, words: Any, offset: Any, spec: Spec) -> Any:
    """The gradient of `total`, penalised.

    For arrays, this is the gradient of the sum: matrix products over the samples. For Scalars, it is the sum of the
    per-sample gradients, with all parameters in one reduction. XLA compiles it to one kernel that loops over samples
    and keeps a model's parameters and sums in registers; separate sums would each repeat the forward pass.
    """
    if not held_as_scalars(params):
        return jax.grad(total)(params, instance, words, offset, spec, penalised=True)
    every = jax.vmap(lambda word: of_samples(params, instance, [word], offset, spec))(words)
    leaves, tree = jax.tree.flatten(every)
    return jax.tree.unflatten(tree, sums(leaves))


def of_samples(params: Any, instance: Instance, words: list, offset: Any, spec: Spec) -> Any:
    """The gradient of the penalised loss, summed over a few samples. `words`: of each sample, as in `one`."""

    def loss(params: Any) -> Any:
        return sum(one(params, instance, word, offset, spec, penalised=True) for word in words)

    return jax.grad(loss)(params)


def sums(leaves: list) -> list:
    """The sums of arrays over their first axis, in one reduction."""
    zeros = [np.zeros((), leaf.dtype) for leaf in leaves]
    return jax.lax.reduce(leaves, zeros, lambda a, b: [x + y for x, y in zip(a, b, strict=True)], (0,))


def exact(params: Any, instance: Instance, spec: Spec) -> Any:
    """The exact expected loss. Raises ValueError if `spec.exact_loss` is None."""
    own = instance.own("data")
    if spec.exact_loss == "linear":
        params, instance = joined((params, instance))  # matrix products need arrays
        W, b = params["W"], params.get("b", np.float32(0))
        probability = instance.feature_probability
        mean, covariance = (f(probability, spec.data, own) for f in (sampling.mean, sampling.covariance))
        return linear_loss(W, b, instance.importance, mean, covariance)
    if spec.exact_loss == "relu" and spec.drawn.most_active() == 1:
        params, instance = joined((params, instance))
        W = params["W"]
        b = params.get("b", jnp.zeros_like(instance.importance))
        marginal = spec.data.drawn(spec.model.features, own).marginal(instance.feature_probability)
        return expected.relu_loss_of_single_features(W.T @ W, b, instance.importance, marginal)
    if spec.exact_loss == "relu":
        params, instance = as_arrays((params, instance))
        W, features = params["W"], range(spec.model.features)
        gram = [[(W[:, i] * W[:, j]).sum() for j in features] for i in features]
        b = params.get("b", [jnp.zeros_like(gram[0][0])] * len(features))
        b, importance, p = ([v[i] for i in features] for v in (b, instance.importance, instance.feature_probability))
        return expected.relu_loss_elementwise(gram, b, importance, p, spec.data.drawn(len(p), own))
    raise ValueError("no exact loss is known for this model")


def linear_loss(W: Any, b: Any, importance: Any, mean: Any, covariance: Any) -> Any:
    """Exact loss of x' = W^T W x + b for any n, shape (...): squared mean plus variance of A x - b, A = 1 - W^T W.

    W (..., m, n), b, importance, mean (..., n), covariance (..., n, n). The optimal b is A mean.
    """
    xp = W.__array_namespace__()
    A = xp.eye(W.shape[-1], dtype=W.dtype) - xp.swapaxes(W, -1, -2) @ W
    spread = xp.sum((A @ covariance) * A, axis=-1)
    offset = (A @ mean[..., None])[..., 0] - b
    return xp.sum(importance * (spread + offset**2), axis=-1)


def of_zero_model(
    importance: np.ndarray, probability: np.ndarray, spec: Spec, own: Mapping[str, Any] | None = None
) -> np.ndarray:
    """The loss of a model whose output is 0 and whose target is x: sum_i I_i P(i active) E v^2, shape (...).

    `own`: (...,) values of the activity's options that are quantities.
    """
    active = spec.data.drawn(probability.shape[-1], own).marginal(probability)
    return np.sum(importance * active, axis=-1) * VALUES[spec.data.values].square
