"""Families with layers between input and output: the functions of those in families.py that have an option `layers`.

After the targets of Bushnaq, Braun and Sharkey, "Stochastic Parameter Decomposition" (arXiv 2506.20790), as their
repository goodfire-ai/spd builds them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tmsjax.kinds.activations import ACTIVATIONS
from tmsjax.kinds.arrays import Array, Elementwise, Features, Floats, Params, Quantities
from tmsjax.kinds.autoencoders import unit_columns


def between(params: Params, x: Features, f: Elementwise) -> Features:
    """f(W^T H_L ... H_1 W x + b)."""
    W, h = params["W"], params["W"] @ x
    for layer in range(params["H"].shape[0]):
        h = params["H"][layer] @ h
    return f(W.T @ h + params["b"])


def identity(normals: Params, instance: Quantities) -> Params:
    """H = identity in every layer."""
    layers, hidden, _ = normals["H"].shape
    return {"H": np.broadcast_to(np.eye(hidden, dtype=np.float32), (layers, hidden, hidden))}


def random(normals: Params, instance: Quantities) -> Params:
    """H with standard deviation 1 / sqrt(m), which keeps the norm of h on average."""
    return {"H": normals["H"] / np.float32(normals["H"].shape[-1] ** 0.5)}


def residual(params: Params, x: Features, f: Elementwise) -> Features:
    """E^T h_L with h_0 = E x and h_{l+1} = h_l + W_out f(W_in h_l)."""
    E, h = params["E"], params["E"] @ x
    for layer in range(params["W_in"].shape[0]):
        h = h + params["W_out"][layer] @ f(params["W_in"][layer] @ h)
    return E.T @ h


def residual_init(normals: Params, instance: Quantities) -> Params:
    """E with random unit columns; weights uniform within +-1 / sqrt(inputs of the layer), torch's default."""
    return {"E": unit_columns(normals["E"])} | {key: _uniform(normals[key]) for key in ("W_in", "W_out")}


def _uniform(normals: Floats) -> Floats:
    import jax

    return jax.lax.erf(normals * np.float32(0.5**0.5)) / np.float32(normals.shape[-1] ** 0.5)


def plus_relu(x: Features) -> Features:
    """x + ReLU(x)."""
    return x + ACTIVATIONS["relu"].function(x)


def read_first(params: Params) -> Float[Array, "hidden feature"]:
    """What the neurons of the first layer read: W_in E."""
    return params["W_in"][0] @ params["E"]
