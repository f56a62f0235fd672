"""Small arrays held as tuples of scalars, so that vmap over instances produces plain (instances,) vectors.

Under vmap, an array of shape (m, n) becomes (instances, m, n), and XLA vectorises over the tiny last dimension. m * n
scalars instead become m * n vectors over instances, on which every operation uses the full SIMD width. Model code
receives `Elements` arrays of traced scalars (kinds/elements.py), so `W.T @ (W @ x) + b` traces to scalar operations.
"""

from __future__ import annotations

import math
from typing import Any

import jax

from tmsjax.kinds import objects


@jax.tree_util.register_pytree_node_class
class Scalars:
    """An array of static `shape` as a flat tuple of scalars, each of which may carry batch dimensions."""

    def __init__(self, parts: tuple, shape: tuple[int, ...]):
        self.parts, self.shape = parts, shape

    def tree_flatten(self) -> tuple[tuple, tuple[int, ...]]:
        return self.parts, self.shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, ...], parts: Any) -> Scalars:
        return cls(tuple(parts), shape)


def split(array: jax.Array, batch_dims: int = 1) -> Scalars:
    """`array` (`*batch, *shape`) as Scalars of `shape`, whose parts have shape batch."""
    shape = array.shape[batch_dims:]
    flat = array.reshape(*array.shape[:batch_dims], math.prod(shape))
    return Scalars(tuple(flat[..., i] for i in range(math.prod(shape))), shape)


def join(scalars: Scalars) -> jax.Array:
    """The inverse of `split`: `(*batch, *shape)`."""
    stacked = jax.numpy.stack(scalars.parts, axis=-1)
    return stacked.reshape(*stacked.shape[:-1], *scalars.shape)


def held_as_scalars(tree: Any) -> bool:
    """Whether any array of `tree` is held as Scalars."""
    return any(map(_is_scalars, jax.tree.leaves(tree, is_leaf=_is_scalars)))


def as_arrays(tree: Any) -> Any:
    """`tree` with every Scalars replaced by its object array; arrays are unchanged."""
    return jax.tree.map(lambda x: objects(x.parts, x.shape) if _is_scalars(x) else x, tree, is_leaf=_is_scalars)


def joined(tree: Any) -> Any:
    """`tree` with every Scalars joined to one array (see `join`); arrays are unchanged."""
    return jax.tree.map(lambda x: join(x) if _is_scalars(x) else x, tree, is_leaf=_is_scalars)


def _is_scalars(x: Any) -> bool:
    return isinstance(x, Scalars)
