"""Scaling: loss against the number of dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from studies import figures
from studies.reporting import Report, Rows, Runs, Study, Sweep, table
from studies.summaries import of_run

from tmsjax import theory
from tmsjax.kinds import measures

SIZES = (6, 10, 16, 25, 40)
QUICK = [
    "model.features=100",
    "train.steps=600",
    "record.steps=[600]",
    "train.batch=64",
    "axes.exponent.values=[0.0, 2.0]",
    "axes.weight_decay.values=[-1.0, 0.3]",
]
FEWEST = ["model.features=20", "record.steps=[20]", "axes.replica.count=2"]
RUNS: Runs = {
    f"scaling_{m}": Sweep(
        "scaling.toml",
        [f"model.hidden={m}", f"instance.init_scale={m**-0.5:.4f}"],
        QUICK,
        FEWEST if m == SIZES[0] else f"scaling_{SIZES[0]}",
    )
    for m in SIZES
}
REPRESENTED = 0.5  # norm above which a feature counts as represented, as in the source
STRONG, WEAK = -1.0, 0.3  # weight decays drawn in detail
CONFIDENCE = 0.95
PUBLISHED = {  # exponents of the loss, read off the source's figures, by exponent of the data
    "strong": {0.0: "0.8 to 0.9", 0.5: "0.8 to 0.9", 1.0: "1.0 to 1.2", 1.5: "1.2 to 1.5", 2.0: "2.0 to 2.3"},
    "weak": {1.5: "0.70 ± 0.05", 2.0: "0.95 ± 0.25"},
}
DIMENSIONS, DATA = "dimensions m", r"exponent of the data $\alpha$"


def make(report: Report) -> dict:
    """Scaling: loss against the number of dimensions."""
    runs = {m: report.run(f"scaling_{m}") for m in SIZES}
    first = runs[SIZES[0]]
    alpha, decay = (np.array(first.spec.axis[name].values, float) for name in ("exponent", "weight_decay"))
    p = first.dataset["instance_feature_probability"].transpose("exponent", "feature", ...).to_numpy()
    p = p.reshape(len(alpha), first.spec.model.features, -1)[..., 0].astype(float)
    measured = by_size([of_models(run, p) for run in runs.values()])
    numbers = {
        "runs": {str(m): of_run(run) for m, run in runs.items()},
        "models": sum(run.spec.instances for run in runs.values()),
        "seconds": sum(of_run(run)["seconds"] for run in runs.values()),
        "diverged": sum(of_run(run)["diverged"] for run in runs.values()),
        "features": first.spec.model.features,
        "steps": first.spec.train.steps,
        "rarest": p.min() * first.spec.train.steps * first.spec.train.batch,
        "sizes": SIZES,
        "alpha": alpha,
        "decay": decay,
        "loss": measured["loss"],
        "represented": measured["share"].mean(-1),
        "unlearned": measured["unlearned"],
        "overlap": measured["overlap"].mean(-1),
        "welch": measured["welch"].mean(-1),
        "exponent": fits(measured["loss"]),
        "overlap_exponent": fits(measured["overlap"]),
        "tail": np.array([[ignored(p[a], slice(m, None)) for m in SIZES] for a in range(len(alpha))]),
    }
    numbers["tail_exponent"] = [fit(SIZES, row)["value"] for row in numbers["tail"]]
    numbers["told"] = told(numbers)
    report.figure("scaling", drawn(numbers))
    return numbers


def ignored(p: np.ndarray, which: Any = slice(None)) -> float:
    """The least loss of ignored features, `which` of probabilities p (n,), over that of all n without any output.

    Their weights are 0 and their biases at their best, so each costs the variance of its values.
    """
    return float(theory.variance(p[which]).sum() / (p.sum() / 3))


def of_models(run: Any, p: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of every model of one size, each (exponent, weight decay, replica); NaN if it diverged.

    loss: over that of a model whose output is 0; share: of features that are represented; unlearned: `ignored` of the
    others; overlap: mean of (w_i . w_j)^2 over pairs of represented features; welch: its least value for their number.
    p: (exponent, features).
    """
    dataset = run.dataset.transpose("exponent", "weight_decay", "replica", "hidden", "feature", ...)
    sound = dataset["status"].to_numpy() == 0
    W = dataset["W"].to_numpy().astype(float)
    known = measures.norms(W) > REPRESENTED
    places = list(np.ndindex(known.shape[:-1]))
    parts = [W[at][:, known[at]] for at in places]
    found = {
        "loss": dataset["loss"].to_numpy() / (p.sum(-1) / 3)[:, None, None],
        "share": known.mean(-1),
        "unlearned": np.array([ignored(p[at[0]], ~known[at]) for at in places]).reshape(sound.shape),
        "overlap": np.array([mean_overlap(part) for part in parts]).reshape(sound.shape),
        "welch": np.array([welch(*part.shape[::-1]) for part in parts]).reshape(sound.shape),
    }
    return {name: np.where(sound, values, np.nan) for name, values in found.items()}


def mean_overlap(W: np.ndarray) -> float:
    """The mean of (w_i . w_j)^2 over pairs i != j of the columns of W (m, n); NaN for fewer than two."""
    n = W.shape[1]
    unit = W / measures.norms(W)
    gram = unit @ unit.T  # (m, m); its squared Frobenius norm is that of the (n, n) matrix of cosines
    return float(((gram**2).sum() - n) / (n * (n - 1))) if n > 1 else float("nan")


def welch(n: int, m: int) -> float:
    """The least mean of (w_i . w_j)^2 over pairs of n unit vectors in m dimensions (Welch 1974).

    It is (n - m) / (m (n - 1)), reached by tight frames; 0 for n <= m.
    """
    return max(n - m, 0) / (m * (n - 1)) if n > 1 else float("nan")


def by_size(every: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Measures (weight decay, exponent, size, replica), of those of every size."""
    return {name: np.stack([one[name] for one in every], -2).swapaxes(0, 1) for name in every[0]}


def fits(values: np.ndarray) -> list[list[dict]]:
    """The exponent of every weight decay and exponent of the data; values: (weight decay, exponent, size, replica)."""
    return [[fit(SIZES, rows) for rows in row] for row in values]


def fit(m: Any, values: Any) -> dict[str, float]:
    """The exponent k of values ~ m^-k: a regression of the logarithms.

    values: (sizes,) or (sizes, replicas), of which the mean logarithm is taken, without NaN. half: half of the
    confidence interval, from the residuals and Student's t with two degrees of freedom less than sizes, so that
    curvature widens it. squared: R^2.
    """
    logs = np.log(np.where(np.asarray(values) > 0, values, np.nan)).reshape(len(m), -1)
    line = stats.linregress(np.log(m), np.ma.masked_invalid(logs).mean(-1).filled(np.nan))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(m) - 2) * line.stderr
    return {
        "value": -line.slope,
        "half": half,
        "squared": line.rvalue**2,
    }


def told(numbers: dict) -> dict:
    """What the text says of the numbers."""
    decay = numbers["decay"]
    strong, weak = (int(np.abs(decay - one).argmin()) for one in (STRONG, WEAK))
    loss, unlearned = (np.nanmean(numbers[name], -1) for name in ("loss", "unlearned"))
    positive = decay > 0
    ratio = loss[weak] / unlearned[weak]
    local = -np.diff(np.log(loss[strong])) / np.diff(np.log(SIZES))
    of_welch = numbers["overlap"][strong] / numbers["welch"][strong]
    of_tail = loss[weak] / numbers["tail"]
    density = numbers["represented"] * numbers["features"] / np.array(SIZES)
    slopes = np.array([one["value"] for one in numbers["exponent"][weak]])
    ignored_slopes = np.array([fit(SIZES, row)["value"] for row in unlearned[weak]])
    gaps = slopes - ignored_slopes, slopes - np.array(numbers["tail_exponent"])
    return {
        "strong": strong,
        "weak": weak,
        "least_represented": numbers["represented"][strong].min(),
        "represented_weak": [numbers["represented"][weak].min(), numbers["represented"][weak].max()],
        "represented_last": [numbers["represented"][-1].min(), numbers["represented"][-1].max()],
        "local": local,
        "all_local": [local.min(), local.max()],
        "welch_exponent": fit(SIZES, numbers["welch"][strong][0])["value"],
        "ratios": [ratio.min(), ratio.max()],
        "smallest_ratio": numbers["features"] / max(SIZES),
        "rarest": numbers["rarest"],
        "per_dimension": [density[weak].min(), density[weak].max()],
        "of_tail": [of_tail.min(), of_tail.max()],
        "gaps": [float(np.abs(gap).mean()) for gap in gaps],
        "correlation": float(np.corrcoef(loss[positive].reshape(-1), unlearned[positive].reshape(-1))[0, 1]),
        "of_welch": [of_welch.min(), of_welch.max()],
        "squared": [[one["squared"] for one in numbers["exponent"][k]] for k in (strong, weak)],
    }


def drawn(numbers: dict) -> Any:
    alpha, decay, m = np.array(numbers["alpha"]), np.array(numbers["decay"]), np.array(SIZES)
    strong, weak = numbers["told"]["strong"], numbers["told"]["weak"]
    loss, unlearned = (np.nanmean(numbers[name], -1) for name in ("loss", "unlearned"))
    names = [rf"$\alpha$ = {a:g}" for a in alpha]
    decays = [rf"$\gamma$ = {g:g}" for g in decay]
    panel = figures.Panel

    def by_alpha(values: np.ndarray) -> dict:
        return {name: (m, values[k]) for k, name in enumerate(names)}

    slope_1 = np.exp(np.log(loss[strong] * m).mean(-1, keepdims=True)) / m
    exponents = {}
    for k in np.flatnonzero((decay == STRONG) | (decay >= 0)):
        values, halves = ([one[name] for one in numbers["exponent"][k]] for name in ("value", "half"))
        exponents[decays[k]] = alpha + 0.06 * (k - len(decay) / 2), values, halves  # apart, to be told apart
    above = alpha[alpha >= 1]
    laws = {r"$2(\alpha - 1)$": (above, 2 * (above - 1)), r"$\alpha - 1$": (above, above - 1)}
    laws |= {"tail beyond feature m": (alpha, numbers["tail_exponent"])}
    ends = np.array([np.nanmin(unlearned[decay > 0]), 1.0])
    relative = "loss / loss of output 0"
    return figures.panels(
        [
            panel(
                rf"strong, $\gamma$ = {decay[strong]:g}; lines: slope -1",
                DIMENSIONS,
                relative,
                by_alpha(slope_1),
                by_alpha(loss[strong]),
                log=(True, True),
            ),
            panel(
                rf"weak, $\gamma$ = {decay[weak]:g}; lines: ignored features",
                DIMENSIONS,
                relative,
                by_alpha(unlearned[weak]),
                by_alpha(loss[weak]),
                log=(True, True),
            ),
            panel(
                "exponents of the loss, 95% intervals",
                DATA,
                "exponent k, loss ~ m^-k",
                laws,
                exponents,
                levels={"1": 1.0},
                log=(False, False),
                limits=(None, 3.3),
                legend="upper left",
            ),
            panel(
                rf"mean squared overlap, $\gamma$ = {decay[strong]:g}",
                DIMENSIONS,
                r"mean $(w_i \cdot w_j)^2$, $i \neq j$",
                {"1 / m": (m, 1 / m), "least (Welch)": (m, numbers["welch"][strong].mean(0))},
                by_alpha(numbers["overlap"][strong]),
                log=(True, True),
            ),
            panel(
                "represented, all sizes",
                r"weight decay $\gamma$",
                f"share of features with norm > {REPRESENTED:g}",
                {name: (decay, numbers["represented"][:, k].mean(-1)) for k, name in enumerate(names)},
                log=(False, False),
            ),
            panel(
                "loss and ignored features",
                "loss of the ignored features alone",
                relative,
                {"equal": (ends, ends)},
                {decays[k]: (unlearned[k].reshape(-1), loss[k].reshape(-1)) for k in np.flatnonzero(decay > 0)},
                log=(True, True),
            ),
        ]
    )


def interval(one: dict) -> str:
    return f"{one['value']:.2f} ± {one['half']:.2f}"


def exponents_table(numbers: dict) -> str:
    """Exponents of the loss for every exponent of the data and weight decay, and of the tail."""
    found = numbers
    rows: Rows = [
        [f"{a:g}", *[interval(row[k]) for row in found["exponent"]], f"{found['tail_exponent'][k]:.2f}"]
        for k, a in enumerate(found["alpha"])
    ]
    return table(["alpha", *[f"gamma = {g:g}" for g in found["decay"]], "features beyond m"], rows)


def published_table(numbers: dict) -> str:
    """Published exponents beside ours."""
    found = numbers
    alpha, (strong, weak) = found["alpha"], (found["told"][name] for name in ("strong", "weak"))
    rows: Rows = []
    for k, a in enumerate(alpha):
        law = "1" if a < 1.5 else "1; 2 (alpha - 1) for large alpha"
        published = PUBLISHED["strong"].get(a, "n/a")
        rows.append([f"loss, strong, alpha = {a:g}", law, published, interval(found["exponent"][strong][k])])
    for k, a in enumerate(alpha):
        if a in PUBLISHED["weak"]:
            measured = interval(found["exponent"][weak][k])
            rows.append([f"loss, weak, alpha = {a:g}", f"alpha - 1 = {a - 1:g}", PUBLISHED["weak"][a], measured])
    both = [one["value"] for one in found["overlap_exponent"][strong]]
    ours = f"{min(both):.2f} to {max(both):.2f}"
    rows.append(["mean squared overlap, strong", "1", "1.05 (0.1 at m = 10, 0.009 at m = 100)", ours])
    return table(["exponent", "law", "published figure", "ours"], rows)


STUDY = Study("scaling", make, RUNS, {"exponents": exponents_table, "published": published_table}, drawn=True)
