"""Correlated and anticorrelated features: sets that are active together, and sets that never are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from studies.correlated import sets
from studies.reporting import Report, Rows, Study, Sweep, percent, table
from studies.summaries import SHORT, draw, of_run

from tmsjax import analysis

TITLES = {
    "correlated_4_2": "active together (4, 2)",
    "correlated_6_2": "active together (6, 2)",
    "anticorrelated_4_2": "never together (4, 2)",
    "anticorrelated_6_2": "never together (6, 2)",
    "local_bases_20_10": "2 sets of 10 (20, 10)",
}


def make(report: Report) -> dict:
    out: dict[str, Any] = {"near": sets.NEAR, "seeds": {}}
    for name in TITLES:
        run = report.run(name)
        draw(report, name)
        measured = sets.of_sets(run.dataset, dict(run.spec.data.options)["size"])
        out["seeds"][name] = len(run.spec.axis["replica"])
        out[name] = of_run(run) | of_cells(measured)
    found = out["anticorrelated_6_2"]
    least = found["lowest"]["antipodal"][1:]
    excess = [a / b - 1 for a, b in zip(least, found["loss"][1:], strict=True) if a is not None]
    return out | {"antipodal_excess": max(excess, default=np.nan)}


def of_cells(measured: xr.Dataset) -> dict[str, Any]:
    """Per probability: how the members of sets lie, in the best model and over all seeds that did not diverge."""
    measured = measured.transpose("feature_probability", "replica", ...)
    best = analysis.best(measured)
    relation = measured["relation"].to_numpy()
    ok = (measured["status"] == 0).to_numpy()
    return {
        "probability": measured["feature_probability"].to_numpy(),
        "loss": best["loss"].to_numpy(),
        # of all pairs within sets, over seeds
        "pairs": {name: share(relation == k, ok[..., None]) for k, name in enumerate(sets.RELATIONS)},
        # seeds in which every pair within sets is so
        "seeds": {name: share((relation == k).all(-1), ok) for k, name in enumerate(sets.RELATIONS)},
        # their lowest loss
        "lowest": {
            name: lowest(measured["loss"], ok & (relation == k).all(-1)) for k, name in enumerate(sets.RELATIONS)
        },
        "best": [[sets.RELATIONS[k] for k in row] for row in best["relation"].to_numpy()],
        **{
            f"{which}_{name}": absolute(data[f"cosine_{name}"])
            for which, data in (("all", measured), ("best", best))
            for name in ("within", "across")
        },
        "best_cosine": best["cosine_within"].mean("within").to_numpy(),
    }


def share(yes: np.ndarray, ok: np.ndarray) -> np.ndarray:
    """The share of `yes` among `ok`, per cell (the first axis)."""
    ok = np.broadcast_to(ok, yes.shape)
    axes = tuple(range(1, yes.ndim))
    return (yes & ok).sum(axes) / ok.sum(axes)


def lowest(loss: xr.DataArray, chosen: np.ndarray) -> list[float | None]:
    """The lowest loss of the chosen models per cell; None where none is chosen."""
    least = np.where(chosen, loss.to_numpy(), np.inf).min(1)
    return [float(v) if np.isfinite(v) else None for v in least]


def absolute(cosine: xr.DataArray) -> np.ndarray:
    """The mean |cosine| per cell, over pairs of represented features and over seeds."""
    return np.nanmean(np.abs(cosine.to_numpy().reshape(cosine.shape[0], -1)), axis=1)


def relations(numbers: dict) -> str:
    """How pairs within sets lie, in the best model and over all seeds."""
    rows: Rows = []
    for name, p, found, k in cells(numbers):
        kinds = found["best"][k]
        best = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        rows.append([TITLES[name], p, best, *percent(shares[k] for shares in found["pairs"].values())])
    return table(["sets", "p", "best model", *(f"{kind}, all seeds" for kind in sets.RELATIONS)], rows)


def cosines(numbers: dict) -> str:
    """Mean |cosines| of represented features within and across sets."""
    keys = ("best_within", "best_across", "all_within", "all_across")
    rows = [[TITLES[name], p, *(f"{found[key][k]:.2f}" for key in keys)] for name, p, found, k in cells(numbers)]
    head = ["within, best model", "across, best model", "within, all seeds", "across, all seeds"]
    return table(["sets", "p", *head], rows)


def cells(numbers: dict) -> Iterator[tuple[str, str, dict, int]]:
    """(sweep, probability, the sweep's numbers, index of the probability) of every cell."""
    for name in TITLES:
        found = numbers[name]
        for k, p in enumerate(found["probability"]):
            yield name, f"{p:g}", found, k


def seeds(numbers: dict) -> str:
    """Seeds in which all sets are as the paper says."""
    rows: Rows = []
    for name, wanted in (
        ("correlated_4_2", "orthogonal"),
        ("correlated_4_2", "collapsed"),
        ("correlated_6_2", "side by side"),
        ("correlated_6_2", "collapsed"),
        ("anticorrelated_4_2", "antipodal"),
        ("anticorrelated_4_2", "orthogonal"),
        ("anticorrelated_6_2", "antipodal"),
        ("local_bases_20_10", "orthogonal"),
    ):
        found = numbers[name]
        rows.append([TITLES[name], wanted, *percent(found["seeds"][wanted])])
    head = [f"p = {p:g}" for p in numbers["correlated_4_2"]["probability"]]
    return table(["sets", "all pairs within sets", *head], rows)


STUDY = Study(
    name="correlated",
    make=make,
    runs={
        name: Sweep(
            "sweeps/correlated_4_2.toml" if name == "correlated_4_2" else f"{name}.toml",
            quick=(*SHORT, f"axes.replica.count={3 if name.startswith('local') else 50}"),
            smallest=("axes.replica.count=2", "train.steps=20", "train.batch=16"),
        )
        for name in TITLES
    },
    tables={"relations": relations, "cosines": cosines, "seeds": seeds},
    drawn=True,
)
