"""Stages of planted weights, the share of a decrease in jumps, and a small training that shows the stages."""

import numpy as np
import pytest
from conftest import plain_spec
from studies.dynamics import stages

from tmsjax.analysis import dynamics
from tmsjax.runs import run_sweep

RNG = np.random.default_rng(3)
STEPS = np.arange(60)


def step_at(k: int, before: float, after: float) -> np.ndarray:
    return np.where(k > STEPS, before, after).astype(float)


def turned(W: np.ndarray) -> np.ndarray:
    """W in a random orthonormal frame."""
    return np.linalg.qr(RNG.normal(size=(W.shape[-2],) * 2))[0] @ W


def test_the_share_of_the_decrease_in_jumps_is_one_where_all_of_it_is_there():
    loss = step_at(20, 3.0, 2.0)
    inside = stages.intervals_in(dynamics.jumps(step_at(21, 0.0, 0.5)[:, None]), 60)
    (jump,) = dynamics.jumps(step_at(21, 0.0, 0.5)[:, None])
    assert np.flatnonzero(inside).tolist() == list(range(jump.start, jump.stop)), "intervals between its records"
    share, chance = stages.share_of_decrease(loss, inside)
    assert share == pytest.approx(1)
    assert chance == pytest.approx(4 / 59)
    assert stages.share_of_decrease(loss, ~inside)[0] == pytest.approx(0)


def octahedron(order: tuple[int, ...], turn: float = 0.0) -> np.ndarray:
    """Two sets of three orthogonal directions; the second is the first, reversed, permuted, turned about (1, 1, 1)."""
    axis = np.ones(3) / np.sqrt(3)
    cross = np.cross(np.eye(3), axis).T
    rotation = np.cos(turn) * np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * np.outer(axis, axis)
    return np.concatenate([np.eye(3), -rotation[:, list(order)]], axis=1)


def test_stages_are_those_of_planted_weights_in_any_frame():
    collapsed = np.repeat([[1.0, -1.0], [0.1, 0.0], [0.0, 0.0]], 3, axis=1)
    splitting = collapsed + 0.6 * np.concatenate([np.eye(3), np.eye(3)], axis=1)
    planted = {
        "incomplete": 0.2 * octahedron((0, 1, 2)),
        "collapsed": 0.5 * collapsed,
        "splitting": splitting,
        "orthogonal sets": octahedron((0, 1, 2), turn=0.8),
        "octahedron": octahedron((2, 0, 1)),
    }
    W = np.stack([turned(one) for one in planted.values()])
    assert [stages.STAGES[k] for k in stages.stages(W, 3)] == list(planted)
    within = octahedron((0, 1, 2))[:, [0, 3, 1, 4, 2, 5]]  # antipodes in one set
    assert stages.STAGES[stages.stages(within[None], 3)[0]] == "splitting"


@pytest.mark.slow
def test_a_small_training_collapses_first_and_ends_as_an_octahedron():
    raw = plain_spec(6, 3, probability=0.03, instances=3, data={"activity": "groups", "size": 3})
    raw["instance"]["init_scale"] = 0.05
    raw["train"] = {"steps": 4000, "batch": 256, "learning_rate": 3e-3}
    raw["record"] = {"measures": ["W"], "steps": [30, 60, 120, 250, 4000]}
    W = run_sweep(raw).dataset["history_W"].transpose("replica", "step", "hidden", "feature").to_numpy().astype(float)
    for path in W:
        named = [stages.STAGES[k] for k in stages.stages(path, 3)]
        assert "collapsed" in named[:-1]
        assert named[-1] == "octahedron"
