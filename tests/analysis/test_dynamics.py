"""Jumps on planted series, stages of planted weights, and one frame for all steps."""

import numpy as np
import pytest

from tmsjax.analysis import dynamics, in_one_frame

RNG = np.random.default_rng(3)
STEPS = np.arange(60)


def step_at(k: int, before: float, after: float) -> np.ndarray:
    return np.where(k > STEPS, before, after).astype(float)


def turned(W: np.ndarray) -> np.ndarray:
    """W in a random orthonormal frame."""
    return np.linalg.qr(RNG.normal(size=(W.shape[-2],) * 2))[0] @ W


def test_planted_jumps_are_found_where_they_are():
    values = np.stack([step_at(20, 0.0, 0.5), step_at(40, 0.5, 0.4), step_at(30, 0.5, 0.0), STEPS / 59], axis=1)
    found = dynamics.jumps(values, least=0.2, window=4)
    assert [(jump.feature, jump.before, jump.after) for jump in found] == [(0, 0.0, 0.5), (2, 0.5, 0.0)]
    for jump, k in zip(found, (20, 30), strict=True):
        assert jump.start < k <= jump.stop == jump.start + 4


def test_a_fast_rise_and_the_fall_after_it_are_two_jumps():
    up_and_down = step_at(20, 0.0, 0.7) - step_at(24, 0.0, 0.7)
    assert len(dynamics.jumps(up_and_down[:, None])) == 2
    twice = step_at(10, 0.0, 0.3) + step_at(40, 0.0, 0.3)
    assert [jump.before for jump in dynamics.jumps(twice[:, None])] == [0.0, 0.3]


def test_smooth_and_noisy_series_have_no_jumps():
    smooth = 0.5 / (1 + np.exp(-(STEPS - 30) / 4))[:, None]
    assert np.ptp(smooth) > 0.45
    assert dynamics.jumps(smooth, least=0.2, window=4) == []
    assert len(dynamics.jumps(smooth, least=0.2, window=12)) == 1
    assert dynamics.jumps(0.5 + RNG.uniform(-0.09, 0.09, (60, 50))) == []


def test_the_share_of_the_decrease_in_jumps_is_one_where_all_of_it_is_there():
    loss = step_at(20, 3.0, 2.0)
    inside = dynamics.intervals_in(dynamics.jumps(step_at(21, 0.0, 0.5)[:, None]), 60)
    (jump,) = dynamics.jumps(step_at(21, 0.0, 0.5)[:, None])
    assert np.flatnonzero(inside).tolist() == list(range(jump.start, jump.stop)), "intervals between its records"
    share, chance = dynamics.share_of_decrease(loss, inside)
    assert share == pytest.approx(1)
    assert chance == pytest.approx(4 / 59)
    assert dynamics.share_of_decrease(loss, ~inside)[0] == pytest.approx(0)


def test_the_initial_phase_ends_on_the_first_plateau_after_half_of_the_decrease():
    loss = np.concatenate([np.full(10, 9.0), np.linspace(9, 2, 11), np.full(20, 2.0), np.full(19, 1.0)])
    assert dynamics.settled(loss) == 20
    assert dynamics.settled(np.linspace(9, 2, 30)) == 29, "never"


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
    assert [dynamics.STAGES[k] for k in dynamics.stages(W, 3)] == list(planted)
    within = octahedron((0, 1, 2))[:, [0, 3, 1, 4, 2, 5]]  # antipodes in one set
    assert dynamics.STAGES[dynamics.stages(within[None], 3)[0]] == "splitting"


def test_all_steps_are_turned_alike_into_the_frame_of_the_last():
    W = RNG.normal(size=(5, 3, 6))
    W[-1, :, :3] = [[1, 2, 3], [0, 4, 5], [0, 0, 6]]
    W = turned(W)
    shown = dynamics.in_frame_of_last(W)
    np.testing.assert_allclose(np.swapaxes(shown, 1, 2) @ shown, np.swapaxes(W, 1, 2) @ W, atol=1e-12)
    np.testing.assert_allclose(np.swapaxes(shown[0], 0, 1) @ shown[4], W[0].T @ W[4], atol=1e-12)
    np.testing.assert_allclose(shown[-1][:, :3], [[1, 2, 3], [0, 4, 5], [0, 0, 6]], atol=1e-12)
    plane = RNG.normal(size=(4, 2, 5))
    np.testing.assert_allclose(dynamics.in_frame_of_last(plane)[-1], in_one_frame(plane[-1]), atol=1e-12)
    nothing = np.zeros((3, 3, 4))
    np.testing.assert_array_equal(dynamics.in_frame_of_last(nothing), nothing)


def test_steps_to_show_are_where_the_weights_move():
    still, moving = np.repeat(np.eye(2)[None], 30, axis=0), np.eye(2) * np.linspace(1, 2, 30)[:, None, None]
    W = np.concatenate([still, moving, 2 * still])
    some = dynamics.spread_steps(W, 6)
    assert some[0] == 0
    assert len(some) == 6
    assert ((some[1:-1] > 29) & (some[1:-1] < 60)).all()
    np.testing.assert_array_equal(dynamics.spread_steps(still, 6), [0])
