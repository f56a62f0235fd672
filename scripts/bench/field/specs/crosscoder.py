import jax.numpy as jnp

import tmsjax


def penalty(p, x, f, l1):
    first, second = jnp.split(p["D"] ** 2, 2)
    return l1 * (f(p["E"] @ x + p["b"]) * (jnp.sqrt(first.sum(0)) + jnp.sqrt(second.sum(0)))).sum()


tmsjax.add_family(
    "crosscoder",
    parameters={"E": ("hidden", "feature"), "b": ("hidden",), "D": ("feature", "hidden")},
    apply=lambda p, x, f: p["D"] @ f(p["E"] @ x + p["b"]),
    penalty=penalty,
    options={"l1": tmsjax.Option("quantity", default=0.0, low=0.0)},
)
