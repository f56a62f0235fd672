"""Heads of planted weights: relations stored, phases, cross terms, singular vectors; heads against exact theory."""

import numpy as np
import pytest
from studies.heads import relations, study, theory

import tmsjax
from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.spec import load_spec


def test_phases_of_planted_heads():
    matrices = np.array([np.diag([1, 0.1]), np.diag([0.1, 0.5]), [[1, -0.6], [-0.6, 0.5]], np.full((2, 2), 0.25)])
    strengths = np.array([1.0, 0.6])
    names = [relations.HEAD_PHASES[k] for k in relations.head_phases(matrices, strengths)]
    assert names == ["first only", "second only", "superposition", "neither"]


def test_cross_terms_are_those_between_stored_relations():
    M = np.array([[1, -2, 9], [0.05, 1, 9], [9, 9, 0.0]])
    assert relations.cross_terms(M, np.ones(3)) == {"negative": 0.5, "zero": 0.5, "positive": 0.0}
    assert np.isnan(relations.cross_terms(np.eye(3)[:1].T * np.eye(3)[:1], np.ones(3))["negative"])


def test_singular_vectors_of_features_score_one_and_of_pairs_one_over_root_two():
    features = np.diag([3.0, 2.0, 1.0, 0.0])[:, [1, 3, 0, 2]]
    pair = np.outer([1, -1, 0, 0], [1, -1, 0, 0])
    assert relations.singular_scores(features, 3) == pytest.approx(1)
    assert relations.singular_scores(pair, 1) == pytest.approx(np.sqrt(0.5))
    scores = relations.random_scores(12, 2, 400)
    rng = np.random.default_rng(1).normal(size=(20_000, 12))
    expected = (np.abs(rng).max(-1) / np.linalg.norm(rng, axis=-1)).mean()
    assert scores.mean() == pytest.approx(expected, abs=0.01)


def test_the_scale_between_both_matrices_is_that_of_the_best_stored_relation():
    r = np.array([1.0, 0.5])
    qk, ov = relations.one_scale(np.array([np.diag([-4.0, -1.0])]), np.array([np.diag([-0.25, 0.1])]), r)
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
    qk, ov = relations.head_matrix(run.dataset), relations.head_matrix(run.dataset, "OV")
    np.testing.assert_allclose(qk[1, 2], QK[1, 2][:, :2].T @ QK[1, 2][:, 2:], rtol=1e-5)
    assert ov.shape == (2, 3, 2, 2)
    assert np.linalg.matrix_rank(ov, tol=1e-6).max() == 1
    np.testing.assert_allclose(relations.relation_strengths(run.spec)[:, 0], [[1, 1], [1, 0.5]])
    with pytest.raises(RunError, match="no W_OV"):
        relations.head_matrix(run.dataset.drop_vars("OV"), "OV")


def test_superposition_of_equal_relations_ends_near_a_probability_of_0_45():
    equal = study.equal_importance()
    p = np.array([equal["highest"] - 0.005, equal["highest"] + 0.005])
    cross = theory.rank_one_optimum(np.ones((2, 2)), p).matrix[:, 0, 1]
    assert cross[0] < 0 < cross[1]
    assert equal["small"][0] == pytest.approx(1 / 3, abs=0.01)
    assert equal["large"][0] == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("k", [5, 12])
def test_the_circle_has_rank_three_and_stores_every_relation_without_a_positive_cross_term(k):
    r = 0.9 ** (np.arange(k) / 2)
    M = study.circle(r)
    assert np.linalg.matrix_rank(M) == 3
    np.testing.assert_allclose(np.diag(M), r)
    assert M[~np.eye(k, dtype=bool)].max() < 1e-12
    [(sparse, error)] = study.simulated([M], r, 0.03, True, seed=0)
    assert sparse + 3 * error < 0.6 * theory.target_square(r, 0.03)


@pytest.mark.slow
def test_the_engine_s_loss_is_the_exact_one_and_zero_relations_are_learnt_as_theory_says():
    """Trained heads of rank 1 reach the exact optimum and its phase in cells far from a boundary."""
    spec = {
        "name": "heads",
        "model": {"features": 4, "hidden": 1, "family": "attention-score", "ratio": "importance"},
    }
    spec["axes"] = {
        "feature_probability": {"values": [0.8, 0.15]},
        "importance": {"values": [0.3, 3.0]},
        "replica": {"count": 8},
    }
    spec["instance"] = {"feature_probability": "feature_probability", "init_scale": 0.8}
    spec["train"] = {"steps": 3000, "batch": 512, "learning_rate": 1e-2, "schedule": "cosine"}
    dataset = analysis.best(tmsjax.run_sweep(spec).dataset)
    W = dataset["QK"].to_numpy().astype(float)[..., 0, :]
    r = relations.relation_strengths(load_spec(spec))[:, :, 0] * np.ones((2, 1, 1))
    p = np.repeat([[0.8], [0.15]], 2, axis=1)
    loss = theory.rank_one_loss(W[..., :2], W[..., 2:], r, p)
    np.testing.assert_allclose(dataset["loss"], loss, rtol=0.15)  # 65,536 samples, about 1,500 with a relation
    exact = theory.rank_one_optimum(r.reshape(-1, 2), p.reshape(-1))
    np.testing.assert_allclose(loss.reshape(-1), exact.loss, rtol=0.02)
    phases = relations.head_phases(relations.head_matrix(dataset), r)
    np.testing.assert_array_equal(phases.reshape(-1), relations.head_phases(exact.matrix, r.reshape(-1, 2)))
    assert phases.tolist() == [[1, 2], [3, 3]]
