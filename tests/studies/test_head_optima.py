"""Heads in theory: closed forms against Monte Carlo, their gradients, and optima against SciPy and known limits."""

import numpy as np
import pytest
from scipy import optimize
from studies.heads import theory

SAMPLES = 400_000
RELU = (lambda v: np.maximum(v, 0), lambda v: v)


def simulated(matrix, strengths, probability, f, seed=0):
    """Loss of f(x^T M y) and its standard error."""
    rng = np.random.default_rng(seed)
    shape = (2, SAMPLES, len(strengths))
    x, y = np.where(rng.random(shape) < probability, rng.random(shape), 0)
    square = (f(np.einsum("si,ij,sj->s", x, matrix, y)) - (x * y) @ strengths) ** 2
    return square.mean(), square.std() / np.sqrt(SAMPLES)


@pytest.mark.parametrize("signs", [(1, 1, 1, 1), (1, -1, 1, -1), (1, -1, -1, 1), (-1, -1, 1, -1), (1, 0, 0, -1)])
@pytest.mark.parametrize("p", [0.25, 1.0])
def test_the_loss_of_rank_one_is_that_of_a_simulation(signs, p):
    sizes = np.array([0.7, 1.3, 1.9, 0.4]) * signs
    for own in (sizes, sizes[[1, 0, 3, 2]]):
        q, k, r = own[:2], own[2:], np.array([1.0, 0.6])
        loss, error = simulated(np.outer(q, k), r, p, RELU[0])
        assert abs(theory.rank_one_loss(q, k, r, p) - loss) < 4 * error


def test_the_linear_loss_is_that_of_a_simulation_for_any_rank():
    M, r = np.random.default_rng(1).normal(size=(4, 4)), np.array([1, 0.9, 0.5, 0.7])
    loss, error = simulated(M, r, 0.4, RELU[1])
    assert abs(theory.head_linear_loss(M, r, 0.4) - loss) < 4 * error
    loss, error = simulated(M * 0, r, 0.4, RELU[1])
    assert abs(theory.target_square(r, 0.4) - loss) < 4 * error


def test_moments_are_half_the_gradient_of_the_square():
    """E x_i (q.x)+ is half the derivative of E (q.x)+^2 = sum_i q_i E x_i (q.x)+; also across q_1 = -q_2."""
    step = 1e-5
    for q in ([0.7, -0.4], [0.4, -0.7], [-0.5, 0.5], [0.3, 0.8], [1.0, -1e-9]):
        q = np.array(q)
        for i, direction in enumerate(np.eye(2)):
            ends = [q + s * step * direction for s in (1, -1)]
            up, down = ((e * theory.half_moments(e, 0.3)).sum() for e in ends)
            assert theory.half_moments(q, 0.3)[i] == pytest.approx((up - down) / (4 * step), abs=1e-6)


def test_the_optimum_of_rank_one_is_what_scipy_finds_from_many_starts():
    rng = np.random.default_rng(0)
    for p, importance in ((0.6, 0.5), (0.25, 1.0), (0.1, 3.0)):
        r = np.array([1, np.sqrt(importance)])
        found = theory.rank_one_optimum(r[None], np.array([p]))

        def loss(theta, r=r, p=p):
            return theory.rank_one_loss(theta[:2], theta[2:], r, p)

        best = min(optimize.minimize(loss, rng.normal(size=4), tol=1e-14).fun for _ in range(12))
        assert found.loss[0] == pytest.approx(best, rel=1e-6)
        assert found.loss[0] == pytest.approx(loss(np.r_[found.q[0], found.k[0]]))


def test_sparse_equal_relations_have_cross_terms_of_minus_three_and_minus_one_third():
    """To leading order the cost is f(g) + f(1/g), f(g) = E min(x, g y)^2, whose minimum is at g = 3."""
    M = theory.rank_one_optimum(np.ones((1, 2)), np.array([1e-3])).matrix[0]
    assert np.diag(M) == pytest.approx([1, 1], abs=2e-3)
    assert sorted([M[0, 1], M[1, 0]]) == pytest.approx([-3, -1 / 3], abs=0.01)


def test_a_zero_relation_is_dropped_and_a_dense_pair_is_averaged():
    exact = theory.rank_one_optimum(np.array([[1, 0], [1, 1]]), np.array([0.1, 1.0]))
    assert exact.matrix[0] == pytest.approx(np.diag([1, 0]), abs=0.02)
    assert exact.matrix[1] == pytest.approx(np.full((2, 2), 0.5), abs=1e-3)


def test_the_linear_optimum_is_the_truncated_svd_and_no_step_from_it_gains():
    r, p = np.array([1.0, 0.8, 0.9, 0.5]), 0.3
    whole, none = theory.head_linear_optimum(r, p, 4)
    np.testing.assert_allclose(whole, np.diag(r), atol=1e-12)
    assert none == pytest.approx(0)
    rng = np.random.default_rng(0)
    for rank in (1, 2, 3):
        M, loss = theory.head_linear_optimum(r, p, rank)
        assert np.linalg.matrix_rank(M, tol=1e-9) == rank
        assert theory.head_linear_loss(M, r, p) == pytest.approx(loss)

        def of(theta, rank=rank):
            Q, K = theta.reshape(2, rank, 4)
            return theory.head_linear_loss(Q.T @ K, r, p)

        descents = [optimize.minimize(of, rng.normal(size=8 * rank), tol=1e-12).fun for _ in range(3)]
        assert min(descents) == pytest.approx(loss, rel=1e-5)
