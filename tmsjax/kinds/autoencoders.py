"""Sparse autoencoders: the functions of the families in families.py whose names end with "autoencoder".

x^ = D~ z with latents z = f(E x + b), where E is (hidden, feature) and the columns of D~ (feature, hidden) are those of
D at length 1: a dictionary of `hidden` directions. Only the first `latents` of them are in use, so that models with
dictionaries of several sizes are instances of one sweep. The decoder has no bias. After Sharkey, Braun and Millidge,
"Taking features out of superposition with sparse autoencoders" (Alignment Forum, 2022).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tmsjax.kinds.arrays import Array, Elementwise, Features, Number, Params, Quantities, Scalar

TINY = np.float32(1e-12)
MOST_ACTIVE = 16  # latents that a top-k autoencoder may keep


def init(normals: Params, instance: Quantities) -> Params:
    """D is random; E is D^T with columns of D at length 1, so that latents start along their own directions."""
    D = normals["D"]
    return {"E": unit_columns(D).T, "b": instance.bias_scale * normals["b"], "D": D}


def unit_columns(D: Float[Array, "feature hidden"]) -> Float[Array, "feature hidden"]:
    """D with every column at length 1."""
    return D / ((D * D).sum(0) + TINY)[None] ** 0.5


def reconstructed(params: Params, x: Features, f: Elementwise, latents: Number) -> Features:
    """x^."""
    return unit_columns(params["D"]) @ codes(params, x, f, latents)


def codes(params: Params, x: Features, f: Elementwise, latents: Number) -> Float[Array, "hidden"]:
    """z, 0 for latents that are not in use."""
    in_use = np.arange(params["b"].shape[0]) < latents
    return f(params["E"] @ x + params["b"]) * in_use


def penalty(params: Params, x: Features, f: Elementwise, latents: Number, l1: Number) -> Scalar:
    """l1 sum_k |z_k|."""
    z = codes(params, x, f, latents)
    return l1 * z.__array_namespace__().abs(z).sum()


def reconstructed_of_top(params: Params, x: Features, f: Elementwise, latents: Number, active: Number) -> Features:
    """x^ from the `active` largest latents (Makhzani and Frey 2013, arXiv 1312.5663)."""
    return unit_columns(params["D"]) @ largest(codes(params, x, f, latents), active)


def largest(z: Float[Array, "hidden"], count: Number) -> Float[Array, "hidden"]:
    """z >= 0 where it is among the `count` <= MOST_ACTIVE largest, else 0. Keeps all of equal values.

    The threshold goes from each value to the next lower one, which is faster on CPU than sorting or `lax.top_k`.
    """
    import jax.numpy as jnp

    threshold = z.max()
    for place in range(1, MOST_ACTIVE):
        next_lower = jnp.where(z < threshold, z, np.float32(-1)).max()
        threshold = jnp.where(place < count, next_lower, threshold)
    return z * (z >= threshold)
