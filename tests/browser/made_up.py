"""Runs whose models are random numbers, at once and of any kind: pages show them as they show trained ones."""

from __future__ import annotations

import numpy as np

from tmsjax.kinds import FAMILIES, MEASURES
from tmsjax.models import inputs
from tmsjax.runs import Run
from tmsjax.runs.dataset import best_of_cells, results_dataset
from tmsjax.spec import Boxes, load_spec


def made_up(raw: dict, *, diverged=None, history: tuple[str, ...] = (), steps=(0, 10, 100), seed: int = 0) -> Run:
    """A run in memory. `diverged`: which models did, by position along the axes. `history`: measures recorded."""
    spec = load_spec(raw)
    box = Boxes(spec.shape, spec.shape)[0]
    family, generator = FAMILIES[spec.model.family], np.random.default_rng(seed)
    lengths = {"feature": spec.model.features, "hidden": spec.model.hidden, **dict(spec.model.options)}

    def drawn(*dims: str, more: tuple[int, ...] = ()) -> np.ndarray:
        return generator.normal(size=(spec.instances, *more, *(lengths[d] for d in dims)), scale=0.6).astype(np.float32)

    params = {name: drawn(*dims) for name, dims in family.parameters.items()}
    loss = np.exp(drawn())
    status = np.zeros(spec.shape, int) if diverged is None else np.broadcast_to(diverged, spec.shape).astype(int)
    bad = status.reshape(-1) > 0
    for array in (*params.values(), loss):
        array[bad] = np.nan
    recorded = {name: np.exp(drawn(*MEASURES[name].dims, more=(len(steps),))) for name in history}
    given = dict(family.parameters), params, inputs(spec, box), loss, status.reshape(-1), recorded, list(steps)
    results = results_dataset(spec, box, *given, family.directions is not None)
    return Run(spec, None, best_of_cells(results) if spec.store.keep == "best" else results)
