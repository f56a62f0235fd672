"""Capacity: small versions of its checks."""

import numpy as np
import pytest
from studies.capacity import study as capacity

from tmsjax import theory
from tmsjax.kinds import measures


def test_sums_of_any_weights_are_bounded_by_the_rank_and_reach_it_for_eigenvectors():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(200, 3, 7)) * rng.exponential(size=(200, 1, 7))
    sums = measures.dimensionality(W).sum(-1)
    leverage = np.einsum("kmi,kmn,kni->ki", W, np.linalg.inv(W @ W.transpose(0, 2, 1)), W)
    assert (measures.dimensionality(W) <= leverage + 1e-9).all()
    assert (sums < 3).all()
    angles = 2 * np.pi * np.arange(5) / 5
    pentagon = np.array([np.cos(angles), np.sin(angles)])
    assert measures.dimensionality(pentagon).sum() == pytest.approx(2)


def test_a_pair_of_pairs_has_unequal_benefits(monkeypatch):
    """Independent of the section: two digons, each in one dimension, with a smaller step."""
    I, p = np.array([1, 0.85, 0.7, 0.5]), np.full(4, 0.2)  # noqa: E741
    W = np.array([[1.0, 0, 0, -1], [0, 1, -1, 0]])
    start = theory.follow(W, np.zeros(4), I[None], p[None])
    monkeypatch.setattr(capacity, "STEP", 0.003)
    changes = np.array([capacity.response(start.W[0], start.b[0], I, p, k) for k in range(4)])
    C, loss = changes[:, 0], changes[:, 1] * I
    np.testing.assert_allclose(C[:, [0, 1]], -C[:, [3, 2]], atol=1e-6)
    benefit = -(C * loss).sum(0) / (C**2).sum(0)
    assert benefit[0] == pytest.approx(benefit[3], rel=0.02)
    assert benefit[1] == pytest.approx(benefit[2], rel=0.02)
    assert benefit[0] > 1.05 * benefit[1]


def test_descents_confirm_the_closed_form_and_equal_marginal_benefit():
    found = capacity.of_quadratic(0.8 ** np.arange(6), np.array([0.5, 0.2]), 2, starts=6)
    assert found["gap"] < 1e-8
    assert found["difference"] < 1e-3
    assert found["spread"] < 1e-3


def test_the_target_of_a_feature_is_the_root_of_its_importance():
    assert capacity.extra(0.24, 5.0) == 0 < capacity.extra(0.26, 5.0)
    assert capacity.extra(0.5, 10.0) == pytest.approx(1 - capacity.extra(2.0, 10.0))


def test_curves_that_agree_by_kurtosis_are_not_apart():
    p = np.array([0.9, 0.3, 0.1])
    one = {"kurtosis": 1.8 / p, "partial": np.log(1.8 / p)}
    other = {"kurtosis": 1 / p, "partial": np.log(1 / p)}
    found = capacity.apart(other, one)
    assert found["kurtosis"] == pytest.approx(0, abs=1e-12)
    assert found["probability"] == pytest.approx(np.log(1.8))
