"""Jumps on planted series, and one frame for all steps."""

import numpy as np

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


def test_the_initial_phase_ends_on_the_first_plateau_after_half_of_the_decrease():
    loss = np.concatenate([np.full(10, 9.0), np.linspace(9, 2, 11), np.full(20, 2.0), np.full(19, 1.0)])
    assert dynamics.settled(loss) == 20
    assert dynamics.settled(np.linspace(9, 2, 30)) == 29, "never"


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
