"""Runs whose models are drawn instead of trained, to execute a study in a second."""

from __future__ import annotations

import numpy as np

from tmsjax.engine import directions
from tmsjax.kinds import FAMILIES, MEASURES
from tmsjax.models import bind, inputs
from tmsjax.runs import Run
from tmsjax.runs.dataset import results_dataset
from tmsjax.spec import Boxes, Spec

SCALE = 0.6  # standard deviation of the parameters


def drawn_run(spec: Spec) -> Run:
    """A run in memory with random parameters, losses and records, and the spec's importances and probabilities."""
    rng, (box,) = np.random.default_rng(0), Boxes(spec.shape, spec.shape)
    steps = list(spec.record_steps) if spec.record.measures else []
    problem = bind(spec)

    def parameters() -> dict[str, np.ndarray]:
        shapes = problem.shapes.items()
        return {name: rng.normal(scale=SCALE, size=(box.size, *shape)).astype(np.float32) for name, shape in shapes}

    params = parameters()
    W = directions(params, problem)
    dims = FAMILIES[spec.model.family].dims
    if W is not None and "W" not in params:
        params, dims = params | {"W": W}, dims | {"W": ("hidden", "feature")}
    history: dict[str, list] = {name: [] for name in spec.record.measures} if steps else {}
    for _ in steps:
        now = directions(parameters(), problem)
        for name, records in history.items():
            measure = MEASURES[name].function
            records.append(rng.uniform(size=box.size) if measure is None or now is None else measure(now))
    dataset = results_dataset(
        spec,
        box,
        dims,
        params,
        inputs(spec, box),
        rng.uniform(0.1, 1, box.size),
        np.zeros(box.size),
        {name: np.stack(records, axis=1) for name, records in history.items()},
        steps,
        W is not None,
    )
    return Run(spec, None, dataset)
