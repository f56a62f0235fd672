import jax.numpy as jnp
from jax.scipy.special import ndtri

import tmsjax


def sample(u, p, mean, deviation):
    n = p.shape[0]
    return jnp.where(u[:n] < p, jnp.maximum(mean + deviation * ndtri(u[n:]), 0), 0)


one = tmsjax.Option("features", default=1.0)
tmsjax.add_sampler("magnitudes", columns=lambda n: 2 * n, sample=sample, options={"mean": one, "deviation": one})
