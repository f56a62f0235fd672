"""Attacks on the samples of training: the worst of n perturbations of given length.

The pre-activations of a tied model are A x + b with A = W^T W, so among perturbations of length r the one along row A_i
raises output i most. Of these n, the one with the largest loss is taken (Elhage et al. 2022, section "Superposition and
adversarial examples": analytic attacks, since gradients vanish where every output is 0).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.kinds.arrays import Elementwise, Features, Params, Scalar


def attacked(
    params: Params, x: Features, target: Features, importance: Features, f: Elementwise, radius: Scalar
) -> Features:
    """`x` with the worst perturbation of length `radius` for f(W^T W x + b), a constant to differentiation."""
    fixed = {name: jax.lax.stop_gradient(value) for name, value in params.items()}
    rows = fixed["W"].T @ fixed["W"]
    before = rows @ x + (fixed["b"] if "b" in fixed else np.float32(0))
    length = jnp.sqrt((rows * rows).sum(1) + np.float32(1e-20))
    steps = radius * rows / length[:, None]  # one perturbation per row
    errors = f(before[None] + steps @ rows) - target[None]  # rows is symmetric
    return x + steps[jnp.argmax((importance[None] * errors * errors).sum(1))]
