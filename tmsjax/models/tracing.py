"""Traces the loss of a spec's models, to see whether jax can and whether the models can be held as scalars."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from tmsjax.kinds import ACTIVATIONS, ACTIVITIES, REGISTRIES
from tmsjax.models import loss, model, sampling
from tmsjax.models.instances import Instance, instances
from tmsjax.models.scalars import split
from tmsjax.spec import SAMPLES, Boxes, Spec

ADDED = ("model.family", "model.activation", "data.activity", "data.values")  # keys of entries that a loss calls


def added(spec: Spec) -> dict[str, str]:
    """The entries that users added and the loss calls: name by key."""
    names = {key: getattr(getattr(spec, key.partition(".")[0]), key.partition(".")[2]) for key in ADDED}
    return {key: name for key, name in names.items() if REGISTRIES[key].source(name) is not None}


def elementwise_model(spec: Spec) -> bool:
    """Whether the model can be held as scalars: jax can trace the functions that users added in this form, too."""
    data, features = spec.samples
    if not ACTIVATIONS[spec.model.activation].elementwise or features > ACTIVITIES[data.activity].scalars_up_to:
        return False
    try:
        if added(spec):
            trace(spec, first_instance(spec), scalars=True)
    except (Exception, SystemExit):  # a user's function may use operations that `Elements` does not support
        return False
    return True


def first_instance(spec: Spec, last: bool = False) -> Instance:
    """The first instance of the grid, or the last."""
    single = Boxes(spec.shape, (1,) * len(spec.shape))
    return jax.tree.map(lambda leaf: leaf[0], instances(spec, single[len(single) - 1 if last else 0]))


def trace(spec: Spec, row: Instance, scalars: bool = False) -> None:
    """Traces the gradients of the losses, sampled and exact. Raises what the user's functions raise."""
    row = replace(row, options={k: v for k, v in row.options.items() if k != SAMPLES})  # fresh samples
    params = {name: np.zeros(shape, np.float32) for name, shape in model.shapes(spec.model).items()}
    columns = sampling.columns_of(spec)
    given: tuple = (params, row, np.zeros((2, columns), np.uint32), np.zeros(columns, np.uint32))
    if scalars:
        given = (*map(_as_scalars, given[:2]), split(given[2]), split(given[3], batch_dims=0))
    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(partial(loss.gradient, spec=spec), *given)
        if spec.exact_loss is not None:
            jax.eval_shape(jax.grad(partial(loss.exact, spec=spec)), *given[:2])


def _as_scalars(tree: Any) -> Any:
    return jax.tree.map(lambda x: split(x, batch_dims=0) if np.ndim(x) else x, tree)
