"""Small arrays held as tuples of scalars, so that vmap over instances leaves plain [instance] vectors.

Under vmap an array of shape (m, n) becomes (instances, m, n) and XLA vectorises over the tiny last dimension;
m * n scalars become m * n vectors over instances, and every operation runs at full SIMD width. Model code sees
`Elements` arrays of traced scalars (kinds/elements.py): `W.T @ (W @ x) + b` then traces to scalar operations.
"""

from __future__ import annotations

import math
from typing import Any

import jax

from tmsjax.kinds import objects


@jax.tree_util.register_pytree_node_class
class Scalars:
    """An array of static `shape` as a flat tuple of scalars (each may carry batch dimensions of its own)."""

    def __init__(self, parts: tuple, shape: tuple[int, ...]):
        self.parts, self.shape = parts, shape

    def tree_flatten(self) -> tuple[tuple, tuple[int, ...]]:
        return self.parts, self.shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, ...], parts: Any) -> Scalars:
        return cls(tuple(parts), shape)


def split(array: jax.Array, batch_dims: int = 1) -> Scalars:
    """`array` of shape (*batch, *shape) as Scalars of `shape`, each part of shape batch."""
    shape = array.shape[batch_dims:]
    flat = array.reshape(*array.shape[:batch_dims], math.prod(shape))
    return Scalars(tuple(flat[..., i] for i in range(math.prod(shape))), shape)


def join(scalars: Scalars) -> jax.Array:
    """The inverse of `split`: (*batch, *shape)."""
    stacked = jax.numpy.stack(scalars.parts, axis=-1)
    return stacked.reshape(*stacked.shape[:-1], *scalars.shape)


def held_as_scalars(tree: Any) -> bool:
    """Whether any array of `tree` is held as Scalars."""
    return any(isinstance(x, Scalars) for x in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Scalars)))


def as_arrays(tree: Any) -> Any:
    """`tree` with every Scalars replaced by its object array; arrays stay as they are."""
    is_scalars = lambda x: isinstance(x, Scalars)  # noqa: E731
    return jax.tree.map(lambda x: objects(x.parts, x.shape) if is_scalars(x) else x, tree, is_leaf=is_scalars)


def joined(tree: Any) -> Any:
    """`tree` with every Scalars replaced by the array it stands for (see `join`); arrays stay as they are."""
    is_scalars = lambda x: isinstance(x, Scalars)  # noqa: E731
    return jax.tree.map(lambda x: join(x) if is_scalars(x) else x, tree, is_leaf=is_scalars)
