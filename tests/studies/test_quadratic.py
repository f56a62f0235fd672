"""The quadratic model's loss against samples, its closed-form allocation against descents, and their bounds."""

import numpy as np
import pytest
from studies.capacity.quadratic import allocation, marginal_benefit, quadratic_descents, quadratic_loss

from tmsjax.kinds import measures

CASES = [(6, 2, 0.9, 2.0), (6, 2, 0.9, 3.5), (6, 2, 0.9, 6.0), (8, 3, 0.85, 6.0), (8, 3, 0.85, 30.0), (9, 4, 0.7, 12.0)]


def test_the_loss_is_the_variance_of_the_error_over_samples():
    rng = np.random.default_rng(0)
    W, v, p = rng.normal(size=(2, 4)) * 0.6, np.array([1.0, 0.8, 0.5, 0.3]), 0.25
    x = rng.normal(size=(2_000_000, 4)) * (rng.random((2_000_000, 4)) < p) / np.sqrt(p)
    error = (x**2) @ v - ((x @ W.T) ** 2).sum(-1)
    assert error.var() == pytest.approx(quadratic_loss(W, v, 3 / p), rel=0.02)


@pytest.mark.parametrize(("n", "hidden", "ratio", "kurtosis"), CASES)
def test_the_allocation_is_the_lowest_minimum_of_descents(n, hidden, ratio, kurtosis):
    v = ratio ** np.arange(n)
    found = quadratic_descents(v, kurtosis, hidden, starts=12)
    best = allocation(v, kurtosis, hidden)
    assert found.loss[0] == pytest.approx(best.loss, rel=1e-8)
    assert found.gradient[0] < 1e-5
    np.testing.assert_allclose(measures.dimensionality(found.W[0]), best.capacity, atol=1e-4)
    np.testing.assert_allclose(measures.norms(found.W[0]) ** 2, best.square, atol=1e-4)
    assert best.capacity.sum() == pytest.approx(hidden)
    counts = [(best.capacity == 1).sum(), ((best.capacity > 0) & (best.capacity < 1)).sum()]
    assert counts == [best.full, best.partial]


def test_marginal_benefits_are_equal_among_partly_represented_features_and_lower_for_ignored_ones():
    v = 0.8 ** np.arange(10)
    one = allocation(v, 6.0, 3)
    benefit = marginal_benefit(v, one.capacity, one.scale, 6.0)
    shared = benefit[one.full : one.full + one.partial]
    assert one.full > 0
    assert one.partial > 2
    assert one.full + one.partial < 10
    assert np.ptp(shared) < 1e-12
    assert (benefit[one.full + one.partial :] < shared.mean()).all()
    step = 1e-6

    def loss(C):
        return 5 * (v[4] - one.scale * C) ** 2 + 2 * one.scale**2 * C * (1 - C)

    slope = (loss(one.capacity[4] + step) - loss(one.capacity[4] - step)) / (2 * step)
    assert -slope == pytest.approx(benefit[4], rel=1e-6)


@pytest.mark.parametrize("kurtosis", [3.5, 5.0, 20.0])
def test_a_second_feature_shares_the_dimension_if_its_target_exceeds_2_over_kurtosis_less_1(kurtosis):
    border = 2 / (kurtosis - 1)
    assert allocation([1, border * 0.999], kurtosis, 1).partial == 0
    assert allocation([1, border * 1.001], kurtosis, 1).partial == 2


def test_nothing_is_shared_up_to_the_kurtosis_of_a_normal_distribution():
    assert allocation(0.99 ** np.arange(6), 3.0, 2).partial == 0
    assert allocation(0.99 ** np.arange(6), 3.1, 2).partial > 0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="descending"):
        allocation([0.5, 1.0], 5.0, 1)
    with pytest.raises(ValueError, match="positive"):
        allocation([1.0, 0.0], 5.0, 1)
    with pytest.raises(ValueError, match="kurtosis"):
        allocation([1.0, 0.5], 1.0, 1)
    with pytest.raises(ValueError, match="hidden"):
        allocation([1.0, 0.5], 5.0, 2)
    with pytest.raises(ValueError, match="starts"):
        quadratic_descents([1.0, 0.5], 5.0, 1, starts=0)
