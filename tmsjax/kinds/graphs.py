"""Directed graphs of features without cycles: the option `edges` of activities and samplers."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import chain

import numpy as np
from jaxtyping import Bool, Float64

from tmsjax.kinds.arrays import Array
from tmsjax.kinds.registry import Option

EDGES = Option("numbers", sentence="pairs [parent, child] of features, without cycles")

Edges = Float64[np.ndarray, "edge 2"] | Float64[np.ndarray, "0"]
Taken = Bool[np.ndarray, "child slot"]
Join = Callable[[Array, Array, Taken], Array]


def parents(n: int, edges: Edges) -> list[list[int]]:
    """The parents of each feature."""
    found: list[list[int]] = [[] for _ in range(n)]
    for parent, child in edges.reshape(-1, 2).astype(int).tolist():
        found[child].append(parent)
    return found


def generations(above: list[list[int]]) -> list[list[int]]:
    """The features by the length of the longest path that leads to each; those on or below a cycle are left out."""
    rest, known, found = set(range(len(above))), set[int](), list[list[int]]()
    while ready := sorted(child for child in rest if known.issuperset(above[child])):
        found.append(ready)
        known.update(ready)
        rest.difference_update(ready)
    return found


def descend(own: Array, edges: Edges, join: Join) -> Array:
    """`own` (n,), where each feature that has parents becomes `join` of its own value and theirs, parents first.

    `join` gets the features of one generation: (own (k,), values of the parents (k, most), which of these there are).
    """
    xp, above = own.__array_namespace__(), parents(len(own), edges)
    first, *others = generations(above)
    place, done = {feature: k for k, feature in enumerate(first)}, own[np.asarray(first)]
    for features in others:
        most = max(len(above[k]) for k in features)
        slots = np.zeros((len(features), most), int)
        taken = np.zeros((len(features), most), bool)
        for row, k in enumerate(features):
            slots[row, : len(above[k])], taken[row, : len(above[k])] = [place[parent] for parent in above[k]], True
        done = xp.concat([done, join(own[np.asarray(features)], done[slots], taken)])
        place |= {k: len(place) + row for row, k in enumerate(features)}
    return done[np.asarray([place[k] for k in range(len(own))])]


def ancestors(n: int, edges: Edges) -> Float64[np.ndarray, "feature feature"]:
    """Row i is 1 at i and at its ancestors, else 0."""
    found, above = np.eye(n), parents(n, edges)
    for child in chain(*generations(above)):
        found[child] = reduce(np.maximum, (found[parent] for parent in above[child]), found[child])
    return found


def misfit(n: int, edges: Edges) -> str | None:
    """Why `edges` is no graph without cycles of n features, or None."""
    if not edges.size:
        return None
    if edges.ndim != 2 or edges.shape[1] != 2:
        return "edges needs pairs [parent, child], such as [[0, 1], [0, 2]]"
    bad = edges[(edges != np.rint(edges)) | (edges < 0) | (edges >= n)]
    if bad.size:
        return f"edges needs features from 0 to {n - 1}, not {bad[0]:g}"
    pairs = [tuple(pair) for pair in edges.astype(int).tolist()]
    if twice := [pair for pair in pairs if pairs.count(pair) > 1]:
        return f"edges has the pair {list(twice[0])} twice"
    left = set(range(n)).difference(*generations(parents(n, edges)))
    return f"edges has a cycle; see features {', '.join(map(str, sorted(left)))}" if left else None
