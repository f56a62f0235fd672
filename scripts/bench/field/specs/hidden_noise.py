import jax.numpy as jnp
from jax.scipy.special import ndtri

import tmsjax


def apply(p, x, f, noise, sigma):
    h = p["W"] @ x
    h = h if noise is None else h + sigma * ndtri(jnp.maximum(noise, 1e-9))
    return f(p["W"].T @ h + p["b"])


tmsjax.add_family(
    "hidden-noise",
    parameters={"W": ("hidden", "feature"), "b": ("feature",)},
    apply=apply,
    noise=lambda m: m,
    options={"sigma": tmsjax.Option("quantity", default=0.0, low=0.0)},
)
