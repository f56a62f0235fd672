"""Size: do the plateaus of the dimensions per feature sharpen as models grow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from studies import figures
from studies.reporting import Report, Rows, Runs, Study, Sweep, table
from studies.summaries import SHORT, arrangement, in_two_processes, of_run

from tmsjax import theory

RATIO = 10  # features per dimension
SEEDS = {4: 10, 8: 6, 12: 4, 20: 3, 40: 2}  # hidden -> seeds
QUICK_SIZES = (4, 8)
QUICK = [*SHORT, "axes.feature_probability.count=6", "axes.replica.count=2"]
FEWEST = ["model.features=12", "axes.feature_probability.count=3"]
RUNS: Runs = {
    f"size_{m}": Sweep(
        "size.toml",
        [f"model.features={RATIO * m}", f"model.hidden={m}", f"axes.replica.count={seeds}"],
        [*QUICK, f"model.features={RATIO * min(m, 8)}", f"model.hidden={min(m, 8)}"],
        FEWEST if m == 4 else "size_4",
    )
    for m, seeds in SEEDS.items()
}
PARTS = ((3, 1, 1.0), (6, 2, 1.0), (4, 3, 1.0), (6, 3, 1.0), (8, 3, 0.35))  # features, dimensions, largest p
QUICK_PARTS = ((2, 1, 1.0), (5, 2, 1.0))
STARTS = 8
SAMPLES, CHUNK = 65_536, 8192
EDGES = {"first": (0.9, 0.6), "second": (0.46, 0.39)}  # D* between which an edge of the plateau at 1/2 lies
PLATEAU = (0.46, 0.54)
PLAIN = (2.4, 4.0)  # 1/p between which only digons win
CONVERGED = 0.05  # by how much, in m v(p), the best model may be above orthogonal parts at an edge that is fitted
INVERSE, DIMENSIONS = "1 / p", "D* = m / |W|²"


@dataclass(frozen=True)
class Part:
    """The optimum of a few features in `hidden` dimensions: W (hidden, k), b (k,).

    gain: by how much it lowers the loss of these k features, in units of v(p) = p/3 - p^2/4, that of an absent one.
    """

    W: np.ndarray
    b: np.ndarray
    gain: float
    gradient: float

    @property
    def hidden(self) -> int:
        return len(self.W)

    @property
    def squared_norm(self) -> float:
        return float((self.W**2).sum())


def make(report: Report) -> dict:
    """Size: do the plateaus of the dimensions per feature sharpen as models grow?"""
    sizes = report.choose(tuple(SEEDS), QUICK_SIZES)
    runs = {m: report.run(f"size_{m}") for m in sizes}
    p = runs[sizes[0]].dataset["feature_probability"].to_numpy().astype(float)
    parts = of_parts(p, report.choose(PARTS, QUICK_PARTS, QUICK_PARTS[:1]), report.choose(STARTS, STARTS, 1))
    found = {str(m): of_size(runs[m], p, parts, report.choose(SAMPLES, CHUNK)) for m in sizes}
    limit = [best_rate(some) for some in parts]
    staircase = np.array([one.hidden / one.squared_norm for one in limit])
    numbers = {
        "p": p,
        "sizes": found,
        "runs": {str(m): of_run(run) for m, run in runs.items()},
        "models": sum(run.spec.instances for run in runs.values()),
        "seconds": sum(run.directory.info().seconds_of_training for run in runs.values()),
        "limit": {
            "dimensions": staircase,
            "gain": [one.gain / one.hidden for one in limit],
            "name": [arrangement(one.W) for one in limit],
            "gradient": max(one.gradient for some in parts for one in some),
            "edges": {name: of_seeds(p, staircase[:, None], levels) for name, levels in EDGES.items()},
            "plateau": plateau(p, staircase),
            "lowest": staircase[staircase > PLATEAU[0]].min(),
            "converged": CONVERGED,
        },
        "fits": fits(found),
        "samples": SAMPLES,
        **told(p, found, staircase),
    }
    report.figure("size_plateaus", drawn(numbers))
    return numbers


def told(p: np.ndarray, found: dict[str, dict], staircase: np.ndarray) -> dict:
    """Numbers of the text: how sizes agree, and how the best models agree with theory on the plateau."""
    every = list(found.values())
    best, advantage, error = (np.array([one[key] for one in every]) for key in ("best", "advantage", "error"))
    unions = np.array([one["union"] for one in every])
    on = (1 / p > PLAIN[0]) & (1 / p < PLAIN[1])
    return {
        "same": np.abs(unions[-1] - unions[-2]).max(),
        "spacing": float(np.log10(p[0] / p[1])),
        "sparsest": 1 / p[-1],
        "on_plateau": {
            "dimensions": np.abs(best - staircase)[:, on].max(initial=0),
            "loss": np.abs(advantage[:, on]).max(initial=0),
        },
        "spreads": [float(np.mean(one["spread"])) for one in every],
        "error": error.max(),
        "agreement": max(one["agreement"] for one in every),
        "comparisons": advantage.size,
    }


def absent(p: float | np.ndarray) -> Any:
    """v(p), the loss of an absent feature with its best bias p/2: the variance of a uniform value."""
    return p / 3 - p**2 / 4


def of_parts(p: np.ndarray, wanted: Sequence[tuple[int, int, float]], starts: int) -> list[list[Part]]:
    """For every p, the optima of the wanted (features, dimensions) that are sought there."""
    columns = in_two_processes(partial(along, p=p, starts=starts), wanted[::-1])
    return [[column[k] for column in columns if k in column] for k in range(len(p))]


def along(part: tuple[int, int, float], p: np.ndarray, starts: int = STARTS) -> dict[int, Part]:
    """The optima of one (features, dimensions, largest p) by position in p, each also sought from the one before."""
    n, hidden, most = part
    found: dict[int, Part] = {}
    near = None
    for k, q in enumerate(p):
        if q > most:
            continue
        minima = theory.minima(np.ones(n), np.full(n, q), hidden, starts=starts, near=near)
        W, b = minima.W[0], minima.b[0]
        near = W[None], b[None]
        gain = n - minima.loss[0] / absent(q)
        found[k] = Part(W, b, gain, float(minima.gradient[0]))
    return found


def best_rate(parts: list[Part]) -> Part:
    """The part of largest gain per dimension: all of a model of unlimited size consists of it."""
    return max(parts, key=lambda one: one.gain / one.hidden)


def packed(parts: list[Part], hidden: int) -> list[Part]:
    """The parts of largest total gain that fill at most `hidden` dimensions, each as often as wanted."""
    best: list[tuple[float, list[Part]]] = [(0.0, [])]
    for room in range(1, hidden + 1):
        options = [best[-1]]
        for one in parts:
            if one.hidden <= room:
                gain, chosen = best[room - one.hidden]
                options.append((gain + one.gain, [*chosen, one]))
        best.append(max(options, key=lambda option: option[0]))
    return best[hidden][1]


def union(parts: list[Part], n: int, hidden: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """W (hidden, n), b (n,) of a model of orthogonal parts; the other features are absent, with bias p/2."""
    W, b = np.zeros((hidden, n)), np.full(n, p / 2)
    row = column = 0
    for one in parts:
        rows, columns = one.W.shape
        W[row : row + rows, column : column + columns] = one.W
        b[column : column + columns] = one.b
        row, column = row + rows, column + columns
    return W, b


def of_size(run: Any, p: np.ndarray, parts: list[list[Part]], samples: int) -> dict:
    """D* of all models of one size, the union's beside the best model's, and the edges of the plateau."""
    dataset = run.dataset.transpose("feature_probability", "replica", "hidden", "feature", ...)
    m, n = dataset.sizes["hidden"], dataset.sizes["feature"]
    W = dataset["W"].to_numpy().astype(float)
    b = dataset["b"].to_numpy().astype(float)
    loss = np.where(dataset["status"].to_numpy() == 0, dataset["loss"].to_numpy(), np.inf)
    best = loss.argmin(-1)
    dimensions = m / (W**2).sum((-2, -1))
    unions = [packed(some, m) for some in parts]
    compared = [
        paired((W[k, best[k]], b[k, best[k]]), union(unions[k], n, m, q), float(q), samples, seed=k)
        for k, q in enumerate(p)
    ]
    gained = [sum(one.gain for one in some) for some in unions]
    advantage = np.array([one[0] for one in compared]) / m
    edges = {name: of_seeds(p, dimensions, levels) for name, levels in EDGES.items()}
    for edge in edges.values():
        edge["behind"] = behind(p, advantage, edge)
    return {
        "hidden": m,
        "features": n,
        "seeds": W.shape[1],
        "best": dimensions[np.arange(len(p)), best],
        "least": dimensions.min(1),
        "most": dimensions.max(1),
        "spread": dimensions.std(1, ddof=1) if W.shape[1] > 1 else np.zeros(len(p)),
        "union": [m / sum(one.squared_norm for one in some) for some in unions],
        "advantage": advantage,
        "error": [one[1] / m for one in compared],
        "agreement": max(abs(one[2] - (n - gain)) / one[3] for one, gain in zip(compared, gained, strict=True)),
        "edges": edges,
        "plateau": plateau(p, dimensions[np.arange(len(p)), best]),
    }


def paired(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], p: float, samples: int, seed: int
) -> tuple[float, float, float, float]:
    """By how much the loss of model `one` is lower than that of `other` on the same samples.

    Returns this difference, its standard error, the loss of `other` and its standard error, in units of v(p).
    """
    rng = np.random.default_rng(seed)
    n = len(one[1])
    parts = []
    for _ in range(samples // CHUNK):
        x = rng.random((CHUNK, n))
        x = np.where(x < p, x / p, 0.0)
        parts.append([((x - np.maximum(x @ W.T @ W + b, 0)) ** 2).sum(-1) for W, b in (one, other)])
    mine, theirs = np.concatenate(parts, axis=1) / absent(p)
    root = np.sqrt(samples)
    difference = theirs - mine
    return (
        float(difference.mean()),
        float(difference.std() / root),
        float(theirs.mean()),
        float(theirs.std() / root),
    )


def crossing(p: np.ndarray, dimensions: np.ndarray, level: float) -> float:
    """log10(1/p) at which D* falls below `level` for the first time, by linear interpolation; NaN if it does not."""
    at = -np.log10(p)
    below = np.flatnonzero(dimensions < level)
    if not len(below) or below[0] == 0:
        return float("nan")
    k = below[0]
    share = (dimensions[k - 1] - level) / (dimensions[k - 1] - dimensions[k])
    return float(at[k - 1] + share * (at[k] - at[k - 1]))


def of_seeds(p: np.ndarray, dimensions: np.ndarray, levels: tuple[float, float]) -> dict:
    """Width and middle of an edge in decades of 1/p, mean and standard deviation over seeds. dimensions (p, seed)."""
    ends = np.array([[crossing(p, column, level) for level in levels] for column in dimensions.T])
    width, middle = ends[:, 1] - ends[:, 0], ends.mean(1)
    spread = [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in (width, middle)]
    return {
        "ends": ends.mean(0),
        "width": width.mean(),
        "width_spread": spread[0],
        "middle": middle.mean(),
        "middle_spread": spread[1],
        "seeds": len(width),
    }


def behind(p: np.ndarray, advantage: np.ndarray, edge: dict) -> float:
    """By how much, in m v(p), the loss of the best models exceeds that of orthogonal parts at most between the ends."""
    at, (low, high) = -np.log10(p), edge["ends"]
    inside = np.interp((low, high), at, advantage)
    return float(-min(*inside, *advantage[(at > low) & (at < high)]))


def plateau(p: np.ndarray, dimensions: np.ndarray) -> float:
    """Length in decades of 1/p over which D* lies within PLATEAU."""
    return crossing(p, dimensions, PLATEAU[0]) - crossing(p, dimensions, PLATEAU[1])


def fits(found: dict[str, dict]) -> dict:
    """Widths and middles of the edges against 1/m: value at 1/m = 0 and slope, with standard errors.

    Without sizes whose training fell behind, see CONVERGED.
    """
    result: dict[str, Any] = {}
    for name in EDGES:
        used = {one["hidden"]: one["edges"][name] for one in found.values()}
        used = {hidden: edge for hidden, edge in used.items() if edge["behind"] <= CONVERGED}
        m = np.array(list(used), float)
        seeds = np.array([edge["seeds"] for edge in used.values()])
        for what in ("width", "middle"):
            values, spread = (np.array([edge[key] for edge in used.values()]) for key in (what, f"{what}_spread"))
            # one spread per seed that falls as m^-1/2 for all sizes: few seeds estimate it badly one by one
            pooled = np.sqrt(np.average(spread**2 * m, weights=seeds - 1 + 1e-9)) if len(m) else 0.0
            result[f"{name}_{what}"] = line(1 / m, values, pooled / np.sqrt(m * seeds))
        result[f"{name}_sizes"] = len(m)
    return result


def line(x: np.ndarray, y: np.ndarray, error: np.ndarray) -> dict:
    """Weighted least squares y = limit + slope x with standard errors, which grow where the line fits badly."""
    used = np.isfinite(y)
    if used.sum() < 3:
        return {"limit": float("nan"), "limit_error": float("nan"), "slope": float("nan"), "slope_error": float("nan")}
    x, y, error = x[used], y[used], np.maximum(error[used], 1e-6)
    design = np.stack([np.ones_like(x), x], 1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    limit, slope = covariance @ design.T @ (y / error)
    chi = (((y - limit - slope * x) / error) ** 2).sum() / (len(x) - 2)
    errors = np.sqrt(np.diag(covariance) * max(chi, 1))
    return {"limit": limit, "limit_error": errors[0], "slope": slope, "slope_error": errors[1]}


def drawn(numbers: dict) -> Any:
    at, limit = 1 / np.array(numbers["p"]), numbers["limit"]
    exact = {"orthogonal parts, exact": (at, np.array(limit["dimensions"]))}
    trained = {f"m = {m}, best": (at, np.array(one["best"])) for m, one in numbers["sizes"].items()}
    ahead = {f"m = {m}": (at, np.array(one["advantage"])) for m, one in numbers["sizes"].items()}
    levels = {"1": 1.0, "3/4": 3 / 4, "2/3": 2 / 3, "1/2": 1 / 2, "2/5": 2 / 5, "3/8": 3 / 8}
    panel = figures.Panel
    inverse = np.array([1 / one["hidden"] for one in numbers["sizes"].values()])
    widths = {f"{name} edge": (inverse, *width_of(numbers["sizes"], name)) for name in EDGES}
    return figures.panels(
        [
            panel("dimensions per feature", INVERSE, DIMENSIONS, exact, trained, levels=levels),
            panel(
                "orthogonal parts less trained",
                INVERSE,
                "loss difference / (m v(p))",
                ahead,
                limits=(-0.15, None),
                legend="lower right",
            ),
            panel("widths of the edges", "1 / m", "width (decades of 1/p)", {}, widths, log=(False, False)),
        ]
    )


def width_of(sizes: dict[str, dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The widths of one edge by size, and their standard errors."""
    edges = [one["edges"][name] for one in sizes.values()]
    return (
        np.array([edge["width"] for edge in edges]),
        np.array([edge["width_spread"] / np.sqrt(edge["seeds"]) for edge in edges]),
    )


def plateaus(numbers: dict) -> str:
    """Edges of the plateau at 1/2 for every size."""
    found = numbers

    def edge(one: dict, name: str) -> list[str]:
        part = one["edges"][name]
        return [
            f"{10 ** part['middle']:.3f}",
            f"{part['width']:.4f} ± {part['width_spread'] / np.sqrt(part['seeds']):.4f}",
        ]

    rows: Rows = [
        [
            f"({one['features']}, {one['hidden']})",
            str(one["seeds"]),
            *edge(one, "first"),
            *edge(one, "second"),
            f"{one['plateau']:.3f}",
            f"{np.mean(one['spread']):.4f}",
            f"{np.sqrt(np.mean((np.array(one['best']) - one['union']) ** 2)):.4f}",
        ]
        for one in found["sizes"].values()
    ]
    limit, fit = found["limit"], found["fits"]
    exact = [[f"{10 ** edge['middle']:.3f}", f"{edge['width']:.4f}"] for edge in limit["edges"].values()]
    rows.append(["orthogonal parts, exact", "", *exact[0], *exact[1], f"{limit['plateau']:.3f}", "", ""])
    rows.append(
        [
            "1/m → 0",
            "",
            *[
                text
                for name in EDGES
                for text in (
                    f"{10 ** fit[f'{name}_middle']['limit']:.3f}",
                    f"{fit[f'{name}_width']['limit']:.4f} ± {fit[f'{name}_width']['limit_error']:.4f}",
                )
            ],
            "",
            "",
            "",
        ]
    )
    head = [
        "(n, m)",
        "seeds",
        "first edge, 1/p",
        "width",
        "second edge, 1/p",
        "width",
        "plateau",
        "spread",
        "from theory",
    ]
    return table(head, rows)


STUDY = Study("size", make, RUNS, {"plateaus": plateaus})
