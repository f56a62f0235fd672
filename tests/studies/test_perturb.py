"""Perturbing one feature: where a minimum ends, and where the pentagon and two digons have equal loss."""

import numpy as np
import pytest
from studies.perturb import study
from studies.perturb.theory import branch_end

from tmsjax import theory


def test_a_branch_ends_where_it_falls_to_another_minimum():
    """Importances 1 and 0.3: the antipodal pair remains a minimum beyond the crossing, and then ends."""

    def path(q: float):
        return np.array([1.0, 0.3]), np.array([q, q])

    pair = np.array([[1.0, -1.0]]), np.zeros(2)
    p = np.linspace(0.3, 0.5, 41)
    branch = theory.follow(*pair, np.tile([1.0, 0.3], (41, 1)), np.stack([p, p], 1))
    last = p[np.argmax(branch.moved > 0.2)]
    assert last - 0.01 < branch_end(pair, path, 0.3, 0.5) < last
    assert branch_end(pair, path, 0.3, 0.35) == 0.35


def test_the_snap_is_the_crossing_of_two_minima():
    angle = 2 * np.pi * np.arange(5) / 5
    pentagon = 1.1 * np.stack([np.cos(angle), np.sin(angle)]), np.full(5, -0.2)
    digons = np.array([[0, 1, -1, 0, 0], [0, 0, 0, 1, -1.0]]), np.zeros(5)
    snap = theory.crossing(pentagon, digons, study.cell_at, 0.01, 0.02)
    assert snap == pytest.approx(0.01345, rel=1e-3)
    losses = [study.follow(model, np.array([snap])).loss[0] for model in (pentagon, digons)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
