"""Who wins: the optimum of (n, m) with equal importances at every feature probability, and where it changes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from studies.reporting import Report, Rows, Study, table
from studies.summaries import in_two_processes
from studies.who_wins import bars
from studies.who_wins.winners import of_size

SIZES = ((2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (5, 1), (5, 2), (5, 3), (6, 1), (6, 2), (6, 3))
QUICK_SIZES = ((2, 1), (3, 2), (4, 2))
LEAST = 0.001
STARTS, MORE_STARTS = 16, 120  # random starts at every p; at the p of CHECKED
TOLD = {  # transitions that the text mentions: size, winner below, winner above
    "pair": ("2_1", "digon", "uneven digon"),
    "line": ("3_1", "line 2:1", "digon, 1 absent"),
    "triangle": ("3_2", "digon + dedicated", "triangle"),
    "two_digons": ("4_2", "2 digons", "triangle, 1 absent"),
    "fourth": ("4_2", "triangle, 1 absent", "triangle, 1 weak"),
    "tetrahedron": ("4_3", "digon + 2 dedicated", "tetrahedron"),
    "pentagon": ("5_2", "pentagon", "2 digons, 1 absent"),
    "bipyramid": ("5_3", "2 digons + dedicated", "triangle + digon"),
    "pyramid": ("5_3", "triangle + digon", "square pyramid"),
    "hexagon": ("6_2", "hexagon", "pentagon, 1 weak"),
    "sixth": ("6_2", "pentagon, 1 weak", "pentagon, 1 absent"),
    "three_digons": ("6_3", "3 digons", "square pyramid, 1 absent"),
}
FAMILIES = {  # part of a name -> legend; the first that fits counts
    "irregular": "irregular",
    "tetrahedron": "tetrahedron",
    "pyramid": "square pyramid",
    "triangle": "triangle",
    "hexagon": "hexagon",
    "pentagon": "pentagon",
    "line": "several on a line",
    "": "digons, dedicated",
}


def make(report: Report) -> dict:
    """Who wins: the optimum of (n, m) with equal importances at every feature probability, and where it changes."""
    p, starts = grid(*report.choose((8, 10, 22), (4, 4, 6), (2, 2, 3))), report.choose(STARTS, 6, 2)
    pairs = report.choose(SIZES, QUICK_SIZES, QUICK_SIZES[:1])
    solve = partial(of_size, p=p, starts=starts, more=report.choose(MORE_STARTS, 20, 2))
    found = dict(zip(reversed(pairs), in_two_processes(solve, pairs[::-1]), strict=True))  # the largest first
    sizes = {f"{n}_{m}": found[n, m] for n, m in pairs}
    report.figure("who_wins", drawn(sizes))
    known = {"told": told(sizes), "certificate": certificate(sizes, starts)}
    return {"sizes": sizes, "starts": starts, "more_starts": MORE_STARTS, "points": len(p), **known}


def told(sizes: dict[str, dict]) -> dict[str, float]:
    """The p of each transition in TOLD that was found."""
    every = {
        (key, change["before"]["name"], change["after"]["name"]): change["p"]
        for key, one in sizes.items()
        for change in one["transitions"]
    }
    return {name: every[where] for name, where in TOLD.items() if where in every}


def drawn(sizes: dict[str, dict]) -> Any:
    rows = {}
    for key, one in sizes.items():
        soft = [change["order"] == "continuous" for change in one["transitions"]] + [False]
        rows[size_name(key)] = [
            bars.Segment(phase["from"], phase["to"], phase["name"], end)
            for phase, end in zip(one["phases"], soft, strict=True)
        ]
    return bars.intervals(rows, FAMILIES, x="feature probability p", split=0.4)


def grid(*few: int) -> np.ndarray:
    """Probabilities, ascending: few where features are rare, more where they are dense and the winner changes often."""
    parts = np.geomspace(LEAST, 0.05, few[0]), np.geomspace(0.05, 0.4, few[1])[1:], np.geomspace(0.4, 1, few[2])[1:]
    return np.concatenate(parts)


def certificate(sizes: dict[str, dict], starts: int) -> dict:
    """How well all winners and transitions are known."""
    every = list(sizes.values())
    names = ("hits", "gradient", "curvature")
    hits, gradient, curvature = (np.concatenate([one[name] for one in every]) for name in names)
    changes = [change for one in every for change in one["transitions"]]
    sharp = [change for change in changes if change["order"] == "first"]
    checks = [check for one in every for check in one["checks"]]
    return {
        "winners": len(hits),
        "found_once": int((hits > 0).sum()),
        "found_by_half": float(np.mean(hits >= starts / 2)),
        "gradient": float(gradient.max()),
        "curvature": float(curvature.min()),
        "transitions": len(changes),
        "first_order": len(sharp),
        "continuous": len(changes) - len(sharp),
        "gap": max((change["gap"] for change in changes), default=0.0),
        "curvature_at_transitions": min((min(change["curvature"]) for change in sharp), default=np.nan),
        "checks": len(checks),
        "lower_by": max(check["lower_by"] for check in checks),
    }


def size_name(key: str) -> str:
    return f"({key.replace('_', ', ')})"


def phases_table(numbers: dict) -> str:
    """The phases of every size, ascending in p, with norms and the transition at their upper end."""
    rows: Rows = []
    for key, one in numbers["sizes"].items():
        ends = [(f"{change['p']:.4f}", text_of(change)) for change in one["transitions"]]
        for k, (phase, (upper, what)) in enumerate(zip(one["phases"], [*ends, ("1", "")], strict=True)):
            norms = ", ".join(f"{norm:.2f}" for norm in phase["norms"])
            rows.append(["" if k else size_name(key), phase["name"], f"{phase['from']:.4g} to {upper}", norms, what])
    return table(["(n, m)", "winner", "p", "norms, halfway", "at the upper end; sum of squared norms"], rows)


def text_of(change: dict) -> str:
    norms = "{:.2f} to {:.2f}".format(*change["squared_norm"])
    return f"first-order; {norms}" if change["order"] == "first" else change["order"]


STUDY = Study("who_wins", make, tables={"winners": phases_table})
