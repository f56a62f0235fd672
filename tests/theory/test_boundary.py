"""The jump of the exact optimum against solution branches traced with SciPy."""

import numpy as np
import pytest
from conftest import slowly
from scipy import optimize

from tmsjax import theory
from tmsjax.models import expected
from tmsjax.theory import boundary


def branch(start: list[float], ratio: float, probability: float) -> optimize.OptimizeResult:
    """The local minimum that BFGS reaches from (w_major, w_minor, b_major, b_minor)."""
    importance, p = np.array([1.0, ratio]), np.full(2, probability)

    def loss(t):
        return float(expected.relu_loss(t[None, :2], t[2:], importance, p))

    return optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-10})


def branches(ratio: float, probability: float, inside, outside) -> tuple:
    return branch(inside, ratio, probability), branch(outside, ratio, probability)


@pytest.mark.parametrize("ratio", [0.1, 1.0, *slowly(0.5, 0.8)])
def test_losses_of_the_two_branches_cross_at_the_jump(ratio):
    found = boundary.jump(np.array([ratio]))
    p, inside, outside = found.probability[0], found.inside[0], found.outside[0]
    for shift, sign in ((-1e-3, 1), (1e-3, -1)):
        more, less = branches(ratio, p + shift, inside, outside)
        assert np.sign(less.fun - more.fun) == sign
        assert abs(more.x[1]) > abs(less.x[1]) + 0.1  # still two branches
    more, less = branches(ratio, p, inside, outside)
    np.testing.assert_allclose(more.x, inside, atol=5e-3)
    np.testing.assert_allclose(less.x, outside, atol=5e-3)


def test_far_from_importance_one_the_jump_starts_from_a_dedicated_feature():
    found = boundary.jump(np.array([0.2]))
    p = found.probability[0]
    np.testing.assert_allclose(found.outside[0], [1, 0, 0, p / 2], atol=1e-4)
    assert theory.candidate_boundary(0.2) < p < theory.candidate_boundary(0.2) + 0.05


def test_the_jump_of_a_tiny_ratio_is_found():
    found = boundary.jump(np.array([0.004]), precision=1e-5)
    assert 1 < found.probability[0] / theory.candidate_boundary(0.004) < 1.3
    assert abs(found.inside[0, 1]) > 0.3 > abs(found.outside[0, 1])


def test_no_precision_and_other_ratios_are_refused():
    with pytest.raises(ValueError, match="precision"):
        boundary.jump(np.array([0.5]), precision=0)
    for ratio in (0.0, 1.2, np.nan):
        with pytest.raises(ValueError, match="ratio must be in"):
            boundary.jump(np.array([0.5, ratio]))
