"""The corner: where superposition sets in gradually near importance 1, and where in a jump."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies import figures
from studies.corner.one_neuron import one_neuron_loss, one_neuron_minima, one_neuron_onset
from studies.corner.onsets import Cell, crossing, dedicated_loss, lowest, onset_at, share, special_points
from studies.reporting import Report, Rows, Study, table

from tmsjax import theory
from tmsjax.kinds import VALUES

NAMES = ("uniform", "constant", "half-normal")
QUOTIENTS = {"3/4": 0.75, "9/10": 0.9, "1": 1.0, "10/9": 10 / 9, "4/3": 4 / 3, "2": 2.0}  # p2 / p1
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
FEW = (0.1, 0.4, 0.7, 1.0)
CHECK_RANDOM = 200  # random starts of the check, beside the 21 structured ones
SHARP = 1e-9  # precision of a jump's probability
RATIO_OF_FIT = 0.7
FIT = (1e-5, 1e-3)  # distances below the onset at which the exponent is fitted
POINTS = {"end": "jump meets onset", "tricritical": "tricritical point", "everywhere": "jump at p = 1"}
SWITCH = ([0.5, 1.0], [0.5, 0.5])  # constant values: ratios and probability of the change of sign
SIGNS = {-1: "opposite", 1: "equal"}


def make(report: Report) -> dict:
    """The corner: where superposition sets in gradually near importance 1, and where in a jump."""
    quick, choose = report.quick, report.choose
    points = {
        name: {q: special_points(name, QUOTIENTS[q], choose(50, 20, 12)) for q in (["1"] if quick else QUOTIENTS)}
        for name in NAMES
    }
    ratios = np.array(choose(RATIOS, FEW, FEW[:1]))
    jumps = {}
    for name in NAMES:
        top = points[name]["1"]["everywhere"]["ratio"] if name == "half-normal" else 1.0  # no jump above
        jumps[name] = jump(name, ratios[ratios <= top], choose(64, 24, 4), choose(SHARP, SHARP, 0.2))
    equal = {name: points[name]["1"] for name in NAMES}
    onsets = {
        "uniform": ("uniform", onset_at("uniform", RATIO_OF_FIT), RATIO_OF_FIT),
        "tricritical": ("uniform", equal["uniform"]["tricritical"][-1]["p"], None),
        "constant": ("constant", RATIO_OF_FIT, RATIO_OF_FIT),
    }
    grown, fit = choose(onsets, onsets, ["constant"]), choose((), (), (5, 2))  # distances and descents
    numbers: dict[str, Any] = {
        "points": points,
        "jumps": jumps,
        "onset": {name: onset_curve(name, choose(60, 60, 8)) for name in NAMES},
        "first": first_jumps(equal["uniform"], choose(12, 3, 1)),
        "growth": {name: growth(*onsets[name], *fit) for name in grown},
        "switch": [sign_switch(r) for r in choose((0.6, 0.8, 1.0), (0.8,), ())],
    }
    numbers["check"] = check(numbers, choose(CHECK_RANDOM, 40, 2))
    report.figure("corner_map", drawn(numbers))
    report.figure("corner_growth", growth_drawn(numbers))
    return numbers


def onset_curve(values: str, count: int) -> dict:
    """Onset for equal probabilities: p, ratio, and the cubic coefficient of both signs of the minor weight."""
    p = np.linspace(0.02, 0.999 if values == "constant" else 1.0, count)
    found = {sign: [one_neuron_onset(one, one, values, sign) for one in p] for sign in SIGNS}
    return {
        "p": p,
        "ratio": [one.ratio for one in found[-1]],
        **{SIGNS[sign]: [one.cubic for one in found[sign]] for sign in SIGNS},
    }


def jump(values: str, ratios: np.ndarray, count: int, sharp: float = SHARP) -> dict:
    """The largest jump of the minor weight's share in p, at every ratio, for equal probabilities: bisected.

    Both sides are global minima of cells closer than `sharp`; `inside` is at the smaller probability.
    """

    def solve(p: np.ndarray) -> np.ndarray:
        return lowest(values, [(r, np.array([one, one])) for r, one in zip(ratios, p, strict=True)]).theta

    grid = np.linspace(0.5 * theory.candidate_boundary(ratios, values), 1 - 1e-6, count, axis=1)
    cells = [(r, np.array([one, one])) for r, row in zip(ratios, grid, strict=True) for one in row]
    found = lowest(values, cells).theta.reshape(len(ratios), count, 4)
    rows = np.arange(len(ratios))
    gap = np.abs(np.diff(share(found), axis=1)).argmax(1)
    low, high, inside, outside = grid[rows, gap], grid[rows, gap + 1], found[rows, gap], found[rows, gap + 1]
    while (high - low).max() > sharp:
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
    ends = points["tricritical"][-1]["ratio"], points["everywhere"]["ratio"]
    out: dict[str, list] = {"ratio": [], "p": [], "onset": [], "weight": [], "gain": [], "gradient": []}
    for part in np.linspace(0, 1, count + 2)[1:-1]:
        ratio = ends[0] + part * (ends[1] - ends[0])
        onset = onset_at("uniform", ratio)
        begin = lowest("uniform", [(ratio, np.array([onset, onset]))]).theta[0]

        def at_ratio(p: float, r: float = ratio) -> Cell:
            return r, np.array([p, p])

        at = crossing("uniform", begin, at_ratio, onset, 1e-7)
        row = (ratio, at["p"], onset, abs(at["theta"][1]), at["gain"], at["gradient"])
        for name, value in zip(out, row, strict=True):
            out[name].append(float(value))
    return out


def growth(values: str, at: float, ratio: float | None, count: int = 17, starts: int = 24) -> dict:
    """The minor weight at `count` distances below the onset's probability `at`, and the exponent of its power law.

    `ratio`: None for the ratio of the onset at `at`. Descents from `starts` weights 1e-4 to 0.5 along the onset's
    first order, of both signs; the lowest counts. Fit: log w = exponent log(distance) + k w + l w^2 + constant, for the
    next orders; the error is the standard error of the slope. amplitude: w over its first order, at the least distance.
    """
    ratio = one_neuron_onset(at, at, values).ratio if ratio is None else ratio
    distance = np.geomspace(*FIT, count)
    weights, expected, gradients = [], [], []
    for d in distance:
        p = at - d
        rows = []
        for sign in SIGNS:
            one = one_neuron_onset(p, p, values, sign)
            for w in np.geomspace(1e-4, 0.5, starts):
                mean = p * VALUES[values].mean
                rows.append([1 + one.alpha * w / 2, sign * w, one.beta * w, mean * (1 - w * w - sign * w)])
        found = one_neuron_minima(np.array(rows), [1.0, ratio], [p, p], values)
        best = found.loss.argmin()
        entering = one_neuron_onset(p, p, values, 1 if found.theta[best, :2].prod() > 0 else -1)
        weights.append(float(np.abs(found.theta[best, :2]).min()))
        gradients.append(float(found.gradient[best]))
        expected.append(2 * (ratio * entering.gain - entering.cost) / (3 * entering.cubic))
    w = np.array(weights)
    terms = np.stack([np.log(distance), w, w * w, np.ones_like(w)], 1)
    fit, rest, *_ = np.linalg.lstsq(terms, np.log(w), rcond=None)
    spread = float(rest[0]) / (len(w) - 4) * np.linalg.inv(terms.T @ terms)[0, 0]
    return {
        "ratio": ratio,
        "onset": at,
        "distance": distance,
        "weight": weights,
        "exponent": float(fit[0]),
        "error": float(np.sqrt(spread)),
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


def check(numbers: dict, random: int) -> dict:
    """Random starts at the special points and at both sides of the jumps: how many find a lower loss than reported."""
    cells: dict[str, list[tuple[Cell, float]]] = {name: [] for name in NAMES}
    for name, by_quotient in numbers["points"].items():
        for q, one in by_quotient.items():
            for point in (one["end"], *one["tricritical"], one["everywhere"]):
                if point is not None:
                    cell = point["ratio"], np.array([point["p"], QUOTIENTS[q] * point["p"]])
                    cells[name].append((cell, dedicated_loss(name, cell)))
        found = numbers["jumps"][name]
        for side in ("inside", "outside"):
            for r, p, theta in zip(found["ratio"], found["p"], found[side], strict=True):
                loss = one_neuron_loss(theta, [1.0, r], [p, p], name)[0]
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
        dots: dict[str, tuple] = {}
        for key, label in POINTS.items():  # what begins with "_" is not in the legend, and keeps its colour
            here = points[key] if isinstance(points[key], list) else [points[key]] if points[key] else []
            dots[label if here else f"_{label}"] = ([one["ratio"] for one in here], [one["p"] for one in here])
        p, ratio, cubic = (np.array(onset[key], float) for key in ("p", "ratio", "opposite"))
        r, at = np.array(found["ratio"]), np.array(found["p"])
        if name == "half-normal":
            r, at = np.append(r, points["everywhere"]["ratio"]), np.append(at, 1.0)
        gradual = cubic > 0
        curves = {
            ("" if gradual.any() else "_") + "onset, continuous if reached": (ratio, np.where(gradual, p, np.nan)),
            ("_" if gradual.all() else "") + "onset, a jump comes first": (ratio, np.where(gradual, np.nan, p)),
            "jump": (r, at),
            ("" if name == "constant" else "_") + "sign of w1 w2 changes": SWITCH if name == "constant" else ([], []),
        }
        parts.append(
            figures.Panel(
                f"{name} values",
                "importance ratio r (log)",
                "feature probability",
                curves,
                dots=dots,
                limits=(0, 1.03),
                legend="upper left",
            )
        )
    return figures.panels(parts)


def growth_drawn(numbers: dict) -> Any:
    """The cubic coefficient along the onset, the growth of the minor weight below it, and the first jump's size."""
    cubic = {name: (numbers["onset"][name]["p"], numbers["onset"][name]["opposite"]) for name in NAMES}
    cubic["constant, equal signs"] = (numbers["onset"]["constant"]["p"], numbers["onset"]["constant"]["equal"])
    names = {"uniform": "uniform, r = 0.7", "tricritical": "uniform, tricritical", "constant": "constant, r = 0.7"}
    grown = {
        f"{names[key]}: exponent {one['exponent']:.3f}": (np.array(one["distance"]) / FIT[0], one["weight"])
        for key, one in numbers["growth"].items()
    }
    first = numbers["first"]
    panel = figures.Panel
    return figures.panels(
        [
            panel("cubic coefficient B at the onset", "feature probability", "B", cubic, log=(False, False)),
            panel("growth below the onset", "(onset's p - p) / 1e-5", "|minor weight|", grown, log=(True, True)),
            panel(
                "uniform, beyond the tricritical point",
                "importance ratio r",
                "|minor weight| inside the first jump",
                {"first jump": (first["ratio"], first["weight"])},
                log=(False, False),
                limits=(0, None),
            ),
        ]
    )


def corner_points(numbers: dict) -> str:
    """Special points of the onset, by values and quotient of probabilities."""
    rows: Rows = []
    for name, by_quotient in numbers["points"].items():
        for q, one in by_quotient.items():
            places = [[one["end"]] if one["end"] else [], one["tricritical"]]
            cells = [", ".join(f"({p['ratio']:.5f}, {p['p']:.5f})" for p in found) for found in places]
            gradual = " to ".join(f"{p:.2f}" for p in one["continuous"]) if one["continuous"] else "none"
            rows.append([name, q, *cells, gradual])
    head = [
        "values",
        "p2 / p1",
        "jump meets the onset (r, p1)",
        "tricritical points (r, p1)",
        "p1 of a continuous onset",
    ]
    return table(head, rows)


def corner_jumps(numbers: dict) -> str:
    """The jump for equal probabilities."""
    by_name = numbers["jumps"]
    rows: Rows = []
    for k, r in enumerate(by_name["constant"]["ratio"]):
        row = [f"{r:g}"]
        for name in NAMES:
            found = by_name[name]
            if k >= len(found["ratio"]):
                row += ["none", ""]
                continue
            shares = [found[side][k][1] / found[side][k][0] for side in ("outside", "inside")]
            sides = " to ".join("0" if abs(one) < 1e-6 else f"{one:.3f}" for one in shares)
            row += [f"{found['p'][k]:.5f}", sides]
        rows.append(row)
    return table(["r", *(part for name in NAMES for part in (f"{name}: p", "w2 / w1"))], rows)


STUDY = Study("corner", make, tables={"points": corner_points, "jumps": corner_jumps})
