"""Directions of features that belong to sets: cosines within and across sets, and how two members of a set lie.

Sets are those of the activities "groups" and "exclusive": `size` consecutive features each. Source: Elhage et al. 2022,
section "The geometry of superposition", "Correlated and anticorrelated features". numpy and xarray only.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from tmsjax.analysis import polytopes
from tmsjax.errors import RunError
from tmsjax.kinds import REPRESENTED
from tmsjax.kinds.measures import norms

NEAR = 0.1  # a cosine this close to 0, 1 or -1 counts as 0, 1 or -1
RELATIONS = ("absent", "collapsed", "side by side", "orthogonal", "obtuse", "antipodal")


def pairs(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of features i < j within a set, and pairs across sets, each (2, pairs), for sets of `size` features."""
    every = np.stack(np.triu_indices(n, 1))
    same = every[0] // size == every[1] // size
    return every[:, same], every[:, ~same]


def relations(W: np.ndarray, size: int, near: float = NEAR) -> np.ndarray:
    """How the two features of each pair within a set lie, for W (..., m, n): indices into RELATIONS, (..., pairs).

    "absent": one of them is not represented. "collapsed", "orthogonal", "antipodal": their cosine is within `near` of
    1, 0, -1. "side by side" (an acute angle) and "obtuse": it lies between these.
    """
    i, j = pairs(W.shape[-1], size)[0]
    there = norms(W) >= REPRESENTED
    c = polytopes.cosines(W)[..., i, j]
    conditions = [~(there[..., i] & there[..., j]), c >= 1 - near, c > near, c >= -near, c > near - 1]
    return np.select(conditions, np.arange(len(conditions)), len(conditions)).astype(np.int8)


def of_sets(results: xr.Dataset, size: int) -> xr.Dataset:
    """Adds to a run's results the directions of its sets; NaN or -1 where a model diverged.

    cosine_within (..., within) and cosine_across (..., across): cosines of the pairs of features within a set and
    across sets, NaN where one of the two is not represented; relation (..., within): index into RELATIONS.
    Raises RunError for models without directions, and if `size` does not divide the number of features.
    """
    if not results.attrs["directions"]:
        raise RunError("these models have no directions W to measure")
    n = results.sizes["feature"]
    if size < 1 or n % size:
        raise RunError(f"sets of {size} features do not divide {n} features")
    dims = [str(d) for d in results["loss"].dims]
    ok = (results["status"] == 0).to_numpy()[..., None]
    W = np.where(ok[..., None], results["W"].transpose(*dims, "hidden", "feature").to_numpy().astype(float), 0)
    cosine, there = polytopes.cosines(W), norms(W) >= REPRESENTED
    out = {"relation": ([*dims, "within"], np.where(ok, relations(W, size), -1))}
    for name, (i, j) in zip(("within", "across"), pairs(n, size), strict=True):
        known = there[..., i] & there[..., j]
        out[f"cosine_{name}"] = ([*dims, name], np.where(known, cosine[..., i, j], np.nan))
    return results.drop_dims("step", errors="ignore").assign(out)
