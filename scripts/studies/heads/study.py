"""Attention heads on pairs of vectors: relations in superposition, against exact theory."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.heads import figures, relations, tables, theory
from studies.reporting import Report, Study, Sweep
from studies.summaries import of_run, signed_phases

import tmsjax
from tmsjax import analysis

RANKS, VALUE_RANKS = (1, 2, 3, 4), (1, 2, 3)
SAMPLES = 2**20  # of a simulated loss
SHORT = ("train.steps=1500", "train.batch=256", "axes.replica.count=3")
COARSE = ("axes.feature_probability.count=20", "axes.second_importance.count=20")
FEWEST = ("axes.feature_probability.count=3", "axes.second_importance.count=3")
TINY = ("train.steps=20", "train.batch=16", "axes.replica.count=2")


def make(report: Report) -> dict:
    ranks = {d: report.run(f"heads_rank_{d}") for d in RANKS}
    outputs = {m: report.run(f"heads_output_{m}") for m in VALUE_RANKS}
    report.figure("matrices", figures.matrices(ranks))
    report.figure("output", figures.output(outputs[3]))
    report.figure("stored", figures.stored(ranks))
    report.figure("singular", figures.singular(ranks, outputs))
    runs = {name: of_run(report.run(name)) for name in STUDY.runs}
    return {
        "check": checked_by_simulation(),
        "two": two_relations(report),
        "equal": equal_importance(),
        "rank": {str(d): of_rank(run) for d, run in ranks.items()},
        "circle": of_circle(ranks[3]),
        "output": {str(m): of_output(run) for m, run in outputs.items()},
        "random": {str(d): spread(relations.random_scores(12, d)) for d in RANKS},
        "random_output": {str(m): spread(relations.random_scores(8, m)) for m in VALUE_RANKS},
        "runs": runs,
        "models": sum(run["models"] for run in runs.values()),
        "seconds": sum(run["seconds"] for run in runs.values()),
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
    every_matrix = relations.head_matrix(run.dataset)
    trained = np.take_along_axis(every_matrix, chosen[..., None, None, None], axis=-3)[..., 0, :, :]
    found, expected = (relations.head_phases(M, strengths) for M in (trained, optimum))
    by_samples = relations.head_phases(relations.head_matrix(analysis.best(run.dataset)), strengths)
    tied = tmsjax.theory.exact_optimum((strengths**2).reshape(-1, 2), np.repeat(p.reshape(-1, 1), 2, axis=1))
    neuron = signed_phases(tied.W).reshape(p.shape)
    grid = run.dataset["second_importance"].to_numpy(), run.dataset["feature_probability"].to_numpy()
    maps = {"head, trained": found, "head, exact": expected, "one neuron, exact": neuron}
    report.figure("map", figures.phases(maps, grid))
    both = relations.HEAD_PHASES.index("superposition")
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
    phases = [relations.head_phases(M, strengths) for M in (relations.head_matrix(best), exact)]
    return {"agreement": float(np.mean(phases[0] == phases[1])), "median": float(np.median(np.abs(best["b"])))}


def inputs_of(run: Any) -> tuple[np.ndarray, np.ndarray]:
    """The strengths (p, importance, 2) and the probability (p, importance) of every cell."""
    p = np.repeat(relations.probabilities(run)[:, None], run.dataset.sizes["second_importance"], axis=1)
    return np.broadcast_to(relations.relation_strengths(run.spec)[:, :, 0], (*p.shape, 2)), p


def equal_importance() -> dict:
    """Two relations of equal importance: where both are stored, and the two cross terms, which differ."""
    p = np.linspace(0.01, 0.6, 296)
    exact = theory.rank_one_optimum(np.ones((len(p), 2)), p)
    both = relations.head_phases(exact.matrix, np.ones((len(p), 2))) == 3
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


def of_rank(run: Any) -> dict:
    """What heads of one rank store at each probability, beside the best without ReLU."""
    p, r, rank = relations.probabilities(run), relations.strengths_of(run), run.spec.model.hidden
    matrices, every = relations.at_best(run), relations.head_matrix(run.dataset)
    linear, least = theory.head_linear_optimum(r, p, rank)
    loss = [simulated([M], r, at, True, seed=k)[0][0] for k, (M, at) in enumerate(zip(matrices, p, strict=True))]
    return {
        "probability": p,
        "stored": relations.stored(matrices, r).sum(-1),
        "stored_most": relations.stored(every, r).sum(-1).max(-1),
        "linear": relations.stored(linear, r).sum(-1),
        "loss_over_linear": np.array(loss) / least,
        "loss_over_zero": np.array(loss) / theory.target_square(r, p),
        "cross": [relations.cross_terms(M, r) for M in matrices],
        "singular": relations.singular_scores(matrices, rank),
    }


def circle(strengths: np.ndarray) -> np.ndarray:
    """W_QK of rank 3 that stores every relation with no positive cross term.

    It is sqrt(r_i r_j) (1 - c (1 - cos(t_i - t_j))) with angles t_i around a circle and c as small as neighbours allow.
    """
    k = len(strengths)
    turn = 2 * np.pi * np.arange(k) / k
    cosine = np.cos(turn[:, None] - turn)
    return np.sqrt(strengths[:, None] * strengths) * (1 - (1 - cosine) / (1 - np.cos(turn[1])))


def of_circle(run: Any) -> dict:
    """The circle's loss beside that of the trained head of rank 3, at the sparsest p and at a quarter of it.

    Losses are shares of the loss of a head that is 0.
    """
    r, p = relations.strengths_of(run), float(relations.probabilities(run)[-1])
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
    """What W_QK and W_OV store at each probability, in the scale in which the best stored relation is exact.

    Also counts their columns with an entry below -0.1 off the diagonal.
    """
    r, rank = relations.strengths_of(run), run.dataset.sizes["value_rank"]
    qk, ov = relations.one_scale(relations.at_best(run), relations.at_best(run, "OV"), r)
    return {
        "probability": relations.probabilities(run),
        "relations": relations.stored(qk, r).sum(-1),
        "outputs": relations.stored(ov, np.ones_like(r)).sum(-1),
        "singular": relations.singular_scores(ov, rank),
        "negative": {name: negative_columns(M) for name, M in (("QK", qk), ("OV", ov))},
    }


def negative_columns(matrix: np.ndarray) -> np.ndarray:
    """The number of columns with an entry below -0.1 off the diagonal, (...), of matrices (..., k, k)."""
    return ((matrix < -0.1) & ~np.eye(matrix.shape[-1], dtype=bool)).any(-2).sum(-1)


def spread(values: np.ndarray) -> list[float]:
    return [float(values.mean()), float(values.std())]


STUDY = Study(
    name="heads",
    make=make,
    runs={
        "heads_two": Sweep("heads_two_relations.toml", quick=(*COARSE, *SHORT), smallest=(*FEWEST, *TINY)),
        "heads_bias": Sweep(
            "heads_two_relations.toml",
            ("model.family=attention-score-bias", *COARSE),
            quick=(*SHORT, "axes.second_importance.count=6"),
            smallest=(*FEWEST, *TINY),
        ),
        **{f"heads_rank_{d}": Sweep("sweeps/heads_rank.toml", (f"model.hidden={d}",), SHORT, TINY) for d in RANKS},
        **{
            f"heads_output_{m}": Sweep("heads_output.toml", (f"model.value_rank={m}",), SHORT, TINY)
            for m in VALUE_RANKS
        },
    },
    tables=tables.TABLES,
    drawn=True,
)
