"""Branches of the exact loss of three pairs, by the number of pairs on one direction each."""

import numpy as np
import pytest
from studies.collapse.figures import one_branch
from studies.collapse.theory import BRANCHES, branch_of, linear_loss

from tmsjax import theory


def plane(*degrees: float, length: float = 1.0) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return length * np.stack([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize(
    ("degrees", "name"),
    [
        ((0, 60, 120, 180, 240, 300), "0 collapsed"),
        ((0, 0, 90, 150, 210, 270), "1 collapsed"),
        ((0, 10, 90, 100, 180, 270), "2 collapsed"),
        ((0, 0, 180, 180, 90, 90), "3 collapsed"),
        ((0, 0, 120, 120, 240, 240), "principal components"),
    ],
)
def test_branches_are_those_of_planted_columns(degrees, name):
    assert BRANCHES[branch_of(plane(*degrees))] == name
    W = plane(*degrees)
    W[:, 5] *= 0.2
    assert BRANCHES[branch_of(W)] == "a feature dropped"


def test_a_branch_is_drawn_where_it_is_one():
    ratio = np.array([1.0, 0.9, 0.85, 0.6, np.nan, 0.95])
    np.testing.assert_array_equal(one_branch(ratio), [np.nan, np.nan, np.nan, 0.6, np.nan, np.nan])
    np.testing.assert_array_equal(one_branch(ratio[:3]), ratio[:3])


def test_the_best_linear_model_keeps_the_two_largest_principal_components():
    """Of independent pairs with x = y inside each there are three equal ones, so a third of their variance is lost."""
    p = 0.3
    shared, own = p / 4 - p**2 / 4, theory.variance(p)
    assert linear_loss(p) == pytest.approx(own + shared + 3 * (own - shared))


@pytest.mark.slow
def test_branches_of_a_dense_and_a_sparse_cell():
    sparse = theory.minima([1] * 6, [0.04] * 6, 2, starts=8, activity="groups", size=2)
    dense = theory.minima([1] * 6, [0.25] * 6, 2, starts=8, activity="groups", size=2)
    assert BRANCHES[branch_of(sparse.W[0])] == "0 collapsed"
    assert BRANCHES[branch_of(dense.W[0])] == "2 collapsed"
