"""Records made during training: measures of every instance after some steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tmsjax.engine import Ensemble, TrainState, directions
from tmsjax.kinds import MEASURES
from tmsjax.spec import Spec


class History:
    """Records of a unit: for each measure, a list with one array (instances, ...) per recorded step."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.steps: list[int] = []
        self.records: dict[str, list[np.ndarray]] = {name: [] for name in spec.record.measures}

    def append(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Adds the result of `measured` after `step`."""
        if not values:
            return
        self.steps.append(step)
        for name, value in values.items():
            self.records[name].append(value)

    def last(self, name: str, step: int) -> np.ndarray | None:
        """The record of a measure after `step`; None if the last record is of another step."""
        return self.records[name][-1] if self.steps[-1:] == [step] and self.records.get(name) else None

    def variables(self) -> dict[str, np.ndarray]:
        """Arrays (instances, step, ...) by measure; omits measures without records."""
        return {name: np.stack(records, axis=1) for name, records in self.records.items() if records}

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays to store in a checkpoint."""
        arrays = {f"history.{name}": array for name, array in self.variables().items()}
        return arrays | {"recorded": np.asarray(self.steps, np.int32)} if arrays else {}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restores the records from the arrays of a checkpoint; inverse of `arrays`."""
        for name in self.records:
            if f"history.{name}" in arrays:
                self.records[name] = list(np.moveaxis(arrays[f"history.{name}"], 1, 0))
                self.steps = arrays["recorded"].tolist()


def measured(ensemble: Ensemble, states: list[TrainState]) -> dict[str, np.ndarray]:
    """The spec's measures for every instance."""
    spec = ensemble.spec
    if not spec.record.measures:
        return {}
    params = ensemble.gather([state.params for state in states])
    W = directions(params, ensemble.problem)
    values = {}
    for name in spec.record.measures:
        function = MEASURES[name].function
        if name == "loss":
            values[name] = ensemble.noise_free_loss(states)
        elif W is not None and function is not None:
            with np.errstate(divide="ignore", invalid="ignore"):  # W = 0, or diverged models
                values[name] = np.asarray(function(W), np.float32)
    return values
