"""Capacity: how a fixed number of dimensions is divided between features."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies import figures
from studies.capacity.quadratic import allocation, marginal_benefit, quadratic_descents
from studies.reporting import Report, Rows, Runs, Study, Sweep, table
from studies.summaries import SHORT, arrangement, of_run

from tmsjax import theory
from tmsjax.kinds import measures

QUICK = [*SHORT, "axes.feature_probability.count=3", "axes.replica.count=2"]
VALUES = {"uniform": 9 / 5, "constant": 1.0, "half-normal": 3.0}  # E x^4 / (E x^2)^2 of an active feature
RUNS: Runs = {
    f"capacity_{name.replace('-', '_')}": Sweep(
        "capacity.toml",
        [] if name == "uniform" else [f"data.values={name}"],
        QUICK,
        ["model.features=6", "model.hidden=2"] if name == "uniform" else "capacity_uniform",
    )
    for name in VALUES
}
IGNORED, FULL = 0.05, 0.95  # capacities up to and from which a feature counts as ignored and as fully represented
TIGHT = 0.999  # share of m from which capacity counts as used up
CELLS = ((2, 0.3), (2, 0.1), (2, 0.03), (3, 0.3), (3, 0.1))  # hidden and feature probability of the exact minima
FEATURES, RATIO = 6, 0.85  # of the exact minima
STEP = 0.01  # relative change of an importance
EXPLAINED = 0.9  # share of the changes of a loss below which it is not a function of the feature's own capacity
SHOWN = (0, 1, 2, 4, 8)  # indices of the probabilities drawn
PROBABILITY, CAPACITY, IMPORTANCE = "feature probability", r"capacity $C_i$", "importance"


def make(report: Report) -> dict:
    """Capacity: how a fixed number of dimensions is divided between features."""
    runs = {name: report.run(f"capacity_{name.replace('-', '_')}") for name in VALUES}
    trained = {name: of_trained(run, VALUES[name]) for name, run in runs.items()}
    one = runs["uniform"]
    p = np.array(trained["uniform"]["p"])
    importance = (
        one.dataset["instance_importance"].to_numpy().reshape(-1, one.dataset.sizes["feature"])[0].astype(float)
    )
    cells = report.choose(CELLS, CELLS[:1])
    starts, features = report.choose((24, FEATURES), (6, FEATURES), (1, 3))
    minima = [benefit(hidden, p, starts, features) for hidden, p in cells]
    numbers = {
        "runs": {name: of_run(run) for name, run in runs.items()},
        "models": sum(run.spec.instances for run in runs.values()),
        "seeds": len(one.spec.axis["replica"]),
        "hidden": one.dataset.sizes["hidden"],
        "importance": importance,
        "trained": trained,
        "largest_sum": max(found["largest_sum"] for found in trained.values()),
        "out_of_order": sum(found["out_of_order"] for found in trained.values()),
        "best": sum(len(found["p"]) for found in trained.values()),
        "apart": {name: apart(found, trained["uniform"]) for name, found in trained.items() if name != "uniform"},
        "quadratic": of_quadratic(importance, p, one.dataset.sizes["hidden"], report.choose(12, 3, 1)),
        "benefit": minima,
        "ratios": {kind: max(found) for kind in ("digons", "pentagon") if (found := ratios(minima, kind))},
        "two": of_two(report.choose(32, 8, 3)),
    }
    report.figure("capacity_importance", drawn(numbers))
    two = numbers["two"]
    maps = {"ReLU model, exact": np.array(two["relu"]), "quadratic model": np.array(two["quadratic"])}
    grid = np.array(two["importance"]), np.array(two["p"])
    report.figure("capacity_two", figures.share_maps(maps, grid, "capacity of the extra feature", columns=2))
    return numbers


def groups(capacity: np.ndarray) -> np.ndarray:
    """0 ignored, 1 partly, 2 fully represented."""
    return (capacity > IGNORED).astype(int) + (capacity >= FULL)


def counts(capacity: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of ignored, partly and fully represented features, from capacities (..., n)."""
    kinds = groups(capacity)
    return {name: (kinds == k).sum(-1) for k, name in enumerate(("ignored", "partial", "full"))}


def of_trained(run: Any, kurtosis: float) -> dict:
    """Capacities of the best model at every probability, descending, and their sums in all models.

    kurtosis: of an active feature's value. A feature that is inactive with probability 1 - p has 1/p times as much.
    """
    dataset = run.dataset.transpose("feature_probability", "replica", "hidden", "feature", ...)
    p = dataset["feature_probability"].to_numpy().astype(float)
    sound = dataset["status"].to_numpy() == 0
    capacity = measures.dimensionality(dataset["W"].to_numpy().astype(float))
    sums = np.where(sound, capacity.sum(-1), np.nan)
    loss = np.where(sound, dataset["loss"].to_numpy(), np.inf)
    best = loss.argmin(-1)
    rows = np.arange(len(p))
    return {
        "p": p,
        "kurtosis": kurtosis / p,
        "capacity": capacity[rows, best],
        "sum": sums[rows, best],
        "largest_sum": np.nanmax(sums),
        "out_of_order": int((np.diff(groups(capacity[rows, best])) > 0).sum()),
        "tight": np.nanmean(sums >= TIGHT * dataset.sizes["hidden"]),
        **counts(capacity[rows, best]),
    }


def apart(one: dict, other: dict) -> dict[str, float]:
    """The mean difference of the numbers of partly represented features, at the same probability and kurtosis.

    The numbers of `other` are interpolated in the logarithm of the kurtosis, where it has that kurtosis.
    """
    ours, theirs = np.log(one["kurtosis"]), np.log(other["kurtosis"])
    within = (ours >= theirs.min()) & (ours <= theirs.max())
    expected = np.interp(ours, theirs, other["partial"])  # kurtosis ascends, since p descends
    return {
        "probability": float(np.abs(one["partial"] - other["partial"]).mean()),
        "kurtosis": float(np.abs(one["partial"] - expected)[within].mean()),
    }


def of_quadratic(importance: np.ndarray, p: np.ndarray, hidden: int, starts: int) -> dict:
    """The allocation of the quadratic model at the kurtosis of uniform values, and how descents confirm it.

    The loss of a feature that is ignored is proportional to the square of its target, so that the root of its
    importance is its target.
    """
    target, kurtosis = np.sqrt(importance), VALUES["uniform"] / p
    found = [allocation(target, k, hidden) for k in kurtosis]
    ends = [quadratic_descents(target, k, hidden, starts=starts) for k in kurtosis]
    capacity = np.array([one.capacity for one in found])
    reached = [measures.dimensionality(end.W[0]) for end in ends]
    spread = []
    for k, end, shares in zip(kurtosis, ends, reached, strict=True):
        part = (shares > IGNORED) & (shares < FULL)
        if not part.any():
            continue
        scale = (measures.norms(end.W[0]) ** 2)[part] / shares[part]
        values = marginal_benefit(target[part], shares[part], scale, k)
        spread.append(np.ptp(values) / values.mean())
    return {
        "kurtosis": kurtosis,
        "capacity": capacity,
        "starts": starts,
        "gap": max(abs(end.loss[0] / one.loss - 1) for one, end in zip(found, ends, strict=True)),
        "gradient": max(end.gradient[0] for end in ends),
        "difference": np.abs(capacity - reached).max(),
        "spread": max(spread, default=float("nan")),
        **counts(capacity),
    }


def benefit(hidden: int, p: float, starts: int, features: int = FEATURES) -> dict:
    """The marginal benefit of capacity at the lowest minimum of the exact loss, from its response to importances.

    Every importance in turn is changed by +-1 %, and the minimum followed. -I_i times the change of the loss of output
    i is regressed on the change of C_i over all turns: the slope is the benefit, in units of p/3, the loss of a feature
    of importance 1 whose output is 0. `explained`: the share of the changes of that loss which the regression explains.
    `balance`: the sum over features of I_i times the changes, 0 at a minimum, over the largest of its terms.
    """
    importance, probability = RATIO ** np.arange(features), np.full(features, p)
    found = theory.minima(importance, probability, hidden, starts=starts)
    W, b = found.W[0], found.b[0]
    changes = np.array([response(W, b, importance, probability, k) for k in range(features)])
    capacities, losses = changes[:, 0], changes[:, 1] * importance
    own = (capacities**2).sum(0)
    slope = -(capacities * losses).sum(0) / np.where(own > 0, own, np.inf)
    left = ((losses + slope * capacities) ** 2).sum(0)
    capacity = measures.dimensionality(W)
    part = (capacity > IGNORED) & (capacity < FULL)
    explained = 1 - left / (losses**2).sum(0)
    return {
        "hidden": hidden,
        "p": p,
        "loss": found.loss[0],
        "gradient": found.gradient[0],
        "starts": int(found.count.sum()),
        "arrangement": arrangement(W),
        "capacity": capacity,
        "sum": capacity.sum(),
        "benefit": slope / (p / 3),
        "explained": explained,
        "balance": np.abs(losses.sum(-1)).max() / np.abs(losses).max(),
        "partial": int(part.sum()),
        "least_explained": explained[part].min(),
        "ratio": slope[part].max() / slope[part].min(),
    }


def ratios(minima: list[dict], kind: str) -> list[float]:
    """Of the minima whose arrangement ends in `kind`: the largest over the least benefit."""
    return [one["ratio"] for one in minima if one["arrangement"].endswith(kind)]


def response(W: np.ndarray, b: np.ndarray, importance: np.ndarray, probability: np.ndarray, k: int) -> np.ndarray:
    """Changes (2, n) of the capacities and of the losses of all outputs when importance k grows by 2 STEP."""
    sides = []
    for sign in (1, -1):
        changed = importance.copy()
        changed[k] *= 1 + sign * STEP
        one = theory.follow(W, b, changed[None], probability[None])
        outputs = [theory.exact_losses(one.W, one.b, unit, probability)[0] for unit in np.eye(len(importance))]
        sides.append([measures.dimensionality(one.W[0]), outputs])
    return np.subtract(sides[0], sides[1])


def of_two(points: int) -> dict:
    """The capacity of the extra of two features in one dimension, in the ReLU and in the quadratic model."""
    importance, p = np.geomspace(0.1, 10, points), np.geomspace(1, 0.01, points)
    r, q = (v.reshape(-1) for v in np.meshgrid(importance, p))
    exact = theory.exact_optimum(np.stack([np.ones_like(r), r], 1), np.stack([q, q], 1))
    relu = measures.dimensionality(exact.W)[:, 1]
    quadratic = np.array([extra(one, VALUES["uniform"] / at) for one, at in zip(r, q, strict=True)])
    kinds = [groups(v) for v in (relu, quadratic)]
    return {
        "importance": importance,
        "p": p,
        "relu": relu.reshape(points, points),
        "quadratic": quadratic.reshape(points, points),
        "gradient": exact.gradient.max(),
        "agreement": (kinds[0] == kinds[1]).mean(),
        "shared": [(kind == 1).mean() for kind in kinds],
        "cells": len(r),
        "highest": [q[kind == 1].max(initial=0) for kind in kinds],
        "border": VALUES["uniform"] / 3,
    }


def extra(importance: float, kurtosis: float) -> float:
    """The capacity of the second of two features of importance 1 and `importance` in the quadratic model."""
    first, second = allocation(np.sqrt([max(importance, 1), min(importance, 1)]), kurtosis, 1).capacity
    return first if importance > 1 else second


def drawn(numbers: dict) -> Any:
    trained, quadratic, importance = numbers["trained"], numbers["quadratic"], np.array(numbers["importance"])
    uniform = trained["uniform"]
    shown = [k for k in SHOWN if k < len(uniform["p"])]

    def by_importance(capacity: Any) -> dict:
        return {f"p = {uniform['p'][k]:.2g}": (importance, np.array(capacity)[k]) for k in shown}

    partial = {f"{name} values": (found["p"], found["partial"]) for name, found in trained.items()}
    partial["quadratic model"] = (uniform["p"], quadratic["partial"])
    kurtosis = {f"{name} values": (found["kurtosis"], found["partial"]) for name, found in trained.items()}
    kurtosis["quadratic model"] = (quadratic["kurtosis"], quadratic["partial"])
    panel, many = figures.Panel, "partly represented features"
    levels = {"1/2": 1 / 2, "2/5": 2 / 5}
    relu = by_importance(uniform["capacity"])
    return figures.panels(
        [
            panel(
                "trained ReLU models, uniform values",
                IMPORTANCE,
                CAPACITY,
                relu,
                levels=levels,
                legend="upper left",
            ),
            panel(
                "quadratic model, same kurtosis",
                IMPORTANCE,
                CAPACITY,
                by_importance(quadratic["capacity"]),
                legend="upper left",
            ),
            panel("against probability", PROBABILITY, many, partial),
            panel("against kurtosis", r"kurtosis $E x^4 / (E x^2)^2$", many, kurtosis),
        ],
        columns=2,
    )


def division(numbers: dict) -> str:
    """Fully, partly represented and ignored features for every probability, and the kurtosis."""
    found = numbers
    trained, quadratic = found["trained"], found["quadratic"]

    def cell(part: dict, k: int) -> str:
        return f"{part['full'][k]} / {part['partial'][k]} / {part['ignored'][k]}"

    rows: Rows = [
        [
            f"{p:.3g}",
            *[f"{cell(part, k)} ({part['kurtosis'][k]:.3g})" for part in trained.values()],
            f"{cell(quadratic, k)} ({quadratic['kurtosis'][k]:.3g})",
        ]
        for k, p in enumerate(trained["uniform"]["p"])
    ]
    return table(["p", *[f"{name} values" for name in trained], "quadratic model"], rows)


def benefits(numbers: dict) -> str:
    """Capacities and marginal benefits of the exact minima."""
    rows: Rows = []
    for one in numbers["benefit"]:
        part = [k for k, c in enumerate(one["capacity"]) if IGNORED < c < FULL]
        defined = one["least_explained"] >= EXPLAINED
        rows.append(
            [
                str(one["hidden"]),
                f"{one['p']:g}",
                one["arrangement"],
                ", ".join(f"{c:.3f}" for c in one["capacity"]),
                ", ".join(f"{one['benefit'][k]:.3f}" for k in part) if defined else "not defined",
                f"{one['least_explained']:.3f}",
                f"{one['ratio']:.2f}" if defined else "",
            ]
        )
    head = ["m", "p", "arrangement", "capacities", "marginal benefits", "least explained", "largest / least"]
    return table(head, rows)


STUDY = Study("capacity", make, RUNS, {"division": division, "benefits": benefits}, drawn=True)
