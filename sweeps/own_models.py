"""Models, data and measures of one's own, for sweeps/own_models.toml; docs/extending.md explains them."""

import jax.numpy as jnp

import tmsjax

tmsjax.add_activation("softplus", lambda v: jnp.logaddexp(v, 0.0), sentence="log(1 + exp(v))")

tmsjax.add_values(
    "triangular",
    quantile=lambda u: 1 - jnp.sqrt(1 - u),
    mean=1 / 3,
    square=1 / 6,
    sentence="on [0, 1], with a density that falls to 0 at 1",
)

tmsjax.add_family(
    "sparse-hidden",
    parameters={"W": ("hidden", "feature"), "b": ("feature",)},
    apply=lambda p, x, f: f(p["W"].T @ (p["W"] @ x) + p["b"]),
    directions=lambda p: p["W"],
    penalty=lambda p, x, f, l1: l1 * abs(p["W"] @ x).sum(),
    options={"l1": tmsjax.Option("quantity", default=0.0, low=0.0, sentence="weight of the L1 penalty")},
    sentence="f(W^T W x + b), with an L1 penalty on the hidden activations W x",
)

tmsjax.add_measure(
    "participation",
    lambda W: (W**2).sum(-2) ** 2 / (W**4).sum(-2),
    dims=("feature",),
    sentence="how many hidden dimensions a feature's direction uses",
    label="participation ratio of $W_i$",
)
