"""Candidates, linear models and the onset against exact losses, Monte Carlo and exact optima."""

import numpy as np
import pytest
from scipy import optimize

from tmsjax import theory
from tmsjax.kinds import VALUES
from tmsjax.models import expected
from tmsjax.models.loss import linear_loss

RNG = np.random.default_rng(5)  # cases are drawn as tests run; every tolerance holds for any draw


def test_candidates_are_exact_losses_of_their_models():
    for r in (0.2, 1.0, 5.0):
        for p in (0.05, 0.5, 1.0):
            importance, probability = np.array([1.0, r]), np.array([p, p])
            losses = theory.candidate_losses(importance, probability)
            biases = ([0, p / 2], [p / 2, 0], [0, 0])
            for W, b, loss in zip(theory.candidates(2), biases, losses, strict=True):
                assert expected.relu_loss(W, np.array(b, float), importance, probability) == pytest.approx(loss)
            np.testing.assert_allclose(losses, [r * theory.variance(p), theory.variance(p), (1 + r) * p**2 / 6])


def test_linear_loss_is_the_mean_over_samples():
    n, m, count = 5, 2, 400_000
    W, b = RNG.normal(size=(m, n)) * 0.5, RNG.normal(size=n) * 0.1
    importance, p = RNG.uniform(0.1, 2, n), RNG.uniform(0.1, 1, n)
    x = (RNG.uniform(size=(count, n)) < p) * RNG.uniform(size=(count, n))
    losses = ((x - x @ W.T @ W - b) ** 2 * importance).sum(1)
    exact = linear_loss(W, b, importance, p / 2, np.diag(theory.variance(p)))
    assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(count)


def test_linear_optimum_is_the_projector_on_the_most_important():
    n, m, p = 6, 2, 0.4
    importance = 0.8 ** np.arange(n)
    W, mean = np.eye(n)[:m], np.full(n, p / 2)
    b = (np.eye(n) - W.T @ W) @ mean
    covariance = np.diag(np.full(n, theory.variance(p)))
    best = linear_loss(W, b, importance, mean, covariance)
    assert best == pytest.approx(theory.variance(p) * importance[m:].sum())
    for _ in range(200):
        near = W + 0.05 * RNG.normal(size=W.shape)
        near_b = (np.eye(n) - near.T @ near) @ mean
        assert linear_loss(near, near_b, importance, mean, covariance) > best


def test_three_features_have_the_candidates_of_the_paper():
    """Losses for n = 3, m = 2: dropped r v, another dropped v, in a pair (1 + r) p^2 / 6, beside a pair p^2 / 3."""
    r, p = 0.4, 0.3
    importance, probability = np.array([1, 1, r]), np.full(3, p)
    losses = theory.candidate_losses(importance, probability)
    v, pair = theory.variance(p), (1 + r) * p**2 / 6
    np.testing.assert_allclose(losses, [r * v, v, v, p**2 / 3, pair, pair])
    for W, loss in zip(theory.candidates(3), losses, strict=True):
        dropped = (W**2).sum(0) == 0
        assert expected.relu_loss(W, dropped * p / 2, importance, probability) == pytest.approx(loss)


@pytest.mark.parametrize("values", [name for name, v in VALUES.items() if v.least is not None])
def test_candidate_boundary_is_where_losses_cross(values):
    for r in (0.1, 0.5, 1.0, 4.0):
        p = theory.candidate_boundary(r, values)
        losses = theory.candidate_losses(np.array([1.0, r]), np.array([p, p]), values)
        assert losses[2] == pytest.approx(min(losses[:2]))
    assert theory.candidate_boundary(1.0) == pytest.approx(4 / 7), "of uniform values"


def test_candidates_of_constant_values_are_sums_over_four_cases():
    r, p = 0.7, 0.4
    cases = [(np.array(x, float), q) for x, q in (([0, 1], p * (1 - p)), ([1, 0], p * (1 - p)), ([1, 1], p * p))]

    def loss(W, b):
        rest = (1 - p) ** 2 * (np.array([1, r]) * np.maximum(b, 0) ** 2).sum()
        return rest + sum(q * (np.array([1, r]) * (x - np.maximum(W.T @ W @ x + b, 0)) ** 2).sum() for x, q in cases)

    losses = theory.candidate_losses(np.array([1.0, r]), np.array([p, p]), "constant")
    biases = np.array([[0, p], [p, 0], [0, 0]])
    for W, b, expected_loss in zip(theory.candidates(2), biases, losses, strict=True):
        assert loss(W, b) == pytest.approx(expected_loss)


@pytest.mark.parametrize("probability", [0.7, 0.95])
def test_onset_is_where_the_dedicated_solution_turns_unstable(probability):
    """With a small minor weight of opposite sign, the best model costs more than the dedicated one only below it."""
    p = np.full(2, probability)
    for shift in (-0.01, 0.01):
        importance = np.array([1.0, theory.onset(probability) + shift])

        def loss(t, importance=importance):
            return float(expected.relu_loss(np.array([[t[0], -0.02]]), t[1:], importance, p))

        start = [1.0, 0.0, probability / 2]
        best = optimize.minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}).fun
        dedicated = importance[1] * theory.variance(probability)
        assert np.sign(best - dedicated) == -np.sign(shift)


def test_onset_reaches_importance_one_with_dense_features_and_needs_a_probability():
    assert theory.onset(1.0) == pytest.approx(1, abs=1e-6)
    for probability in (0.0, 1.1):
        with pytest.raises(ValueError, match="in \\(0, 1\\]"):
            theory.onset(probability)
