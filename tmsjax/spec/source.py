"""The data of a spec whose `[data] run` names a finished run: the hidden layers of that run's models.

A sample is h = W x, with W (m, n) the directions of a stored model and x (n,) a sample of the features on which that
model was trained, from its own probabilities; h = ReLU(W x) if the model's hidden dimensions are neurons. Axes that the
run and the spec share choose the model. This room only describes such models; runs/source.py reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tmsjax.spec.boxes import Box


@dataclass(frozen=True)
class Source:
    """Stored models, by the cells of their run.

    Attributes:
        data: how that run draws features, a `Data` of tables.py
        arrays: "W" `(*cells, m, n)`, "feature_probability" `(*cells, n)`, and "data.key" `(*cells)` for options of the
            activity that are quantities; float32
        positions: for each dimension of the cells, the position of the spec's axis that chooses along it (None if it
            has length 1), and the index for every value of that axis
        neurons: whether the hidden layer is ReLU(W x)
        facts: what a run records of it: path, spec_hash, sha256
    """

    data: Any
    arrays: Mapping[str, np.ndarray]
    positions: tuple[tuple[int | None, np.ndarray], ...]
    neurons: bool
    facts: Mapping[str, str]

    @property
    def features(self) -> int:
        """n, the number of features of the stored models."""
        return self.arrays["W"].shape[-1]

    @property
    def sizes(self) -> tuple[int, int]:
        """(m, n) of the stored models."""
        return self.arrays["W"].shape[-2:]

    @property
    def weights(self) -> int:
        """n m, the number of weights of a stored model."""
        return math.prod(self.sizes)

    def of(self, box: Box) -> dict[str, np.ndarray]:
        """The arrays of every instance in a box of the spec's grid, (instances, ...) float32."""
        index = tuple(_spread(position, values, box) for position, values in self.positions)
        return {name: _chosen(array, index, box) for name, array in self.arrays.items()}


def _spread(position: int | None, values: np.ndarray, box: Box) -> np.ndarray:
    """The index along one dimension of the cells, (instances,)."""
    shape = [1] * len(box.shape)
    if position is not None:
        values = values[np.asarray(box.ranges[position])]
        shape[position] = len(values)
    return np.broadcast_to(values.reshape(shape), box.shape).reshape(box.size)


def _chosen(array: np.ndarray, index: tuple[np.ndarray, ...], box: Box) -> Any:
    return array[index] if index else np.broadcast_to(array, (box.size, *array.shape))
