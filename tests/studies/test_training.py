"""What training adds: its theory and its measurements on known cases."""

import numpy as np
import pytest
import xarray as xr
from studies.corner.one_neuron import one_neuron_loss
from studies.training import branches, shifts
from studies.training import study as training
from studies.training.shifts import Grid, Setting

import tmsjax
from tmsjax import theory

RATIO, JUMP = np.array([0.1, 0.55]), np.array([0.18124745, 0.50594476])
SMALL = Grid((0.01, 0.1), (0.1, 0.55), tuple(JUMP), 32, 9)


@pytest.fixture(scope="module")
def at():
    return branches.at_jump(RATIO, JUMP)


@pytest.mark.slow
def test_the_branches_cross_where_the_exact_optimum_jumps():
    found = branches.change(branches.differences(RATIO, JUMP)["plain"])
    assert np.abs(found).max() < 1e-5
    sides = np.concatenate([JUMP * 10**-0.001, JUMP * 10**0.001])
    best = theory.exact_optimum(*branches.cells(np.tile(RATIO, 2), sides))
    assert (np.abs(best.W[:, 0, 1]) > shifts.REPRESENTED).tolist() == [True, True, False, False]


def test_minima_under_decay_are_stationary_points_of_loss_and_penalty():
    decay = np.array([[1e-3, 2e-3, 0, 1e-3]] * 2)
    for name in branches.STARTS:
        end = branches.descend(name, RATIO, JUMP * 0.98, decay)
        gradient = one_neuron_loss(end.theta, *branches.cells(RATIO, JUMP * 0.98))[1]
        np.testing.assert_allclose(gradient, -decay * end.theta, atol=1e-8)
        np.testing.assert_allclose(end.penalised - end.loss, (decay * end.theta**2).sum(1) / 2)


def test_the_penalised_boundary_moves_by_the_difference_of_norms(at):
    """The envelope theorem: to first order the loss of a branch rises by decay / 2 |theta|^2."""
    decay = 1e-5
    moved = branches.change(branches.differences(RATIO, JUMP, decay)["penalised"])
    norms = {name: decay / 2 * (theta**2).sum(1) for name, theta in at.theta.items()}
    np.testing.assert_allclose(moved, at.shift(norms), rtol=0.02)


def test_gradients_of_samples_average_to_the_exact_gradient():
    theta, importance, p = np.array([0.9, -0.6, 0.05, 0.1]), np.array([1, 0.4]), np.array([0.3, 0.3])
    mean = branches.gradients(theta, importance, p).mean(0)
    np.testing.assert_allclose(mean, one_neuron_loss(theta, importance, p)[1], atol=1e-4)


def test_the_stationary_covariance_of_one_scale():
    H, S = 2 * np.eye(4)[None], 0.09 * np.eye(4)[None]
    sgd = branches.stationary(H, S, 0.01, 16, "sgd")[0]
    np.testing.assert_allclose(sgd, 0.01 * 0.09 / (2 * 2 * 16) * np.eye(4), atol=1e-12)
    adam = branches.stationary(H, S, 0.01, 16, "adam")[0]
    np.testing.assert_allclose(adam, 0.01 * 0.3 / (2 * 2 * 4) * np.eye(4), atol=1e-12)


def test_the_predicted_excess_is_that_of_simulated_gradient_descent(at):
    name, rate, batch = branches.SUPERPOSED, 0.05, 4
    theta, (importance, p) = at.theta[name][1], branches.cells(RATIO, JUMP)
    every = branches.gradients(theta, importance[1], p[1])
    rng = np.random.default_rng(0)
    x = np.zeros((400, 4))
    for _ in range(400):
        g = every[rng.integers(len(every), size=(len(x), batch))].mean(1)
        x -= rate * (x @ at.hessian[name][1] + g)
    losses = np.einsum("ki,ij,kj->k", x, at.hessian[name][1], x) / 2
    assert np.median(losses) == pytest.approx(at.excess(name, rate, batch, "sgd")[1], rel=0.2)
    assert at.excess(name, rate, batch, "sgd", 8)[1] < 0.5 * np.median(losses)


def test_a_superposed_branch_that_ends_while_lower_ends_superposition():
    row = np.where(branches.OFFSETS < 0.0105, -1.0, np.nan)
    rising = branches.OFFSETS - 0.0123
    found = branches.change(np.stack([row, rising, np.full_like(row, np.nan)]))
    assert found[0] == pytest.approx(0.011, abs=1e-9)
    assert found[1] == pytest.approx(0.0123)
    assert np.isnan(found[2])


def test_a_sharp_boundary_is_found_to_half_a_cell_and_not_outside_the_window():
    offsets = SMALL.offsets
    assert offsets.min() >= shifts.LOWEST
    assert offsets.max() <= shifts.HIGHEST
    step = np.diff(offsets, axis=1).max()
    found = shifts.boundary((offsets < -0.013).astype(float), offsets)
    assert np.abs(found + 0.013).max() < step / 2
    assert np.isnan(shifts.boundary(np.ones_like(offsets), offsets)).all()
    assert np.isnan(shifts.boundary(np.zeros_like(offsets), offsets)).all()


def test_the_best_model_speaks_for_a_cell_and_never_a_diverged_one():
    shape = (2, 2 * 9, 32)
    W = np.zeros((*shape, 1, 2))
    W[..., 0] = 1
    W[..., 0::2, 0, 1] = -0.8  # even replicas are in superposition
    loss = np.full(shape, 0.5)
    loss[..., 4] = 0.4  # and one of them is best
    status = np.zeros(shape, np.int8)
    loss[1, :, 7], status[1, :, 7] = 0.1, 1
    dims = ("weight_decay", "case", "replica")
    dataset = xr.Dataset(
        {
            "W": ((*dims, "hidden", "feature"), W),
            "b": ((*dims, "feature"), np.zeros((*shape, 2))),
            "loss": (dims, loss),
            "status": (dims, status),
        }
    )
    found = shifts.reduced(dataset, Setting("sgd", axis="weight_decay"), SMALL)
    assert found["best"].to_numpy()[..., 0].all()
    assert not found["best_penalised"].to_numpy()[1, ..., 0].any() or SMALL.values[1] * 0.32 < 0.1
    assert (found["opposite"].to_numpy() == 1).all()
    assert (found["equal"].to_numpy() == 0).all()
    assert (found["loss_superposed"].to_numpy() == 0.5).all()
    np.testing.assert_allclose(found["diverged"], [0, 1 / 32])


def test_the_penalty_decides_between_models_of_equal_loss():
    shape = (2, 2 * 9, 32)
    W = np.ones((*shape, 1, 2))
    W[..., 1::2, 0, 1] = 0
    dims = ("weight_decay", "case", "replica")
    loss = np.full(shape, 0.5)
    loss[..., 1::2] += 0.01  # dedicated models are worse by 0.01, superposed ones have a norm larger by 1
    dataset = xr.Dataset(
        {
            "W": ((*dims, "hidden", "feature"), W),
            "b": ((*dims, "feature"), np.zeros((*shape, 2))),
            "loss": (dims, loss),
            "status": (dims, np.zeros(shape, np.int8)),
        }
    )
    found = shifts.reduced(dataset, Setting("sgd", axis="weight_decay"), SMALL)
    assert found["best"].to_numpy().all()
    assert found["best_penalised"].to_numpy()[0].all()  # decay 0.01 costs 0.005
    assert not found["best_penalised"].to_numpy()[1].any()  # decay 0.1 costs 0.05


@pytest.mark.parametrize("group", ["map", "steps", "streams", "noise", "decay"])
def test_every_setting_is_a_valid_sweep_of_its_cells(group):
    one = Grid((0.01, 0.1), (0.1, 0.3), (0.18, 0.37), 16, 5)
    for setting in training.plan(False)[group]:
        spec = tmsjax.load_spec(shifts.spec_of(setting, one))
        assert spec.instances == 2 * 10 * 16
    p = spec.evaluate("feature_probability")[..., 0].reshape(-1)
    np.testing.assert_allclose(p, one.probability.reshape(-1))
    assert spec.evaluate("importance").reshape(-1, 2)[7].tolist() == [1, 0.3]


@pytest.mark.slow
def test_even_replicas_start_with_opposite_signs():
    raw = shifts.spec_of(Setting("sgd", steps=1), Grid((1e-9,), (0.1, 0.3), (0.18, 0.37), 16, 5))
    W = tmsjax.run_sweep(raw, progress=False).dataset["W"].transpose("replica", ..., "feature").to_numpy()
    opposite = (W[..., 0] * W[..., 1] < 0).reshape(16, -1)
    assert opposite[0::2].all()
    assert not opposite[1::2].any()
