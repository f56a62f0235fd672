"""Phase changes: classes and signs of known models, and the loss of a pair of tied features."""

import numpy as np
import pytest
import xarray as xr
from studies.phase_changes import cells, selection, zroe1
from studies.summaries import SIGNED_PHASES, signed_phases

from tmsjax.errors import RunError
from tmsjax.models import expected


def test_signed_phases_tell_the_two_superpositions_apart():
    W = np.array([[[0.1, 0.2]], [[1, 0]], [[0, -1]], [[1, -1]], [[-0.5, 0.5]], [[0.7, 0.7]], [[-1, -0.4]]])
    names = [SIGNED_PHASES[k] for k in signed_phases(W)]
    assert names == ["none", "first only", "second only", "antipodal", "antipodal", "same sign", "same sign"]


def test_classes_of_the_replication_need_one_feature_alone():
    W = np.array([[[0.9, 0.1]], [[-0.9, 0.1]], [[0.1, 0.9]], [[0.9, 0.3]], [[0.7, 0.1]], [[0.8, -0.8]]])
    assert zroe1.zroe1_class(W).tolist() == [1, 1, -1, 0, 0, 0]
    grid = np.array([0.5, 1.0, 2.0]), np.array([0.1])
    expected_class = np.array([[1, 0, -1]])
    assert zroe1.agreement_of(np.array([[1, -1, 1]]), expected_class, grid) == 0.5, "importance 1 does not count"


def test_cells_run_over_importances_first():
    importance, probability = cells.cells_of((np.array([0.5, 2.0]), np.array([1.0, 0.1, 0.01])), features=3)
    assert importance[:3].tolist() == [[1, 1, 0.5], [1, 1, 2], [1, 1, 0.5]]
    assert probability[:, 0].tolist() == [1, 1, 0.1, 0.1, 0.01, 0.01]


def test_signs_at_init_are_those_of_the_recorded_weights():
    W = np.array([[[1.0, -1.0]], [[1.0, 1.0]]])[:, None]  # (replica, step, hidden, feature)
    dims = ("replica", "step", "hidden", "feature")
    dataset = xr.Dataset({"history_W": (dims, W), "loss": ("replica", [0.1, 0.1])}, {"step": [0]})
    assert selection.opposite_at_init(dataset).tolist() == [True, False]
    with pytest.raises(RunError, match="step 0"):
        selection.opposite_at_init(dataset.drop_vars("history_W"))


def test_an_antipodal_pair_of_tied_features_never_pays():
    p, r = np.meshgrid(np.arange(1, 1000) / 1000, np.arange(1, 100) / 10, indexing="ij")
    ratio = (1 + r) * p / 6 / (np.minimum(r, 1) * (p / 3 - p**2 / 4))
    assert ratio.min() > 1
    for k in (0, 500, 998):
        importance, probability = np.array([1, r[k, 30]]), np.full(2, p[k, 30])
        pair = expected.relu_loss(np.array([[1.0, -1.0]]), np.zeros(2), importance, probability, activity="tied")
        assert pair == pytest.approx((1 + r[k, 30]) * p[k, 30] / 6)
