"""Attacks on the samples of training: the worst of n perturbations of given length.

The pre-activations of a tied model are A x + b with A = W^T W, so among perturbations of length r the one along row A_i
raises output i most. Of these n, the one with the largest loss is taken (Elhage et al. 2022, section "Superposition and
adversarial examples": analytic attacks, since gradients vanish where every output is 0).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.kinds import elementwise, is_elements
from tmsjax.models import model
from tmsjax.models.instances import Instance
from tmsjax.spec import Model


def attacked(params: Any, x: Any, target: Any, instance: Instance, of: Model, radius: Any) -> Any:
    """`x` (n,) with the worst of the n perturbations of length `radius`, a constant to differentiation.

    `params` of a model f(W^T W x + b) or f(W^T W x).
    """
    fixed = {name: elementwise(jax.lax.stop_gradient, value) for name, value in params.items()}
    rows = fixed["W"].T @ fixed["W"]
    before = rows @ x + (fixed["b"] if "b" in fixed else np.float32(0))
    length = elementwise(jnp.sqrt, (rows * rows).sum(1) + np.float32(1e-20))
    steps = radius * rows / length[:, None]  # one perturbation per row
    errors = model.activation(of)(before[None] + steps @ rows) - target[None]  # rows is symmetric
    return x + _of_largest((instance.importance[None] * errors * errors).sum(1), steps)


def _of_largest(values: Any, rows: Any) -> Any:
    """The row at the largest of `values` (n,)."""
    if not is_elements(values):
        return rows[jnp.argmax(values)]
    largest, row = values[0], rows[0]
    for value, new in zip(values[1:], rows[1:], strict=True):
        better = value > largest
        largest = jnp.where(better, value, largest)
        row = elementwise(partial(jnp.where, better), new, row)
    return row
