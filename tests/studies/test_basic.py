"""Linear models against principal components."""

import pytest
from studies.basic.study import projector

from tmsjax.runs import run_sweep


@pytest.mark.slow
def test_linear_models_are_the_projector_on_the_most_important_features_at_every_probability():
    raw = {
        "name": "linear",
        "model": {"features": 8, "hidden": 3, "activation": "linear"},
        "axes": {"p": {"values": [1.0, 0.1, 0.01]}, "replica": {"count": 3}},
        "instance": {"feature_probability": "p", "importance": {"first": 1.0, "ratio": 0.7}},
        "train": {"steps": 6000, "learning_rate": 1e-2, "schedule": "cosine", "loss": "exact"},
    }
    found = projector(run_sweep(raw))
    assert found["gram_error"] < 2e-3
    assert abs(found["loss_excess"]) < 1e-4
