"""Neurons that compute ReLU of more features than there are neurons, for sweeps/computation.toml."""

import jax

import tmsjax

tmsjax.add_family(
    "computation",
    parameters={"W": ("hidden", "feature"), "V": ("feature", "hidden")},
    apply=lambda p, x, f: p["V"] @ f(p["W"] @ x),
    target=jax.nn.relu,
    directions=lambda p: p["W"],
    neurons=True,
    writes="V",
    sentence="V f(W x), whose target is ReLU(x)",
)
