"""12. Attention heads on pairs of vectors: relations in superposition, against exact theory."""

from __future__ import annotations

from typing import Any

import numpy as np
from reporting import Report, Rows, percent, table

from gallery.study import Runs, of_run
from tmsjax import analysis, plots, theory

RANKS, VALUE_RANKS = (1, 2, 3, 4), (1, 2, 3)
SHOWN_RANKS, SHOWN = (1, 2, 3), (0, 3, 5, 7, 9)  # of the figure of W_QK: ranks, and indices of probabilities
SHOWN_OUTPUT = (0, 2, 3, 5, 7)  # of the figure of W_OV: indices of probabilities
SAMPLES = 2**20  # of a simulated loss
RANDOM = 2000  # matrices
SHORT = ["train.steps=1500", "train.batch=256", "axes.replica.count=3"]
COARSE = ["axes.feature_probability.count=20", "axes.second_importance.count=20"]
RUNS: Runs = {
    "heads_two": ("heads_two_relations", [], [*COARSE, *SHORT]),
    "heads_bias": (
        "heads_two_relations",
        ["model.family=attention-score-bias", *COARSE],
        [*SHORT, "axes.second_importance.count=6"],
    ),
    **{f"heads_rank_{d}": ("heads_rank", [f"model.hidden={d}"], SHORT) for d in RANKS},
    **{f"heads_output_{m}": ("heads_output", [f"model.value_rank={m}"], SHORT) for m in VALUE_RANKS},
}
NAMES = {0: "neither", 1: "first only", 2: "second only", 3: "both, in superposition", 4: "both, same sign"}


def make(report: Report) -> dict:
    """12. Attention heads on pairs of vectors: relations in superposition, against exact theory."""
    ranks = {d: report.run(f"heads_rank_{d}") for d in RANKS}
    outputs = {m: report.run(f"heads_output_{m}") for m in VALUE_RANKS}
    report.figure("heads_matrices", matrices_figure(ranks))
    report.figure("heads_output", output_figure(outputs[3]))
    report.figure("heads_stored", stored_figure(ranks))
    report.figure("heads_singular", singular_figure(ranks, outputs))
    return {
        "check": checked_by_simulation(),
        "two": two_relations(report),
        "equal": equal_importance(),
        "rank": {str(d): of_rank(run) for d, run in ranks.items()},
        "circle": of_circle(ranks[3]),
        "output": {str(m): of_output(run) for m, run in outputs.items()},
        "random": {str(d): spread(analysis.heads.random_scores(12, d, RANDOM)) for d in RANKS},
        "random_output": {str(m): spread(analysis.heads.random_scores(8, m, RANDOM)) for m in VALUE_RANKS},
        "runs": {name: of_run(report.run(name)) for name in RUNS},
        "models": sum(report.run(name).spec.instances for name in RUNS),
        "seconds": sum(of_run(report.run(name))["seconds"] for name in RUNS),
    }


def simulated(matrices: list[np.ndarray], strengths: np.ndarray, p: float, relu: bool, seed: int) -> list[tuple]:
    """(loss, its standard error) of heads W_QK on SAMPLES common samples. An implementation of its own."""
    rng = np.random.default_rng(seed)
    x, y = (
        (rng.random((SAMPLES, len(strengths)), np.float32) * (rng.random((SAMPLES, len(strengths)), np.float32) < p))
        for _ in range(2)
    )
    target = (x * y) @ strengths.astype(np.float32)
    out = []
    for matrix in matrices:
        score = ((x @ matrix.astype(np.float32)) * y).sum(1)
        square = ((np.maximum(score, 0) if relu else score) - target).astype(float) ** 2
        out.append((float(square.mean()), float(square.std() / np.sqrt(SAMPLES))))
    return out


def checked_by_simulation() -> dict:
    """The largest deviation of both closed forms from a simulation, in its standard errors and relative."""
    rng, errors, relative = np.random.default_rng(0), [], []
    for k in range(12):
        p, r = rng.uniform(0.1, 1), np.array([1, rng.uniform(0.3, 3)])
        q, key = rng.normal(size=(2, 2))
        exact = [(theory.rank_one_loss(q, key, r, p), np.outer(q, key), r, True)]
        M, many = rng.normal(size=(5, 5)), rng.uniform(0.5, 1, 5)
        exact.append((theory.head_linear_loss(M, many, p), M, many, False))
        for value, matrix, strengths, relu in exact:
            [(loss, error)] = simulated([matrix], strengths, p, relu, seed=k)
            errors.append(abs(value - loss) / error)
            relative.append(abs(value / loss - 1))
    return {"heads": len(errors), "samples": SAMPLES, "errors": max(errors), "relative": max(relative)}


def two_relations(report: Report) -> dict:
    """The phase map of two relations in rank 1: trained, exact, and of two features in one neuron."""
    run = report.run("heads_two")
    strengths, p = inputs_of(run)
    exact = theory.rank_one_optimum(strengths.reshape(-1, 2), p.reshape(-1))
    optimum = exact.matrix.reshape(*p.shape, 2, 2)
    pair = run.dataset["QK"].transpose(..., "replica", "hidden", "feature").to_numpy().astype(float)[..., 0, :]
    every = theory.rank_one_loss(pair[..., :2], pair[..., 2:], strengths[..., None, :], p[..., None])
    ratio = every / exact.loss.reshape(*p.shape, 1)
    chosen = ratio.argmin(-1)
    trained = np.take_along_axis(analysis.heads.head_matrix(run.dataset), chosen[..., None, None, None], axis=-3)[
        ..., 0, :, :
    ]
    found, expected = (analysis.heads.head_phases(M, strengths) for M in (trained, optimum))
    by_samples = analysis.heads.head_phases(analysis.heads.head_matrix(analysis.best(run.dataset)), strengths)
    tied = theory.exact_optimum((strengths**2).reshape(-1, 2), np.repeat(p.reshape(-1, 1), 2, axis=1))
    neuron = analysis.signed_phases(tied.W).reshape(p.shape)
    grid = run.dataset["second_importance"].to_numpy(), run.dataset["feature_probability"].to_numpy()
    maps = {"head, trained": found, "head, exact": expected, "one neuron, exact": neuron}
    label = "importance of the second relation (feature)"
    report.figure("heads_map", plots.reports.class_maps(maps, grid, names=NAMES, x=label))
    both = analysis.heads.HEAD_PHASES.index("superposition")
    return {
        "cells": int(found.size),
        "agreement": float(np.mean(found == expected)),
        "agreement_by_samples": float(np.mean(by_samples == expected)),
        "loss_median": float(np.median(ratio.min(-1))),
        "loss_within": float(np.mean(ratio.min(-1) <= 1.01)),
        "loss_least": float(ratio.min()),
        "success": float(np.mean(ratio <= 1.01)),
        "shared": float(np.mean(expected == both)),
        "shared_neuron": float(np.mean(neuron == both)),
        "ends": [float(p[:, 0][expected[:, 0] == both].max()), float(p[:, 0][neuron[:, 0] == both].max())],
        "cross_negative": float(np.mean((optimum[expected == both][:, [0, 1], [1, 0]] < 0).all(-1))),
        "bias": of_bias(report.run("heads_bias")),
    }


def of_bias(run: Any) -> dict:
    """Heads with a bias: how often their phase is that of the exact optimum without one, and the bias of the best."""
    strengths, p = inputs_of(run)
    best = analysis.best(run.dataset)
    exact = theory.rank_one_optimum(strengths.reshape(-1, 2), p.reshape(-1)).matrix.reshape(*p.shape, 2, 2)
    phases = [analysis.heads.head_phases(M, strengths) for M in (analysis.heads.head_matrix(best), exact)]
    return {"agreement": float(np.mean(phases[0] == phases[1])), "median": float(np.median(np.abs(best["b"])))}


def inputs_of(run: Any) -> tuple[np.ndarray, np.ndarray]:
    """The strengths (p, importance, 2) and the probability (p, importance) of every cell."""
    p = np.repeat(probabilities(run)[:, None], run.dataset.sizes["second_importance"], axis=1)
    return np.broadcast_to(analysis.heads.relation_strengths(run.spec)[:, :, 0], (*p.shape, 2)), p


def equal_importance() -> dict:
    """Two relations of equal importance: where both are stored, and the two cross terms, which differ."""
    p = np.linspace(0.01, 0.6, 296)
    exact = theory.rank_one_optimum(np.ones((len(p), 2)), p)
    both = analysis.heads.head_phases(exact.matrix, np.ones((len(p), 2))) == 3
    cross = np.sort(-exact.matrix[:, [0, 1], [1, 0]], axis=-1)
    importance = np.geomspace(1, 10, 401)
    at = theory.rank_one_optimum(np.stack([np.ones(401), np.sqrt(importance)], axis=-1), np.full(401, 0.1)).matrix
    uneven = np.abs(np.log(at[:, 0, 1] / at[:, 1, 0])) > np.log(1.1)
    return {
        "highest": float(p[both].max()),
        "small": [float(cross[k, 0]) for k in (0, 45)],
        "large": [float(cross[k, 1]) for k in (0, 45)],
        "probability": [float(p[k]) for k in (0, 45)],
        "uneven_to": float(importance[uneven].max()),
    }


def at_best(run: Any, name: str = "QK") -> np.ndarray:
    """W_QK (or W_OV) of the best head at each probability, (p, k, k)."""
    return analysis.heads.head_matrix(analysis.best(run.dataset), name)


def probabilities(run: Any) -> np.ndarray:
    return run.dataset["feature_probability"].to_numpy()


def strengths_of(run: Any) -> np.ndarray:
    return analysis.heads.relation_strengths(run.spec).reshape(-1)


def of_rank(run: Any) -> dict:
    """What heads of one rank store at each probability, beside the best without ReLU."""
    p, r, rank = probabilities(run), strengths_of(run), run.spec.model.hidden
    matrices, every = at_best(run), analysis.heads.head_matrix(run.dataset)
    linear, least = theory.head_linear_optimum(r, p, rank)
    loss = [simulated([M], r, at, True, seed=k)[0][0] for k, (M, at) in enumerate(zip(matrices, p, strict=True))]
    return {
        "probability": p,
        "stored": analysis.heads.stored(matrices, r).sum(-1),
        "stored_most": analysis.heads.stored(every, r).sum(-1).max(-1),
        "linear": analysis.heads.stored(linear, r).sum(-1),
        "loss_over_linear": np.array(loss) / least,
        "loss_over_zero": np.array(loss) / theory.target_square(r, p),
        "cross": [analysis.heads.cross_terms(M, r) for M in matrices],
        "singular": analysis.heads.singular_scores(matrices, rank),
    }


def circle(strengths: np.ndarray) -> np.ndarray:
    """W_QK of rank 3 that stores every relation with no positive cross term: sqrt(r_i r_j) (1 - c (1 - cos(t_i - t_j)))
    with angles t_i around a circle and c as small as neighbours allow."""
    k = len(strengths)
    turn = 2 * np.pi * np.arange(k) / k
    cosine = np.cos(turn[:, None] - turn)
    return np.sqrt(strengths[:, None] * strengths) * (1 - (1 - cosine) / (1 - np.cos(turn[1])))


def of_circle(run: Any) -> dict:
    """The loss of the circle over that of a head that is 0, beside the trained head of rank 3, at the sparsest p and at
    a quarter of it."""
    r, p = strengths_of(run), float(probabilities(run)[-1])
    M = circle(r)
    zero = [float(theory.target_square(r, at)) for at in (p, p / 4)]
    [(loss, _)], [(rare, error)] = (simulated([M], r, at, True, seed=1) for at in (p, p / 4))
    return {
        "rank": int(np.linalg.matrix_rank(M)),
        "probability": p,
        "loss": loss / zero[0],
        "loss_rare": rare / zero[1],
        "error_rare": error / zero[1],
        "largest_cross": float(M[~np.eye(len(r), dtype=bool)].max()),
    }


def of_output(run: Any) -> dict:
    """What W_QK and W_OV store at each probability, in the scale in which the best stored relation is exact, and how
    many of their columns have an entry below -0.1 off the diagonal."""
    r, rank = strengths_of(run), run.dataset.sizes["value_rank"]
    qk, ov = analysis.heads.one_scale(at_best(run), at_best(run, "OV"), r)
    return {
        "probability": probabilities(run),
        "relations": analysis.heads.stored(qk, r).sum(-1),
        "outputs": analysis.heads.stored(ov, np.ones_like(r)).sum(-1),
        "singular": analysis.heads.singular_scores(ov, rank),
        "negative": {name: negative_columns(M) for name, M in (("QK", qk), ("OV", ov))},
    }


def negative_columns(matrix: np.ndarray) -> np.ndarray:
    """The number of columns with an entry below -0.1 off the diagonal, (...), of matrices (..., k, k)."""
    return ((matrix < -0.1) & ~np.eye(matrix.shape[-1], dtype=bool)).any(-2).sum(-1)


def spread(values: np.ndarray) -> list[float]:
    return [float(values.mean()), float(values.std())]


def matrices_figure(runs: dict[int, Any]) -> Any:
    rows = {}
    for d in SHOWN_RANKS:
        p = probabilities(runs[d])
        rows[f"rank {d}"] = {f"p = {p[k]:.2g}": at_best(runs[d])[k] for k in SHOWN}
    return plots.reports.matrices(rows, label=r"entries of $W_{QK}$", x="key feature", y="query feature")


def output_figure(run: Any) -> Any:
    p, r = probabilities(run), strengths_of(run)
    both = analysis.heads.one_scale(at_best(run), at_best(run, "OV"), r)
    names = (r"$W_{QK}$", r"$W_{OV}$")
    rows = {name: {f"p = {p[k]:.2g}": M[k] for k in SHOWN_OUTPUT} for name, M in zip(names, both, strict=True)}
    return plots.reports.matrices(rows, label="entries", x="key feature", y="feature")


def stored_figure(runs: dict[int, Any]) -> Any:
    found = {d: of_stored(run) for d, run in runs.items()}
    panels = {
        title: {f"rank {d}": (probabilities(runs[d]), found[d][k]) for d in runs}
        for k, title in enumerate(("ReLU, best trained head", "without ReLU, exact optimum"))
    }
    return plots.reports.lines(
        panels, x="feature probability", y="relations stored, of 12", ticks=(0.02, 0.05, 0.1, 0.2, 0.5, 1), floor=-0.4
    )


def of_stored(run: Any) -> tuple[np.ndarray, np.ndarray]:
    r = strengths_of(run)
    linear, _ = theory.head_linear_optimum(r, probabilities(run), run.spec.model.hidden)
    return tuple(analysis.heads.stored(M, r).sum(-1) for M in (at_best(run), linear))


def singular_figure(ranks: dict[int, Any], outputs: dict[int, Any]) -> Any:
    panels = {
        r"$W_{QK}$ of 12 relations": {
            f"rank {d}": (probabilities(run), analysis.heads.singular_scores(at_best(run), d))
            for d, run in ranks.items()
        },
        r"$W_{OV}$ of 8 outputs": {
            f"rank {m}": (probabilities(run), analysis.heads.singular_scores(at_best(run, "OV"), m))
            for m, run in outputs.items()
        },
    }
    dashed = {
        title: ("random directions", np.array([0.02, 1]), np.full(2, analysis.heads.random_scores(k, 1, RANDOM).mean()))
        for title, k in zip(panels, (12, 8), strict=True)
    }
    return plots.reports.lines(
        panels,
        x="feature probability",
        y="largest |cosine| with a feature,\nmean over singular vectors",
        ticks=(0.02, 0.05, 0.1, 0.2, 0.5, 1),
        reference=dashed,
    )


def stored_table(numbers: dict) -> str:
    found = numbers["heads"]["rank"]
    rows: Rows = []
    for d, one in found.items():
        rows.append([d, "stored", *(str(v) for v in one["stored"])])
        rows.append([d, "stored without ReLU", *(str(v) for v in one["linear"])])
        rows.append([d, "loss / without ReLU", *(f"{v:.2f}" for v in one["loss_over_linear"])])
    return table(["rank", "", *(f"p = {p:.2g}" for p in found["1"]["probability"])], rows)


def cross_table(numbers: dict) -> str:
    found = numbers["heads"]["rank"]
    rows = [
        [
            d,
            str(one["stored"][-1]),
            *percent(one["cross"][-1].values()),
            f"{one['singular'][-1]:.2f}",
            f"{one['singular'][0]:.2f}",
            "{:.2f} ± {:.2f}".format(*numbers["heads"]["random"][d]),
        ]
        for d, one in found.items()
    ]
    signs = [f"cross terms {name}" for name in ("negative", "about 0", "positive")]
    p = found["1"]["probability"]
    scores = [f"singular score, p = {p[-1]:.2g}", f"p = {p[0]:.2g}", "random"]
    return table(["rank", "stored", *signs, *scores], rows)


def output_table(numbers: dict) -> str:
    found = numbers["heads"]["output"]
    rows: Rows = []
    for m, one in found.items():
        rows.append([m, "relations in W_QK", *(str(v) for v in one["relations"])])
        rows.append([m, "outputs in W_OV", *(str(v) for v in one["outputs"])])
        for name, text in (("QK", "columns of W_QK with a negative entry"), ("OV", "the same of W_OV")):
            rows.append([m, text, *(str(v) for v in one["negative"][name])])
    return table(["rank of W_OV", "stored", *(f"p = {p:.2g}" for p in found["1"]["probability"])], rows)


TABLES = {"heads_stored": stored_table, "heads_cross": cross_table, "heads_output": output_table}
