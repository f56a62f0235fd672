"""GELU, and values that are not uniform."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies import figures
from studies.phase_changes.cells import grid_of, of_map
from studies.reporting import Report
from studies.summaries import SIGNED_PHASES, signed_phases

from tmsjax import analysis, theory


def make(report: Report) -> dict:
    """GELU, and values that are not uniform."""
    base = report.run("selection").dataset.isel(replica=slice(10))
    runs = {name: report.run(name) for name in ("constant", "half-normal", "gelu")}
    titles = {"constant": "ReLU, constant 1", "half-normal": "ReLU, half-normal", "gelu": "GELU, uniform"}
    datasets = {"ReLU, uniform": base} | {titles[name]: run.dataset for name, run in runs.items()}
    grids = {title: grid_of(dataset) for title, dataset in datasets.items()}
    curves = {
        title: theory.candidate_boundary(grids[title][0], analysis.spec_of(dataset).data.values)
        for title, dataset in datasets.items()
        if not title.startswith("GELU")
    }
    colours = {}
    for title, dataset in datasets.items():
        mapped = analysis.phase_map(dataset)
        colours[title] = mapped["norm"].to_numpy()[..., 1], mapped["superposition"].to_numpy()[..., 1]
    report.figure("activations", figures.colour_maps(colours, grids, curves))
    out: dict[str, Any] = {}
    for name, run in runs.items():
        signed = signed_phases(analysis.best(analysis.measures(run.dataset))["W"].to_numpy())
        shares = {p: np.mean(signed == k) for k, p in enumerate(SIGNED_PHASES)}
        apex = float(theory.candidate_boundary(1.0, run.spec.data.values))
        relu = analysis.phases_of(
            theory.candidate_weights(*analysis.cell_inputs(run.dataset)), analysis.layout(run.spec)
        )
        same = np.mean(analysis.phase_map(run.dataset)["phase"].to_numpy() == relu)
        out[name] = {**of_map(run), "shares": shares, "apex": apex, "as_uniform_relu": same}
    return out
