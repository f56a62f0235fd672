"""One-hot data: k-gons and transitions between them during SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from studies import figures
from studies.kgons import one_hot
from studies.reporting import Report, Rows, Runs, Study, Sweep, table
from studies.summaries import of_run

from tmsjax.kinds import REPRESENTED, measures

FEATURES = 6
BATCHES = (1, 4, 16)
QUICK = ["axes.replica.count=8", "train.steps=2000", "record.steps=[0, 250, 500, 1000, 2000]"]
FEWEST = ["axes.replica.count=2", "record.steps=[0, 20]"]
SAMPLES, SEEDS = 1000, 400  # of the runs with a fixed training set, as published
RUNS: Runs = {
    **{
        f"one_hot_{batch}": Sweep(
            "one_hot.toml", [f"train.batch={batch}"], QUICK, FEWEST if batch == 1 else "one_hot_1"
        )
        for batch in BATCHES
    },
    "one_hot_fixed": Sweep("one_hot.toml", [f"data.samples={SAMPLES}", f"axes.replica.count={SEEDS}"], QUICK, FEWEST),
}
# of 2310.06301, n = 6; losses to five digits, theoretical local learning coefficients where they are given
PUBLISHED = {"4": 1 / 9, "4+": 0.10417, "5": 0.06874, "5+": 0.06180, "6": 0.04819}
COEFFICIENTS = {"5": 7.0, "5+": 8.5, "6": 8.5}
ANGLE = np.pi / 12  # by which an angle may differ from that of the k-gon
LENGTH = 0.25  # by which a norm may, relatively
LOSS = 0.02  # by which the loss may lie outside the losses of the k-gons with this k; one dead output adds 1/18
PLATEAU = 3e-4  # distance from the loss of a k-gon within which a model is on its plateau
CURVED = 1e-6  # eigenvalue from which a direction has curvature
SPREADS = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)  # of noise-free descents: largest deviation of a frequency
FLOW = 0.4  # step of these
NOISE = 0.01  # standard deviation of W and b around a k-gon at their start, as in the sweep
KINDS = (("4", 4, 0), ("4+", 4, 1), ("4++", 4, 2))
LOSS_LABEL = "noise-free loss"
SHOWN = ("3 to 4", "4 to 5", "5 to 6", "6 to 5", "5 to 4")


def make(report: Report) -> dict:
    """One-hot data: k-gons and transitions between them during SGD."""
    first, last = BATCHES[0], BATCHES[-1]
    runs = {batch: report.run(f"one_hot_{batch}") for batch in BATCHES}
    histories = {batch: history(run) for batch, run in runs.items()}
    conditions = [one for batch, parts in histories.items() for one in of_batch(batch, parts)]
    numbers = {
        "runs": {str(batch): of_run(run) for batch, run in runs.items()},
        "models": sum(run.spec.instances for run in runs.values()),
        "steps": runs[first].spec.train.steps,
        "seeds": len(runs[first].spec.axis["replica"]),
        "near": PLATEAU,
        "octagon": one_hot.k_gon(8, 8).loss,
        "points": points(),
        "best": [best(n, report.choose(100, 4, 1)) for n in report.choose(range(4, 9), range(4, 9), (4,))],
        "conditions": conditions,
        "total": totals(conditions),
        "calm": chosen(conditions, "equal", 0.05, last),
        "uneven": chosen(conditions, "unequal", 0.05, last),
        "hot": chosen(conditions, "equal", 0.2, first),
        "dead": float(np.median(histories[first]["loss"][3, 0, 1, :, -1])),
        "fixed": fixed_set(report.run("one_hot_fixed"), conditions),
        "flow": flows(*report.choose((12, 4000), (2, 500), (1, 20))),
    }
    report.figure("kgons_sgd", drawn(numbers, histories))
    return numbers


def name_of(k: int, positive: int) -> str:
    return f"{k}{'+' * positive}"


def points() -> list[dict]:
    """The critical k-gons of n = 6, k from 3, by descending loss."""
    found = [one_hot.k_gon(k, FEATURES, s) for k in range(3, FEATURES + 1) for s in range(FEATURES - k + 1)]
    out = []
    for one in sorted(found, key=lambda point: -point.loss):
        slope = np.concatenate([part.reshape(-1) for part in one_hot.one_hot_gradient(one.W, one.b)])
        eigenvalues = one_hot.one_hot_curvature(one.W, one.b)
        out.append(
            {
                "name": name_of(one.k, one.positive),
                "k": one.k,
                "norm": one.norm,
                "bias": one.bias,
                "loss": one.loss,
                "gradient": float(np.linalg.norm(slope)),
                "least": float(eigenvalues[0]),
                "half_rank": float((np.abs(eigenvalues) > CURVED).sum() / 2),
            }
        )
    return out


def best(n: int, starts: int) -> dict:
    """The k-gon of lowest loss for n features, and the lowest of `starts` random descents."""
    every = [one_hot.k_gon(k, n, s) for k in range(2, n + 1) for s in range(n - k + 1)]
    ordered = sorted(every, key=lambda point: point.loss)
    found = one_hot.one_hot_minima(n, starts=starts)
    hits = int(found.count[np.abs(found.loss - ordered[0].loss) < 1e-6].sum())
    return {
        "n": n,
        "name": name_of(ordered[0].k, ordered[0].positive),
        "loss": ordered[0].loss,
        "second": name_of(ordered[1].k, ordered[1].positive),
        "second_loss": ordered[1].loss,
        "starts": starts,
        "hits": hits,
        "lowest": float(found.loss[0]),
        "below": float(ordered[0].loss - found.loss[0]),
        "minima": len(found.loss),
    }


def flows(seeds: int, steps: int) -> dict:
    """How many of `seeds` noisy 4-gons of every kind become 5-gons by descent on the exact loss, by unevenness.

    The shares of the features are 1 + spread x equally spaced numbers from -1 to 1, in random order, over their sum.
    """
    rng = np.random.default_rng(0)
    out: dict[str, list[float]] = {}
    for name, k, positive in KINDS:
        one = one_hot.k_gon(k, FEATURES, positive)
        deviation = np.linspace(-1, 1, FEATURES)
        shares = np.array([[rng.permuted(1 + s * deviation) for _ in range(seeds)] for s in SPREADS]) / FEATURES
        W = one.W + NOISE * rng.normal(size=(*shares.shape[:2], *one.W.shape))
        b = one.b + NOISE * rng.normal(size=shares.shape)
        for _ in range(steps):
            slope_W, slope_b = one_hot.one_hot_gradient(W, b, shares)
            W, b = W - FLOW * slope_W, b - FLOW * slope_b
        out[name] = ((measures.norms(W) >= REPRESENTED).sum(-1) == k + 1).mean(-1).tolist()
    some = [s for s, share in zip(SPREADS, out["4+"], strict=True) if share]
    return {
        "spread": list(SPREADS),
        "share": out,
        "seeds": seeds,
        "time": FLOW * steps,
        "onset": min(some, default=float("nan")),
    }


def states(W: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The k of the k-gon that each model W (..., 2, n) is near, 0 if none; `loss` (...) is its noise-free loss.

    The features of norm 0.3 and more have the norm of the k-gon within LENGTH and are spaced evenly within ANGLE; for
    k up to 3, where only right angles and more matter, no gap is narrower than that. The loss tells a k-gon from a
    model whose outputs are dead.
    """
    n = W.shape[-1]
    norm = measures.norms(W)
    used = norm >= REPRESENTED
    count = used.sum(-1)
    ordered = np.sort(np.where(used, np.arctan2(W[..., 1, :], W[..., 0, :]), np.inf), axis=-1)
    out = np.zeros(count.shape, int)
    for k in range(2, n + 1):
        rows = count == k
        high, low = (one_hot.k_gon(k, n, s) for s in (0, n - k))
        angle = ordered[rows][:, :k]
        gap = np.diff(angle, axis=-1, append=angle[:, :1] + 2 * np.pi)
        even = gap.min(-1) >= np.pi / 2 - ANGLE if k <= 3 else np.abs(gap - 2 * np.pi / k).max(-1) <= ANGLE
        long = (~used[rows] | (np.abs(norm[rows] / high.norm - 1) <= LENGTH)).all(-1)
        right = (loss[rows] <= high.loss + LOSS) & (loss[rows] >= low.loss - LOSS)
        out[rows] = np.where(even & long & right, k, 0)
    return out


def history(run: Any) -> dict:
    """Steps, states and losses of all models: arrays (polygon, frequencies, rate, replica, step)."""
    order = ("polygon", "frequencies", "rate", "replica", "step")
    dataset = run.dataset
    loss = dataset["history_loss"].transpose(*order).to_numpy().astype(float)
    W = dataset["history_W"].transpose(*order, "hidden", "feature").to_numpy()
    finite = np.isfinite(W).all((-1, -2)) & np.isfinite(loss)
    state = states(np.where(finite[..., None, None], W, 0), np.where(finite, loss, np.inf))
    axes = {name: dataset[name].to_numpy() for name in order}
    return {"axes": axes, "loss": loss, "state": state}


def fixed_set(run: Any, conditions: list[dict]) -> dict:
    """How many models from 4-gons end as 5-gons on a fixed training set and on fresh samples, with equal frequencies.

    Shares for each learning rate; the batch is that of the sweep. `spread`: standard deviation of a feature's frequency
    in a set over its mean.
    """
    parts, batch = history(run), run.spec.train.batch
    axes = parts["axes"]
    at = list(axes["polygon"]).index(4), list(axes["frequencies"]).index("equal")
    rates = [float(rate) for rate in axes["rate"]]
    return {
        "models": run.spec.instances,
        "seeds": len(axes["replica"]),
        "seconds": of_run(run)["seconds"],
        "spread": float(np.sqrt((FEATURES - 1) / run.spec.data.samples)),
        "share": [float((parts["state"][at][k, :, -1] == 5).mean()) for k in range(len(rates))],
        "fresh": [chosen(conditions, "equal", rate, batch)["final"]["4"]["5"] for rate in rates],
    }


def of_batch(batch: int, parts: dict) -> list[dict]:
    """What happens at every kind of frequencies and learning rate."""
    axes = parts["axes"]
    out = []
    for f, frequencies in enumerate(axes["frequencies"]):
        for r, rate in enumerate(axes["rate"]):
            state, loss = parts["state"][:, f, r], parts["loss"][:, f, r]
            rates = moves(state.reshape(-1, state.shape[-1]), axes["step"])
            by_init = {str(int(k)): moves(state[p], axes["step"]) for p, k in enumerate(axes["polygon"])}
            out.append(
                {
                    "frequencies": str(frequencies),
                    "rate": float(rate),
                    "batch": batch,
                    "temperature": float(rate) / batch,
                    "none": float((state == 0).mean()),
                    "plateau": float(near_plateau(loss).mean()),
                    "rates": rates,
                    "by_init": by_init,
                    "up": sum(one["count"] for name, one in rates.items() if name[0] < name[-1]),
                    "down": sum(one["count"] for name, one in rates.items() if name[0] > name[-1]),
                    "final": {
                        str(int(k)): {str(s): float((state[p, :, -1] == s).mean()) for s in range(FEATURES + 1)}
                        for p, k in enumerate(axes["polygon"])
                    },
                }
            )
    return out


def near_plateau(loss: np.ndarray) -> np.ndarray:
    """Whether a loss is within PLATEAU of that of a critical k-gon."""
    levels = np.array([one["loss"] for one in points()])
    return np.abs(loss[..., None] - levels).min(-1) <= PLATEAU


def moves(state: np.ndarray, step: np.ndarray) -> dict[str, dict]:
    """Transitions "k to k'" between states (models, records): count, rate per 1000 steps and its 95 % interval.

    Records without a k-gon count as the k-gon before them. The rate is the count over the time spent in k, the interval
    that of a Poisson count. Transitions without a count are given where k occurs, for k and k' that differ by 1.
    """
    seen = np.maximum.accumulate(np.where(state > 0, np.arange(state.shape[1]), -1), axis=1)
    held = np.where(seen >= 0, np.take_along_axis(state, np.maximum(seen, 0), axis=1), 0)
    before, after, length = held[:, :-1], held[:, 1:], np.diff(step) / 1000
    out = {}
    for k in range(2, FEATURES + 1):
        exposure = float(((before == k) * length).sum())
        if not exposure:
            continue
        for other in range(2, FEATURES + 1):
            count = int(((before == k) & (after == other)).sum())
            if other != k and (count or abs(other - k) == 1):
                low = stats.chi2.ppf(0.025, 2 * count) / 2 / exposure if count else 0.0
                high = stats.chi2.ppf(0.975, 2 * count + 2) / 2 / exposure
                out[f"{k} to {other}"] = {
                    "count": count,
                    "exposure": exposure,
                    "rate": count / exposure,
                    "low": float(low),
                    "high": float(high),
                }
    return out


def chosen(conditions: list[dict], frequencies: str, rate: float, batch: int) -> dict:
    """One condition."""
    wanted = frequencies, rate, batch
    return next(one for one in conditions if (one["frequencies"], one["rate"], one["batch"]) == wanted)


def totals(conditions: list[dict]) -> dict[str, int]:
    """Numbers of transitions over all conditions: k grows; falls; falls at the most noise; 5 to 6; 5 to 4 with less."""
    most = max(one["temperature"] for one in conditions)

    def count(way: str, some: list[dict]) -> int:
        return sum(one["rates"].get(way, {}).get("count", 0) for one in some)

    hot = [one for one in conditions if one["temperature"] == most]
    return {
        "up": sum(one["up"] for one in conditions),
        "down": sum(one["down"] for one in conditions),
        "down_hot": sum(one["down"] for one in hot),
        "to_six": count("5 to 6", conditions),
        **{f"from_four_{kind}": from_four(conditions, kind) for kind in ("equal", "unequal")},
        "from_four_single": from_four([one for one in conditions if one["batch"] == 1], "equal"),
        "cool": count("5 to 4", [one for one in conditions if one["temperature"] < most]),
    }


def from_four(conditions: list[dict], frequencies: str) -> int:
    """How many of the models that start at 4-gons become 5-gons, over all conditions with these frequencies."""
    some = [one["by_init"]["4"] for one in conditions if one["frequencies"] == frequencies]
    return sum(moved.get("4 to 5", {}).get("count", 0) for moved in some)


def drawn(numbers: dict, histories: dict[int, dict]) -> Any:
    """Losses of single models over steps, all losses, noise-free descents, and rates against noise."""
    panel = figures.Panel
    levels = {one["name"]: one["loss"] for one in numbers["points"] if one["k"] > 3 or one["name"] == "3"}
    cold, hot = histories[max(histories)], histories[min(histories)]
    flow = numbers["flow"]
    percent = 100 * np.array(flow["spread"])
    return figures.panels(
        [
            panel(
                "single models",
                "step",
                LOSS_LABEL,
                traces(cold, hot),
                levels=levels,
                log=(False, False),
                limits=(0.04, 0.18),
            ),
            panel(
                f"all models, learning rate 0.05, batch {max(histories)}",
                LOSS_LABEL,
                "share of records with a lower loss",
                {
                    f"{name} frequencies": cumulative(cold["loss"][:, f, 0])
                    for f, name in enumerate(("equal", "unequal"))
                },
                marks=levels,
                log=(False, False),
                legend="lower right",
            ),
            panel(
                "descents without noise",
                "largest deviation of a frequency, %",
                "share that becomes a 5-gon",
                {f"from {name}": (percent, values) for name, values in flow["share"].items()},
                log=(False, False),
            ),
            panel(
                "transitions and noise",
                "learning rate / batch",
                "rate per 1000 steps",
                dots=rates_drawn(numbers["conditions"]),
                log=(True, True),
            ),
        ],
        columns=2,
    )


def traces(cold: dict, hot: dict) -> dict[str, tuple]:
    """The losses of the first models that take these paths."""
    out = {}
    for name, parts, place, path in (
        ("3, 4; equal", cold, (0, 0, 0), (3, 4)),
        ("3, 4, 5; unequal", cold, (0, 1, 0), (3, 4, 5)),
        ("4, 5; unequal", cold, (1, 1, 0), (4, 5)),
        ("5, 4; noisy", hot, (2, 0, 1), (5, 4)),
    ):
        row = first_with(parts["state"][place], path)
        if row is not None:
            out[name] = (parts["axes"]["step"], parts["loss"][place][row])
    return out


def cumulative(loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses from 0.04 to 0.18, and the share of `loss` (..., step) below each; without the start."""
    at = np.linspace(0.04, 0.18, 561)
    return at, np.searchsorted(np.sort(loss[..., 1:], axis=None), at) / loss[..., 1:].size


def rates_drawn(conditions: list[dict]) -> dict[str, tuple]:
    """Rates of some transitions against learning rate / batch, where they occur."""
    out: dict[str, tuple] = {}
    for frequencies in ("equal", "unequal"):
        for way in ("4 to 5", "5 to 4", "6 to 5"):
            some = [one for one in conditions if one["frequencies"] == frequencies and way in one["rates"]]
            there = [(one["temperature"], one["rates"][way]["rate"]) for one in some if one["rates"][way]["count"]]
            if there:
                out[f"{way}, {frequencies}"] = tuple(np.array(sorted(there)).T)
    return out


def first_with(state: np.ndarray, path: tuple[int, ...]) -> int | None:
    """The first model (models, records) whose states, without repeats and without 0, are `path`."""
    for row, values in enumerate(state):
        some = values[values > 0]
        if some.size and tuple(some[np.flatnonzero(np.diff(some, prepend=-1))]) == path:
            return row
    return None


def critical(numbers: dict) -> str:
    """The critical k-gons, published beside ours."""
    rows: Rows = [
        [
            one["name"],
            f"{one['norm']:.6f}",
            f"{one['bias']:.6f}",
            f"{one['loss']:.7f}",
            f"{PUBLISHED[one['name']]:.5f}" if one["name"] in PUBLISHED else "",
            f"{one['half_rank']:g}" if one["k"] > 4 else "",
            f"{COEFFICIENTS[one['name']]:g}" if one["name"] in COEFFICIENTS else "",
        ]
        for one in numbers["points"]
        if one["k"] >= 4
    ]
    head = ["k-gon", "norm", "bias", "loss", "published", "half the rank of the Hessian", "published coefficient"]
    return table(head, rows)


def rate_text(one: dict | None) -> str:
    if one is None:
        return ""
    if not one["count"]:
        return f"0 (< {one['high']:.1g})"
    return f"{one['rate']:.3g} ({one['low']:.3g}, {one['high']:.3g})"


def transitions(numbers: dict) -> str:
    """Rates of the transitions by frequencies, learning rate and batch size."""
    rows: Rows = [
        [
            one["frequencies"],
            f"{one['rate']:g}",
            str(one["batch"]),
            *[rate_text(one["rates"].get(way)) for way in SHOWN],
            f"{one['none']:.1%}",
        ]
        for one in sorted(numbers["conditions"], key=lambda one: (one["frequencies"], one["temperature"]))
    ]
    return table(["frequencies", "rate", "batch", *SHOWN, "no k-gon"], rows)


def ends(numbers: dict) -> str:
    """Where models of every start end, without shares below 0.1 %."""
    found = numbers
    shown = {"equal": found["calm"], "unequal": found["uneven"], "equal, noisy": found["hot"]}

    def cell(shares: dict) -> str:
        kept = {k if k != "0" else "none": share for k, share in shares.items() if share >= 0.001}
        return ", ".join(f"{k}: {share:.1%}" for k, share in sorted(kept.items(), key=lambda one: -one[1]))

    rows: Rows = [[k, *[cell(one["final"][k]) for one in shown.values()]] for k in found["calm"]["final"]]
    return table(["start", *shown], rows)


STUDY = Study("kgons", make, RUNS, {"critical": critical, "transitions": transitions, "ends": ends}, drawn=True)
