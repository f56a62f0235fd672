"""Selection rules, number of replicas, inits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from studies import figures
from studies.phase_changes.cells import grid_of, of_map
from studies.phase_changes.tables import RULES
from studies.reporting import Report

from tmsjax import analysis, theory
from tmsjax.errors import RunError

COUNTS = tuple(range(1, 33))


def make(report: Report) -> dict:
    """Selection rules, number of replicas, inits."""
    run, stratified, scales = (report.run(n) for n in ("selection", "selection-stratified", "init-scale"))
    facts = {name: of_map(r) for name, r in (("random", run), ("stratified", stratified))}
    stored = analysis.stored_exact_map(run)
    assert stored is not None
    phases = stored["phase"].to_numpy()
    grid = grid_of(run.dataset)
    counts = [k for k in COUNTS if k <= len(run.spec.axis["replica"])]
    curves, ten = {}, run.dataset.isel(replica=slice(10))
    for rule in RULES:
        curves[rule] = analysis.agreement_by_count(run.dataset, phases, rule, counts)
    curves["stratified"] = analysis.agreement_by_count(stratified.dataset, phases, "best", counts)
    shown = {RULES[rule]: (counts, 100 * np.array(curves[rule])) for rule in RULES}
    shown["best loss, stratified signs"] = (counts, 100 * np.array(curves["stratified"]))
    label = "cells as in exact theory, %"
    report.figure(
        "selection_curves",
        figures.lines({"": shown}, x="replicas a cell", y=label, ticks=[k for k in counts if k & (k - 1) == 0]),
    )
    coloured = {}
    for rule, text in RULES.items():
        mapped = analysis.phase_map(ten, rule)
        coloured[text] = (mapped["norm"].to_numpy()[..., 1], mapped["superposition"].to_numpy()[..., 1])
    curve = theory.candidate_boundary(grid[0])
    grids, same = dict.fromkeys(coloured, grid), dict.fromkeys(coloured, curve)
    report.figure("selection_maps", figures.colour_maps(coloured, grids, same))
    near = np.abs(np.log(grid[0])) <= math.log(2)
    inside = (phases == 3) & near[None]
    return {
        **facts,
        "counts": counts,
        "agreement": curves,
        "signs": {
            "random": by_sign(run.dataset, phases, inside),
            "stratified": by_sign(stratified.dataset, phases, inside),
        },
        "scales": by_scale(scales, report),
    }


def by_sign(dataset: xr.Dataset, phases: np.ndarray, inside: np.ndarray) -> dict:
    """Share of inits that succeed, by region and by the sign of w1 w2 at init.

    Regions: superposition at importances from 1/2 to 2 ("near") and at others ("far"), no superposition ("elsewhere").
    """
    good, opposite = analysis.success(dataset), opposite_at_init(dataset)
    regions = {"near": inside, "far": (phases == 3) & ~inside, "elsewhere": phases != 3}
    out = {}
    for name, cells in regions.items():
        there = np.broadcast_to(cells[..., None], good.shape)
        out[name] = {
            "opposite": good[there & opposite].mean(),
            "equal": good[there & ~opposite].mean(),
            "all": good[there].mean(),
        }
    return out


def opposite_at_init(dataset: xr.Dataset) -> np.ndarray:
    """Whether w1 w2 < 0 before step 0, in the shape of the instances, for n = 2, m = 1.

    Raises RunError if W was not recorded at step 0.
    """
    if "history_W" not in dataset or 0 not in dataset["step"]:
        raise RunError('the signs at init need [record] measures = ["W"] with step 0 among its steps')
    W = dataset["history_W"].sel(step=0).transpose(*dataset["loss"].dims, "hidden", "feature").to_numpy()
    return W[..., 0, 0] * W[..., 0, 1] < 0


def by_scale(run: Any, report: Report) -> dict:
    """Success by init scale; draws maps of the inits that fail."""
    dataset = run.dataset
    good, opposite = analysis.success(dataset), opposite_at_init(dataset)
    grid = grid_of(dataset)
    stored = analysis.exact_map(dataset.isel(init_scale=slice(1)))
    assert stored is not None
    inside = (stored["phase"].to_numpy()[0] == 3) & (np.abs(np.log(grid[0])) <= math.log(2))[None]
    scales = dataset["init_scale"].to_numpy()
    maps = {f"scale {s:g}": 1 - good[k].mean(-1) for k, s in enumerate(scales)}
    report.figure("init_scale", figures.share_maps(maps, grid, "share of inits that fail", columns=4))
    there = inside[..., None] & np.ones(good.shape[-1], bool)
    failed = int((dataset["status"] != 0).sum())
    rows: list[dict] = [
        {
            "scale": s,
            "all": good[k].mean(),
            "near": good[k][there].mean(),
            "opposite": good[k][there & opposite[k]].mean(),
            "equal": good[k][there & ~opposite[k]].mean(),
        }
        for k, s in enumerate(scales)
    ]
    return {
        "rows": rows,
        "models": run.spec.instances,
        "seconds": run.directory.info().seconds_of_training,
        "diverged": failed,
    }
