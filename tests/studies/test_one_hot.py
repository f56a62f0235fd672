"""One-hot data: the closed form against quadrature, k-gons against published numbers."""

import numpy as np
import pytest
from studies.kgons.one_hot import k_gon, one_hot_curvature, one_hot_gradient, one_hot_loss, one_hot_minima

from tmsjax.models import expected

LOSSES = {(4, 0): 1 / 9, (4, 1): 0.10417, (5, 0): 0.06874, (5, 1): 0.06180, (6, 0): 0.04819}  # 2310.06301, n = 6
CORNERS = {5: (1.17046, -0.28230), 6: (1.32053, -0.61814), 7: (1.44839, -0.96691), 8: (1.55045, -1.29119)}


def models(count: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 2, n)), 0.5 * rng.normal(size=(count, n)), rng.dirichlet(np.full(n, 3.0), count)


def test_the_closed_form_is_the_engines_exact_loss():
    W, b, share = models(200, 6)
    b[:50, :3], W[50:60, :, 2] = 0, 0
    ones = np.ones_like(b)
    equal = expected.relu_loss(W, b, ones, ones, activity="one-hot")
    np.testing.assert_allclose(one_hot_loss(W, b), equal, rtol=0, atol=1e-13)
    unequal = expected.relu_loss(W, b, ones, share, activity="one-hot")
    np.testing.assert_allclose(one_hot_loss(W, b, share), unequal, rtol=0, atol=1e-13)


def test_the_closed_form_is_the_mean_over_samples():
    W, b, share = (v[0] for v in models(1, 5, seed=3))
    rng = np.random.default_rng(1)
    x = np.zeros((10**6, 5))
    x[np.arange(len(x)), rng.choice(5, len(x), p=share)] = rng.uniform(size=len(x))
    losses = ((x - np.maximum(x @ (W.T @ W) + b, 0)) ** 2).sum(1)
    assert abs(losses.mean() - one_hot_loss(W, b, share)) < 5 * losses.std() / 1e3


def test_the_gradient_is_that_of_the_loss():
    W, b, share = models(20, 6, seed=1)
    slope_W, slope_b = one_hot_gradient(W, b, share)
    for i in range(6):
        step = 1e-6 * np.eye(6)[i]
        for row in range(2):
            move = np.zeros((2, 6))
            move[row] = step
            change = one_hot_loss(W + move, b, share) - one_hot_loss(W - move, b, share)
            np.testing.assert_allclose(slope_W[:, row, i], change / 2e-6, atol=1e-8)
        change = one_hot_loss(W, b + step, share) - one_hot_loss(W, b - step, share)
        np.testing.assert_allclose(slope_b[:, i], change / 2e-6, atol=1e-8)


@pytest.mark.parametrize("n", [4, 6, 8])
def test_k_gons_are_critical_points(n):
    for k in range(2, n + 1):
        for positive in range(n - k + 1):
            one = k_gon(k, n, positive)
            assert all(np.abs(part).max() < 1e-10 for part in one_hot_gradient(one.W, one.b))
            bare = k_gon(k, n)
            assert bare.loss - one.loss == pytest.approx(positive / (4 * n**2), abs=1e-12)
            assert np.ptp(np.linalg.norm(one.W[:, :k], axis=0)) < 1e-12


def test_k_gons_are_those_of_the_paper():
    for (k, positive), loss in LOSSES.items():
        assert k_gon(k, 6, positive).loss == pytest.approx(loss, abs=6e-6)
    for k, (norm, bias) in CORNERS.items():
        assert (k_gon(k, 8).norm, k_gon(k, 8).bias) == pytest.approx((norm, bias), abs=6e-6)
    four = k_gon(4, 6)
    assert (four.norm, four.bias) == (1, 0)


def test_half_the_rank_of_the_hessian_is_the_published_coefficient():
    for k, positive, coefficient in ((5, 0, 7), (5, 1, 8.5), (6, 0, 8.5)):
        one = k_gon(k, 6, positive)
        eigenvalues = one_hot_curvature(one.W, one.b)
        assert (eigenvalues > 1e-6).sum() / 2 == coefficient
        assert eigenvalues[0] > -1e-8


def test_descents_find_the_k_gon_of_lowest_loss():
    for n, most in ((4, 1e-12), (5, k_gon(5, 5).loss)):
        found = one_hot_minima(n, starts=12)
        assert found.loss[0] == pytest.approx(most, abs=1e-9)
        assert found.count.sum() == 12
        assert (found.gradient < 1e-6).all()
        np.testing.assert_allclose(one_hot_loss(found.W, found.b), found.loss)
    assert k_gon(7, 8, 1).loss < min(k_gon(8, 8).loss, k_gon(6, 8, 2).loss)


def test_refused():
    for arguments in ((0, 6), (7, 6), (5, 6, 2), (1, 6, 1), (4, 6, -1)):
        with pytest.raises(ValueError, match="no critical"):
            k_gon(*arguments)
