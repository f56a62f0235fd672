"""The family of sweeps/memorization.toml: the tied model on samples of length 1 (Henighan et al. 2023)."""

import jax.numpy as jnp

import tmsjax


def unit(x):
    """x / |x|; 0 stays 0."""
    square = (x * x).sum()
    return x / jnp.sqrt(jnp.where(square > 0, square, 1.0))


tmsjax.add_family(
    "tied-unit",
    parameters={"W": ("hidden", "feature"), "b": ("feature",)},
    apply=lambda p, x, f: f(p["W"].T @ (p["W"] @ unit(x)) + p["b"]),
    target=unit,
    directions=lambda p: p["W"],
    sentence="f(W^T W y + b) for y = x / |x|, which is also the target",
)
