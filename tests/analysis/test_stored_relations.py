"""Heads of planted weights: relations stored, phases, cross terms, singular vectors."""

import numpy as np
import pytest

import tmsjax
from tmsjax import analysis
from tmsjax.errors import RunError


def test_phases_of_planted_heads():
    matrices = np.array([np.diag([1, 0.1]), np.diag([0.1, 0.5]), [[1, -0.6], [-0.6, 0.5]], np.full((2, 2), 0.25)])
    strengths = np.array([1.0, 0.6])
    names = [analysis.heads.HEAD_PHASES[k] for k in analysis.heads.head_phases(matrices, strengths)]
    assert names == ["first only", "second only", "superposition", "neither"]


def test_cross_terms_are_those_between_stored_relations():
    M = np.array([[1, -2, 9], [0.05, 1, 9], [9, 9, 0.0]])
    assert analysis.heads.cross_terms(M, np.ones(3)) == {"negative": 0.5, "zero": 0.5, "positive": 0.0}
    assert np.isnan(analysis.heads.cross_terms(np.eye(3)[:1].T * np.eye(3)[:1], np.ones(3))["negative"])


def test_singular_vectors_of_features_score_one_and_of_pairs_one_over_root_two():
    features = np.diag([3.0, 2.0, 1.0, 0.0])[:, [1, 3, 0, 2]]
    pair = np.outer([1, -1, 0, 0], [1, -1, 0, 0])
    assert analysis.heads.singular_scores(features, 3) == pytest.approx(1)
    assert analysis.heads.singular_scores(pair, 1) == pytest.approx(np.sqrt(0.5))
    scores = analysis.heads.random_scores(12, 2, 400)
    rng = np.random.default_rng(1).normal(size=(20_000, 12))
    expected = (np.abs(rng).max(-1) / np.linalg.norm(rng, axis=-1)).mean()
    assert scores.mean() == pytest.approx(expected, abs=0.01)


def test_the_scale_between_both_matrices_is_that_of_the_best_stored_relation():
    r = np.array([1.0, 0.5])
    qk, ov = analysis.heads.one_scale(np.array([np.diag([-4.0, -1.0])]), np.array([np.diag([-0.25, 0.1])]), r)
    np.testing.assert_allclose(qk[0], np.diag([1, 0.25]))
    np.testing.assert_allclose(ov[0], np.diag([1, -0.4]))


@pytest.mark.slow
def test_matrices_and_strengths_of_a_run():
    raw = {
        "name": "heads",
        "model": {"features": 4, "hidden": 2, "family": "attention-output", "value_rank": 1, "ratio": "q"},
        "axes": {"q": {"values": [1.0, 0.25]}, "replica": {"count": 3}},
        "instance": {"feature_probability": 0.5},
        "train": {"steps": 2, "batch": 4},
    }
    run = tmsjax.run_sweep(raw)
    QK = run.dataset["QK"].to_numpy()
    qk, ov = analysis.heads.head_matrix(run.dataset), analysis.heads.head_matrix(run.dataset, "OV")
    np.testing.assert_allclose(qk[1, 2], QK[1, 2][:, :2].T @ QK[1, 2][:, 2:], rtol=1e-5)
    assert ov.shape == (2, 3, 2, 2)
    assert np.linalg.matrix_rank(ov, tol=1e-6).max() == 1
    np.testing.assert_allclose(analysis.heads.relation_strengths(run.spec)[:, 0], [[1, 1], [1, 0.5]])
    with pytest.raises(RunError, match="no W_OV"):
        analysis.heads.head_matrix(run.dataset.drop_vars("OV"), "OV")
