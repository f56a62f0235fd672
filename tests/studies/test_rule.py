"""The rule of pairs: what it costs to share, what it predicts, and how agreement is counted."""

import numpy as np
import pytest
from conftest import plain_spec
from studies.rule import study
from studies.rule.predictions import confusion, predicted

from tmsjax import theory
from tmsjax.analysis import features
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec
from tmsjax.theory import pairs


def test_pairs_are_worth_more_than_a_dense_feature_in_the_band_that_the_text_names():
    p = np.array([0.154, 0.156, 0.644, 0.646])
    pair = np.ones(2), np.ones((4, 2)) * p[:, None]
    saved = [2 * theory.variance(q[0]) - pairs.pair_costs(pair[0], q)[0, 1] for q in pair[1]]
    np.testing.assert_allclose(saved, 2 * p / 3 - 5 * p**2 / 6)
    assert (np.array(saved) > theory.variance(1.0)).tolist() == [False, True, True, False]
    assert theory.variance(1 / 3) == pytest.approx(theory.variance(1.0))


def test_agreement_skips_diverged_models_and_confusion_counts_the_rest():
    expected, found = np.array([[0, 1, 2], [2, 2, 1]]), np.array([[0, 2, 2], [2, 0, -1]])
    counts = np.array(confusion(expected, found))
    assert counts.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 2]]
    shares = study.agreement(expected, found)
    assert shares["agreement"] == pytest.approx(np.trace(counts) / counts.sum())
    assert shares["represented"] == pytest.approx(4 / 5)


def test_equal_worth_is_equal_and_its_sweep_says_so():
    spec = load_spec(study.STUDY.sweep("equal_worth.toml"))
    cost = spec.evaluate("importance") * theory.variance(spec.evaluate("feature_probability"))
    np.testing.assert_allclose(cost, theory.variance(1.0), rtol=1e-6)


@pytest.mark.slow
def test_the_rule_predicts_what_a_small_sweep_learns():
    """Four features in two dimensions, of different importance and probability."""
    raw = plain_spec(4, 2, probability={"geometric": [0.9, 0.1]}, instances=24)
    raw["instance"]["importance"] = [1.0, 0.9, 0.9, 0.3]
    raw["train"] = {"steps": 4000, "batch": 128, "learning_rate": 5e-3, "schedule": "cosine"}
    best = features.best(features.measures(run_sweep(raw).dataset))
    expected = predicted(best)
    np.testing.assert_array_equal(best["class"], expected)
    assert set(expected.tolist()) == {pairs.ABSENT, pairs.DEDICATED, pairs.SHARED}
