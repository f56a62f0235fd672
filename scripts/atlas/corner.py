"""2. The corner: where superposition sets in gradually near importance 1, and where in a jump."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from reporting import Report, Rows, Tables, table
from scipy import optimize

from tmsjax import plots, theory
from tmsjax.kinds import VALUES

RUNS: dict = {}
NAMES = ("uniform", "constant", "half-normal")
QUOTIENTS = {"1/2": 0.5, "3/4": 0.75, "1": 1.0, "3/2": 1.5, "2": 2.0}  # p2 / p1
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
FEW = (0.1, 0.4, 0.7, 1.0)
RANDOM, CHECK_RANDOM = 8, 200  # random starts a cell beside the 21 structured ones; of the check
BETTER = 1e-12  # by which a loss has to be lower to count
SHARP = 1e-9  # precision of a jump's probability
RATIO_OF_FIT = 0.7
FIT = (1e-5, 1e-4)  # distances below the onset at which the exponent is fitted
Cell = tuple[float, np.ndarray]  # ratio I2/I1, (p1, p2)
SIGNS = {-1: "opposite", 1: "equal"}


def make(report: Report) -> dict:
    """2. The corner: where superposition sets in gradually near importance 1, and where in a jump."""
    quick = report.quick
    points = {
        name: {q: special_points(name, QUOTIENTS[q], 24 if quick else 60) for q in (["1"] if quick else QUOTIENTS)}
        for name in NAMES
    }
    ratios = np.array(FEW if quick else RATIOS)
    jumps = {}
    for name in NAMES:
        below = [r for r in ratios if not r > (points[name]["1"]["everywhere"] or {"ratio": 2.0})["ratio"]]
        if name != "half-normal":
            below = list(ratios)
        jumps[name] = jump(name, np.array(below), 32 if quick else 64)
    equal = {name: points[name]["1"] for name in NAMES}
    numbers: dict[str, Any] = {
        "points": points,
        "jumps": jumps,
        "onset": {name: onset_curve(name, 60) for name in NAMES},
        "first": first_jumps(equal["uniform"], 5 if quick else 12),
        "growth": {
            "uniform": growth("uniform", onset_at("uniform", RATIO_OF_FIT), RATIO_OF_FIT),
            "tricritical": growth("uniform", equal["uniform"]["tricritical"]["p"], None),
            "constant": growth("constant", RATIO_OF_FIT, RATIO_OF_FIT),
        },
        "switch": [sign_switch(r) for r in (0.6, 0.8, 1.0)],
        "tail": tail_of_constant((0.02, 0.005)),
    }
    numbers["check"] = check(numbers, 40 if quick else CHECK_RANDOM)
    report.figure("corner_map", drawn(numbers))
    report.figure("corner_growth", growth_drawn(numbers))
    return numbers


def starts(mean: float, random: int, seed: int = 0) -> np.ndarray:
    """theta (k, 4): the dedicated model, both features in either role and with either sign, and random models."""
    rows = [[1.0, 0.0, 0.0, mean]]
    for w in (0.03, 0.1, 0.3, 0.6, 1.0):
        for sign in (-1, 1):
            rows += [[1.0, sign * w, 0.3 * w, (1 - w) * mean], [sign * w, 1.0, (1 - w) * mean, 0.3 * w]]
    drawn_at_random = np.random.default_rng(seed).normal(size=(random, 4)) * [1.0, 1.0, 0.3, 0.3]
    return np.concatenate([rows, drawn_at_random])


def lowest(values: str, cells: list[Cell], random: int = RANDOM, seed: int = 0) -> theory.LocalMinima:
    """The lowest minimum of every cell, w1 > 0."""
    begin = np.stack([starts(p[1] * VALUES[values].mean, random, seed) for _, p in cells])
    k, count = begin.shape[:2]
    importance = np.repeat([[1.0, r] for r, _ in cells], count, 0)
    probability = np.repeat([p for _, p in cells], count, 0)
    found = theory.one_neuron_minima(begin.reshape(-1, 4), importance, probability, values)
    best = found.loss.reshape(k, count).argmin(1) + np.arange(k) * count
    theta = found.theta[best]
    theta[:, :2] *= np.where(theta[:, :1] < 0, -1, 1)
    return theory.LocalMinima(theta, found.loss[best], found.gradient[best])


def dedicated_loss(values: str, cell: Cell) -> float:
    """Of the model that leaves feature 2 out: I2 v(p2)."""
    return float(cell[0] * theory.variance(cell[1][1], values))


def share(theta: np.ndarray) -> np.ndarray:
    """The smaller weight over the larger one, without sign."""
    w = np.sort(np.abs(theta[..., :2]), axis=-1)
    return w[..., 0] / w[..., 1]


def crossing(values: str, theta: np.ndarray, cell_at: Callable[[float], Cell], s: float, step: float) -> dict:
    """Where along `cell_at` the loss of a branch with superposition rises to that of the dedicated model.

    Follows the branch from its minimum near theta at s, where it is the better one, towards s + step by secants. The
    gain over the dedicated model is the largest of functions that are nearly linear in s, so secants stop short of the
    crossing and do not pass the end of the branch. Raises ArithmeticError if the branch ends anyway.
    """

    def gain_at(s: float, theta: np.ndarray) -> tuple[float, np.ndarray, float]:
        ratio, p = cell_at(s)
        found = theory.one_neuron_minima(theta[None], [1.0, ratio], p, values)
        return dedicated_loss(values, (ratio, p)) - found.loss[0], found.theta[0], found.gradient[0]

    before, theta, _ = gain_at(s, theta)
    for _ in range(100):
        s += step
        gain, theta, gradient = gain_at(s, theta)
        if share(theta) < 1e-3:
            raise ArithmeticError(f"the branch with superposition ends at {s}")
        if abs(gain) < 1e-16 or gain == before:
            break
        step *= gain / (before - gain)
        before = gain
    ratio, p = cell_at(s)
    return {
        "ratio": float(ratio),
        "p": float(p[0]),
        "theta": theta * [*(2 * [np.copysign(1, theta[0])]), 1, 1],
        "gain": gain,
        "gradient": gradient,
    }


def special_points(values: str, q: float, count: int) -> dict:
    """Along the onset at p2 = q p1: where the jump meets it, tricritical points, and the jump at the largest p1."""

    def onset(p1: float) -> theory.Onset:
        return theory.one_neuron_onset(p1, q * p1, values)

    def on_curve(p1: float) -> Cell:
        return onset(p1).ratio, np.array([p1, q * p1])

    top = min(1.0, 1 / q)
    p = np.linspace(0.02, top - (1e-3 if values == "constant" else 0), count)  # constant values have no variance at 1
    p = np.array([one for one in p if np.isfinite(onset(one).ratio)])
    cubic = np.array([onset(one).cubic for one in p])
    best = lowest(values, [on_curve(one) for one in p])
    gain = np.array([dedicated_loss(values, on_curve(one)) for one in p]) - best.loss
    out: dict[str, Any] = {
        "end": None,
        "tricritical": None,
        "everywhere": None,
        "continuous": float(np.mean((cubic > 0) & (gain < BETTER))),
        "cubic": [float(cubic.min()), float(cubic.max())],
        "gain": float(gain.max()),
        "gradient": float(best.gradient.max()),
    }
    for k, (a, b) in enumerate(pairwise(p)):
        if gain[k] > BETTER >= gain[k + 1] and cubic[k + 1] > 0:
            out["end"] = crossing(values, best.theta[k], on_curve, a, 1e-5)
        if cubic[k] > 0 >= cubic[k + 1] and gain[k] < BETTER:
            at = optimize.brentq(lambda s: onset(s).cubic, a, b, xtol=1e-13)
            out["tricritical"] = {"p": at, "ratio": onset(at).ratio}
    if cubic[-1] < 0:
        cell = np.array([top, q * top])
        begin = lowest(values, [(onset(top).ratio, cell)]).theta[0]
        out["everywhere"] = crossing(values, begin, lambda s: (s, cell), onset(top).ratio, -1e-5)
    return out


def onset_curve(values: str, count: int) -> dict:
    """Onset for equal probabilities: p, ratio, and the cubic coefficient of both signs of the minor weight."""
    p = np.linspace(0.02, 0.999 if values == "constant" else 1.0, count)
    found = {sign: [theory.one_neuron_onset(one, one, values, sign) for one in p] for sign in SIGNS}
    return {
        "p": p,
        "ratio": [one.ratio for one in found[-1]],
        **{SIGNS[sign]: [one.cubic for one in found[sign]] for sign in SIGNS},
    }


def onset_at(values: str, ratio: float) -> float:
    """The probability of the onset at this ratio, for equal probabilities."""

    def rest(p: float) -> float:
        return theory.one_neuron_onset(p, p, values).ratio - ratio

    return float(optimize.brentq(rest, 1e-3, 1 - 1e-9, xtol=1e-14))


def jump(values: str, ratios: np.ndarray, count: int) -> dict:
    """The largest jump of the minor weight's share in p, at every ratio, for equal probabilities: bisected.

    Both sides are global minima of cells closer than SHARP; `inside` is at the smaller probability.
    """

    def solve(p: np.ndarray) -> np.ndarray:
        return lowest(values, [(r, np.array([one, one])) for r, one in zip(ratios, p, strict=True)]).theta

    grid = np.linspace(0.5 * theory.candidate_boundary(ratios, values), 1 - 1e-6, count, axis=1)
    cells = [(r, np.array([one, one])) for r, row in zip(ratios, grid, strict=True) for one in row]
    found = lowest(values, cells).theta.reshape(len(ratios), count, 4)
    rows = np.arange(len(ratios))
    gap = np.abs(np.diff(share(found), axis=1)).argmax(1)
    low, high, inside, outside = grid[rows, gap], grid[rows, gap + 1], found[rows, gap], found[rows, gap + 1]
    while (high - low).max() > SHARP:
        middle = (low + high) / 2
        new = solve(middle)
        near = np.abs(share(new) - share(inside)) < np.abs(share(new) - share(outside))
        low, high = np.where(near, middle, low), np.where(near, high, middle)
        inside, outside = np.where(near[:, None], new, inside), np.where(near[:, None], outside, new)
    return {
        "ratio": ratios,
        "p": (low + high) / 2,
        "inside": inside,
        "outside": outside,
        "gap": share(inside) - share(outside),
    }


def first_jumps(points: dict, count: int) -> dict:
    """Uniform values beyond the tricritical point: the jump from the dedicated model, above the onset."""
    ends = points["tricritical"]["ratio"], points["everywhere"]["ratio"]
    out: dict[str, list] = {"ratio": [], "p": [], "onset": [], "weight": [], "gain": [], "gradient": []}
    for part in np.linspace(0, 1, count + 2)[1:-1]:
        ratio = ends[0] + part * (ends[1] - ends[0])
        onset = onset_at("uniform", ratio)
        begin = lowest("uniform", [(ratio, np.array([onset, onset]))]).theta[0]
        at = crossing("uniform", begin, lambda p, r=ratio: (r, np.array([p, p])), onset, 1e-7)
        row = (ratio, at["p"], onset, abs(at["theta"][1]), at["gain"], at["gradient"])
        for name, value in zip(out, row, strict=True):
            out[name].append(float(value))
    return out


def growth(values: str, at: float, ratio: float | None) -> dict:
    """The minor weight at distances below the onset's probability `at`, and the exponent of its power law.

    `ratio`: None for the ratio of the onset at `at`. Descents from weights 1e-4 to 0.5 along the first order of the
    onset, of both signs. The exponent's error is that of the fit's slope.
    """
    ratio = theory.one_neuron_onset(at, at, values).ratio if ratio is None else ratio
    distance = np.geomspace(FIT[0], 1e-2, 25)
    weights, expected, gradients = [], [], []
    for d in distance:
        p = at - d
        rows = []
        for sign in SIGNS:
            one = theory.one_neuron_onset(p, p, values, sign)
            for w in np.geomspace(1e-4, 0.5, 24):
                mean = p * VALUES[values].mean
                rows.append([1 + one.alpha * w / 2, sign * w, one.beta * w, mean * (1 - w * w - sign * w)])
        found = theory.one_neuron_minima(np.array(rows), [1.0, ratio], [p, p], values)
        best = found.loss.argmin()
        entering = theory.one_neuron_onset(p, p, values, 1 if found.theta[best, :2].prod() > 0 else -1)
        weights.append(float(np.abs(found.theta[best, :2]).min()))
        gradients.append(float(found.gradient[best]))
        expected.append(2 * (ratio * entering.gain - entering.cost) / (3 * entering.cubic))
    inside = distance <= FIT[1] * (1 + 1e-9)
    x, y = np.log(distance[inside]), np.log(np.array(weights)[inside])
    fit, covariance = np.polyfit(x, y, 1, cov=True)
    return {
        "ratio": ratio,
        "onset": at,
        "distance": distance,
        "weight": weights,
        "exponent": float(fit[0]),
        "error": float(np.sqrt(covariance[0, 0])),
        "points": int(inside.sum()),
        "amplitude": weights[0] / expected[0],
        "gradient": max(gradients),
    }


def sign_switch(ratio: float) -> dict:
    """Constant values: the probability at which the lowest minimum's weights change from opposite to equal signs."""

    def equal(p: float) -> bool:
        theta = lowest("constant", [(ratio, np.array([p, p]))]).theta[0]
        return bool(theta[0] * theta[1] > 0)

    low, high = 0.45, 0.56
    if equal(low) or not equal(high):
        raise ArithmeticError(f"no change of sign between {low} and {high} at ratio {ratio}")
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (low, middle) if equal(middle) else (middle, high)
    return {"ratio": ratio, "p": (low + high) / 2}


def tail_of_constant(ratios: tuple[float, ...]) -> list[dict]:
    """How far the jump is below the onset p = r for small ratios, in units of r^2."""
    found = jump("constant", np.array(ratios), 400)
    return [
        {"ratio": r, "p": float(p), "scaled": float((r - p) / r**2)}
        for r, p in zip(ratios, found["p"], strict=True)
    ]


def check(numbers: dict, random: int) -> dict:
    """Random starts at the special points and at both sides of the jumps: how many find a lower loss than reported."""
    cells: dict[str, list[tuple[Cell, float]]] = {name: [] for name in NAMES}
    for name, by_quotient in numbers["points"].items():
        for q, one in by_quotient.items():
            for point in (one["end"], one["tricritical"], one["everywhere"]):
                if point is not None:
                    cell = point["ratio"], np.array([point["p"], QUOTIENTS[q] * point["p"]])
                    cells[name].append((cell, dedicated_loss(name, cell)))
        found = numbers["jumps"][name]
        for side in ("inside", "outside"):
            for r, p, theta in zip(found["ratio"], found["p"], found[side], strict=True):
                loss = theory.one_neuron_loss(theta, [1.0, r], [p, p], name)[0]
                cells[name].append(((r, np.array([p, p])), float(loss)))
    lower, worst, count, gradient = 0, 0.0, 0, 0.0
    for name, known in cells.items():
        best = lowest(name, [cell for cell, _ in known], random, seed=1)
        gains = np.array([loss for _, loss in known]) - best.loss
        lower, count = lower + int((gains > 1e-9).sum()), count + len(known)
        worst, gradient = max(worst, float(gains.max())), max(gradient, float(best.gradient.max()))
    return {"cells": count, "starts": random, "lower": lower, "largest": worst, "gradient": gradient}


def drawn(numbers: dict) -> Any:
    """The map of each distribution: onset, jump and special points over the ratio (log) and p."""
    parts = []
    for name in NAMES:
        onset, found, points = numbers["onset"][name], numbers["jumps"][name], numbers["points"][name]["1"]
        dots = {
            label: ([points[key]["ratio"]], [points[key]["p"]])
            for key, label in (("end", "jump meets onset"), ("tricritical", "tricritical point"))
            if points[key] is not None
        }
        if points["everywhere"] is not None:
            dots["jump at p = 1"] = ([points["everywhere"]["ratio"]], [1.0])
        p, ratio, cubic = (np.array(onset[key], float) for key in ("p", "ratio", "opposite"))
        r, at = np.array(found["ratio"]), np.array(found["p"])
        if name == "half-normal":
            r, at = np.append(r, points["everywhere"]["ratio"]), np.append(at, 1.0)
        curves = {
            "onset, continuous if reached": (ratio, np.where(cubic > 0, p, np.nan)),
            "onset, a jump comes first": (ratio, np.where(cubic > 0, np.nan, p)),
            "jump": (r, at),
        }
        parts.append(
            plots.reports.Panel(
                f"{name} values",
                "importance ratio r (log)",
                "feature probability",
                curves,
                dots=dots,
                limits=(0, 1.03),
                legend="upper left",
            )
        )
    return plots.reports.panels(parts)


def growth_drawn(numbers: dict) -> Any:
    """The cubic coefficient along the onset, the growth of the minor weight below it, and the first jump's size."""
    cubic = {name: (numbers["onset"][name]["p"], numbers["onset"][name]["opposite"]) for name in NAMES}
    cubic["constant, equal signs"] = (numbers["onset"]["constant"]["p"], numbers["onset"]["constant"]["equal"])
    names = {"uniform": "uniform, r = 0.7", "tricritical": "uniform, tricritical", "constant": "constant, r = 0.7"}
    grown = {names[key]: (one["distance"], one["weight"]) for key, one in numbers["growth"].items()}
    first = numbers["first"]
    panel = plots.reports.Panel
    return plots.reports.panels(
        [
            panel("cubic coefficient at the onset", "feature probability", "B", cubic, log=(False, False)),
            panel("growth below the onset", "p(onset) - p", "|minor weight|", grown, log=(True, True)),
            panel(
                "uniform, beyond the tricritical point",
                "importance ratio r",
                "|minor weight| inside the first jump",
                {"exact": (first["ratio"], first["weight"])},
                log=(False, False),
                limits=(0, None),
            ),
        ]
    )


def corner_points(numbers: dict) -> str:
    """Special points of the onset, by values and quotient of probabilities."""
    rows: Rows = []
    for name, by_quotient in numbers["corner"]["points"].items():
        for q, one in by_quotient.items():
            cells = [f"({p['ratio']:.5f}, {p['p']:.5f})" if (p := one[key]) else "" for key in ("end", "tricritical")]
            every = one["everywhere"]
            rows.append([name, q, *cells, f"{every['ratio']:.5f}" if every else ""])
    head = ["values", "p2 / p1", "jump meets onset (r, p1)", "tricritical point (r, p1)", "r of the jump at the top"]
    return table(head, rows)


def corner_jumps(numbers: dict) -> str:
    """The jump for equal probabilities."""
    by_name = numbers["corner"]["jumps"]
    rows: Rows = []
    for k, r in enumerate(by_name["constant"]["ratio"]):
        row = [f"{r:g}"]
        for name in NAMES:
            found = by_name[name]
            if k >= len(found["ratio"]):
                row += ["none", ""]
                continue
            sides = " to ".join(f"{found[side][k][1] / found[side][k][0]:+.3f}" for side in ("outside", "inside"))
            row += [f"{found['p'][k]:.5f}", sides]
        rows.append(row)
    return table(["r", *(part for name in NAMES for part in (f"{name}: p", "w2 / w1"))], rows)


TABLES: Tables = {"corner points": corner_points, "corner jumps": corner_jumps}
