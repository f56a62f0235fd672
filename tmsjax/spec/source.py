"""The data of a spec that come from elsewhere: rows of a file, or the hidden layers of a finished run's models.

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
class Rows:
    """The rows of a file, which are a spec's samples.

    Attributes:
        array: (rows, inputs) float32
        facts: what a run records of it: path, sha256
    """

    array: np.ndarray
    facts: Mapping[str, str]

    def __hash__(self) -> int:
        return hash(self.facts["sha256"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self.facts["sha256"] == other.facts["sha256"]


@dataclass(frozen=True)
class Stored:
    """The models of one run, by its cells.

    Attributes:
        arrays: "W" `(*cells, m, n)`, "feature_probability" `(*cells, n)`, and "data.key" `(*cells)` for options of the
            activity that are quantities; float32
        positions: for each dimension of the cells, the position of the spec's axis that chooses along it (None if it
            has length 1), and the index for every value of that axis
    """

    arrays: Mapping[str, np.ndarray]
    positions: tuple[tuple[int | None, np.ndarray], ...]

    def of(self, box: Box) -> dict[str, np.ndarray]:
        """The arrays of every instance in a box of the spec's grid, (instances, ...) float32."""
        index = tuple(_spread(position, values, box) for position, values in self.positions)
        return {name: _chosen(array, index, box) for name, array in self.arrays.items()}


@dataclass(frozen=True)
class Source:
    """Stored models of one run, or of several whose hidden layers follow one another.

    Attributes:
        data: how their features are drawn, a `Data` of tables.py
        parts: the models of each run
        neurons: whether hidden layers are ReLU(W x)
        facts: what a run records of them: path, spec_hash, sha256
    """

    data: Any
    parts: tuple[Stored, ...]
    neurons: bool
    facts: Mapping[str, str]

    @property
    def features(self) -> int:
        """n, the number of features of the stored models."""
        return self.parts[0].arrays["W"].shape[-1]

    @property
    def sizes(self) -> tuple[int, int]:
        """(m, n) of the stored models, m the sum over the runs."""
        return sum(part.arrays["W"].shape[-2] for part in self.parts), self.features

    @property
    def weights(self) -> int:
        """n m, the number of weights of a stored model."""
        return math.prod(self.sizes)

    def of(self, box: Box) -> dict[str, np.ndarray]:
        """The arrays of every instance in a box of the spec's grid, (instances, ...) float32."""
        found = [part.of(box) for part in self.parts]
        return {**found[0], "W": np.concatenate([each["W"] for each in found], axis=-2)} if found[1:] else found[0]


def _spread(position: int | None, values: np.ndarray, box: Box) -> np.ndarray:
    """The index along one dimension of the cells, (instances,)."""
    shape = [1] * len(box.shape)
    if position is not None:
        values = values[np.asarray(box.ranges[position])]
        shape[position] = len(values)
    return np.broadcast_to(values.reshape(shape), box.shape).reshape(box.size)


def _chosen(array: np.ndarray, index: tuple[np.ndarray, ...], box: Box) -> Any:
    return array[index] if index else np.broadcast_to(array, (box.size, *array.shape))
