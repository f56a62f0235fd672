"""Plateaus of dimensions per feature in a small training, and the features that are left over."""

import numpy as np
import pytest
from conftest import plain_spec
from studies.geometry.study import leftover

from tmsjax.analysis import features
from tmsjax.runs import run_sweep


def test_features_that_are_left_over_share_one_direction():
    W = np.zeros((3, 6))
    W[0, :2] = 1, -1
    W[2, 2:] = 0.2, 0.1, 0.2, -0.1
    side, length = leftover(W)
    assert side == pytest.approx(3 / 4)
    assert length == pytest.approx(np.sqrt(0.1))
    assert np.isnan(leftover(np.eye(2))).all()


@pytest.mark.slow
def test_dimensions_per_feature_have_plateaus_at_one_and_at_one_half():
    raw = plain_spec(
        40, 8, probability="p", train={"steps": 4000, "batch": 256, "learning_rate": 3e-3, "schedule": "cosine"}
    )
    raw["axes"] = {"p": {"values": [1.0, 0.35]}, "replica": {"count": 2}}
    best = features.best(features.measures(run_sweep(raw).dataset))
    dense, sparse = best["dimensions_per_feature"].to_numpy()
    assert dense == pytest.approx(1, abs=0.02)
    assert sparse == pytest.approx(0.5, abs=0.04)
    kinds = features.component_kinds(best["W"].isel(p=1).to_numpy().astype(float))[1]
    names = [features.COMPONENTS[k] for k in kinds[kinds > 0]]
    assert set(names) == {"digon"}
    assert len(names) >= 14
