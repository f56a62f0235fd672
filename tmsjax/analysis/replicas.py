"""Effects of replicas: agreement with theory by their number, and success by the signs at init. No jax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from tmsjax.analysis import phases
from tmsjax.kinds import REPLICA, SUCCESS


def agreement_by_count(dataset: xr.Dataset, expected: np.ndarray, select: str, counts: Sequence[int]) -> list[float]:
    """The share of unmasked cells with their `expected` phase, using only the first K replicas, for each K in `counts`.

    `expected`: phases over the spec's axes other than replica, in their order. NaN if all cells are masked. Raises
    ValueError for counts outside 1 to the number of replicas.
    """
    phases.need_replicas(dataset, "agreement by the number of replicas")
    most = dataset.sizes.get(REPLICA, 0)
    if not all(1 <= count <= most for count in counts):
        raise ValueError(f"counts must be in 1 to {most}, the number of replicas, not {list(counts)}")
    out = []
    for count in counts:
        mapped = phases.phase_map(dataset.isel({REPLICA: slice(count)}), select)["phase"].to_numpy()
        usable = mapped != phases.MASKED
        out.append(float(np.mean(mapped[usable] == expected[usable])) if usable.any() else np.nan)
    return out


def success(dataset: xr.Dataset) -> np.ndarray:
    """Whether each model's loss is within 1 % of the best in its cell, in the shape of the instances."""
    phases.need_replicas(dataset, "success of each model")
    loss = dataset["loss"].where(dataset["status"] == 0)
    best = loss.min(REPLICA) if REPLICA in dataset.dims else loss
    return (loss <= SUCCESS * best).transpose(*dataset["loss"].dims).to_numpy()
