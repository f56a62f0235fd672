"""Perturbing one feature: from a pentagon to two digons and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.perturb import figures
from studies.perturb.theory import branch_end
from studies.reporting import Report, Rows, Study, Sweep, table
from studies.summaries import SHORT, arrangement, of_run

from tmsjax import theory
from tmsjax.kinds import REPRESENTED
from tmsjax.theory import Branch

OTHERS = 0.05  # probability of the features that are not perturbed
LEAST, MOST = 0.002, 1.0  # probability of the first feature
NEAR = 2e-3  # relative difference of a loss from that of the branch that it is on
JUMP = 0.2  # change of an entry of W^T W from point to point by which a branch ends


def make(report: Report) -> dict:
    points = report.choose(120, 40, 12)
    down, up = np.geomspace(OTHERS, LEAST, points), np.geomspace(OTHERS, MOST, points)
    start = minimum(OTHERS, "pentagon")
    pentagon = joined(follow(start, down), follow(start, up), down, up)
    from_sparse = np.geomspace(LEAST, MOST, 2 * points)
    digons = follow(minimum(0.02, "2 digons"), from_sparse)
    trained = of_trained(report.run("perturb_one"), {"pentagon": (start, OTHERS), "digons": (model(digons, 0), LEAST)})
    snap = theory.crossing(start, model(digons, 0), cell_at, 0.008, 0.03, precision=1e-5)
    numbers = {
        **of_run(report.run("perturb_one")),
        "others": OTHERS,
        "snap": snap,
        "losses_at_snap": float(follow(start, np.array([snap])).loss[0]),
        **ends(start),
        "digons_end": bool((digons.moved > JUMP).any()),
        "pentagon": of_branch(pentagon[0], pentagon[1]),
        "digons": of_branch(from_sparse, digons),
        "trained": trained,
    }
    report.figure("branches", figures.branches(numbers))
    return numbers


def cell_at(first: float) -> tuple[np.ndarray, np.ndarray]:
    """(importance, probability), both (5,), for a probability of the first feature."""
    return np.ones(5), np.array([first, *[OTHERS] * 4])


def minimum(first: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of lowest loss whose features form `name`, and whose biases are live: none keeps an output at 0."""
    found = theory.minima(*cell_at(first), 2, starts=40)
    for k, W in enumerate(found.W):
        live = (found.b[k] > 0) | (np.linalg.norm(W, axis=0) >= REPRESENTED)
        if arrangement(W) == name and live.all():
            return W, found.b[k]
    raise ValueError(f"no minimum is {name} at {first:g}")


def follow(start: tuple[np.ndarray, np.ndarray], at: np.ndarray) -> Branch:
    """The minimum followed over probabilities of the first feature."""
    return theory.follow(*start, np.ones((len(at), 5)), np.stack([cell_at(first)[1] for first in at]))


def model(branch: Branch, k: int) -> tuple[np.ndarray, np.ndarray]:
    return branch.W[k], branch.b[k]


def before_the_end(branch: Branch) -> int:
    """The number of points before the branch falls to another minimum."""
    falls = np.flatnonzero(branch.moved > JUMP)
    return int(falls[0]) if falls.size else len(branch.moved)


def joined(first: Branch, second: Branch, down: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, Branch]:
    """Two branches from one point as one in ascending order, each up to its end."""
    a, b = before_the_end(first), before_the_end(second)
    parts = [np.concatenate([getattr(first, f)[:a][::-1], getattr(second, f)[1:b]]) for f in vars(first)]
    return np.concatenate([down[:a][::-1], up[1:b]]), Branch(*parts)


def ends(start: tuple[np.ndarray, np.ndarray]) -> dict:
    """Where the pentagon ends when the first feature becomes rarer, and the first feature's norm there."""
    last = branch_end(start, cell_at, OTHERS, LEAST, jump=JUMP)
    W = follow(start, np.geomspace(OTHERS, last, 100)).W[-1]
    return {"pentagon_end": None if last == LEAST else last, "norm_at_end": float(np.linalg.norm(W[:, 0]))}


def of_branch(at: np.ndarray, branch: Branch) -> dict:
    """Loss, and norms and biases of the first feature and of the largest and smallest of the others."""
    norm = np.linalg.norm(branch.W, axis=1)
    return {
        "at": at,
        "loss": branch.loss,
        "norm": norm[:, 0],
        "norm_least": norm[:, 1:].min(1),
        "norm_most": norm[:, 1:].max(1),
        "bias": branch.b[:, 0],
        "gradient": branch.gradient.max(),
    }


def of_trained(run: Any, minima: dict[str, tuple[tuple[np.ndarray, np.ndarray], float]]) -> dict:
    """Loss and kind of the best trained models, and the share of seeds on each branch: of a loss within NEAR of its.

    `minima`: a model of each branch, and the probability at which it is one. Two digons whose first output is always 0,
    not the feature's mean p / 2, cost p^2 / 4 more; they count as two digons.
    """
    data = run.dataset.sortby("first_probability").transpose("first_probability", "replica", "hidden", "feature", ...)
    p = data["first_probability"].to_numpy()
    W, b = (data[name].to_numpy().astype(float) for name in ("W", "b"))
    losses = np.array([exact_losses(*models) for models in zip(W, b, p, strict=True)])
    best = losses.argmin(1)
    return {
        "at": p,
        "loss": losses.min(1),
        "best": [arrangement(W[k, one]) for k, one in enumerate(best)],
        **{name: on_branch(losses, p, *first, name == "digons") for name, first in minima.items()},
        "first": (np.linalg.norm(W, axis=2)[..., 0] >= REPRESENTED).mean(1),
    }


def exact_losses(W: np.ndarray, b: np.ndarray, first: float) -> np.ndarray:
    """The exact losses of models at one probability of the first feature."""
    importance, probability = cell_at(first)
    return theory.exact_losses(W, b, importance, probability)


def on_branch(
    losses: np.ndarray, p: np.ndarray, first: tuple[np.ndarray, np.ndarray], at: float, dead: bool
) -> np.ndarray:
    """The share of losses (probability, seed) within NEAR of a branch, which is followed from `at` both ways.

    `dead`: whether losses that are p^2 / 4 higher count too.
    """
    out = np.zeros(len(p))
    for side in (np.flatnonzero(p < at)[::-1], np.flatnonzero(p >= at)):
        if side.size:
            fine = np.geomspace(at, p[side[-1]], 200)
            branch = follow(first, fine)
            length = before_the_end(branch)
            near = np.abs(np.log(p[side][:, None] / fine[None, :length])).argmin(1)
            there = np.abs(np.log(p[side] / fine[near])) < 1.1 * abs(np.log(fine[1] / fine[0]))
            goal = follow_to(branch, near, p[side])
            goals = goal[:, None, None] + np.array([0, dead])[:, None] * p[side][:, None, None] ** 2 / 4
            near_one = (np.abs(losses[side][:, None] / goals - 1) <= NEAR).any(1)
            out[side] = np.where(there, near_one.mean(1), 0)
    return out


def follow_to(branch: Branch, near: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The loss of a branch at probabilities p, from its points `near` them."""
    return np.array([follow(model(branch, k), np.array([q])).loss[0] for k, q in zip(near, p, strict=True)])


def pentagon(numbers: dict) -> str:
    """Norm and bias of the first feature along the pentagon."""
    found = numbers["pentagon"]
    rows: Rows = []
    for first in (0.007, 0.0135, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        k = int(np.argmin(np.abs(np.log(np.array(found["at"]) / first))))
        norm, b = found["norm"][k], found["bias"][k]
        rows.append([f"{v:.3f}" for v in (found["at"][k], norm, b, 1 / (1 - b), norm**2, 1 - b)])
    return table(["p of the first feature", "\\|W_1\\|", "b_1", "1/(1 - b_1)", "\\|W_1\\|^2", "1 - b_1"], rows)


STUDY = Study(
    name="perturb",
    make=make,
    runs={
        "perturb_one": Sweep(
            "perturb_one.toml",
            quick=(*SHORT, "train.learning_rate=5e-3", "axes.replica.count=20"),
            smallest=("axes.first_probability.count=3", "axes.replica.count=2", "train.steps=20", "train.batch=16"),
        )
    },
    tables={"pentagon": pentagon},
    drawn=True,
)
