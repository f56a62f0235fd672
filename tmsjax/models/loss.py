"""The loss of one instance: sum over outputs of I_i (target_i - output_i)^2, mean over samples.

The paper's notebook also takes the mean over features, so its loss is smaller by a factor of n.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tmsjax.kinds.arrays import Features, Number, Output, PerFeature, PerInstance, PerPair, Scalar, Weights
from tmsjax.models.instance import Instance
from tmsjax.models.sampling import FeatureSampler, with_own


def weighted(error: Output | Scalar, importance: Features) -> Scalar:
    """sum_i I_i error_i of one sample; a single number as it is.

    There may be fewer outputs than features; output i has importance I_i.
    """
    if not np.ndim(error):
        return error
    outputs = error.shape[0]
    return ((importance if outputs == importance.shape[0] else importance[:outputs]) * error).sum()


def linear_loss(
    W: Weights, b: Number | PerFeature, importance: PerFeature, mean: PerFeature, covariance: PerPair
) -> PerInstance:
    """Exact loss of x' = W^T W x + b: squared mean plus variance of A x - b, A = 1 - W^T W. The optimal b is A mean."""
    xp = W.__array_namespace__()
    A = xp.eye(W.shape[-1], dtype=W.dtype) - xp.swapaxes(W, -1, -2) @ W
    spread = xp.sum((A @ covariance) * A, axis=-1)
    offset = (A @ mean[..., None])[..., 0] - b
    return xp.sum(importance * (spread + offset**2), axis=-1)


def of_zero_model(instance: Instance, sampler: FeatureSampler) -> Float[np.ndarray, "instance"]:
    """The loss of models (stacked, in numpy) whose output is 0 and whose target is x: sum_i I_i P(i active) E v^2."""
    active = with_own(sampler.drawn, instance.own("data")).marginal(instance.feature_probability)
    return np.sum(instance.importance * active, axis=-1) * sampler.values.square
