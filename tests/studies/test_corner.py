"""The corner of the one-neuron map: its special points found again in other ways."""

import numpy as np
import pytest
from scipy import optimize
from studies.corner import onsets
from studies.corner import study as corner
from studies.corner.one_neuron import one_neuron_loss, one_neuron_onset

from tmsjax import theory


@pytest.fixture(scope="module")
def meeting() -> dict:
    """Where the jump meets the onset, for constant values."""
    return onsets.special_points("constant", 1.0, 12)["end"]


def test_constant_values_have_a_continuous_onset_at_p_equal_to_the_ratio(meeting):
    assert meeting["ratio"] == pytest.approx(meeting["p"], abs=1e-9)
    assert meeting["p"] == pytest.approx(0.22357, abs=1e-5)
    assert meeting["cubic"] > 0
    assert abs(meeting["gain"]) < 1e-10


def test_a_meeting_point_has_minima_of_one_loss(meeting):
    """Random starts at the point, with BFGS: none is lower than the dedicated model, one without is as low."""
    ratio, p = meeting["ratio"], meeting["p"]
    dedicated = ratio * theory.variance(p, "constant")
    found = []
    for start in np.random.default_rng(11).normal(size=(40, 4)) * [1, 1, 0.3, 0.3]:
        solved = optimize.minimize(
            lambda t: tuple(1e3 * v for v in one_neuron_loss(t, [1, ratio], [p, p], "constant")),
            start,
            jac=True,
            method="BFGS",
            options={"gtol": 1e-9},
        )
        found.append((solved.fun / 1e3, np.abs(solved.x[:2]).min()))
    assert min(loss for loss, _ in found) == pytest.approx(dedicated, abs=1e-9)
    assert any(loss < dedicated + 1e-8 and weight > 0.1 for loss, weight in found)


def test_the_dedicated_model_loses_on_the_side_of_superposition(meeting):
    for shift, gains in ((-1e-4, True), (1e-4, False)):
        p = meeting["p"] + shift
        cell = (meeting["ratio"], np.array([p, p]))
        best = onsets.lowest("constant", [cell])
        assert (best.loss[0] < onsets.dedicated_loss("constant", cell) - 1e-7) == gains


@pytest.mark.parametrize("p", [0.5202477, 0.8373195])
def test_the_cubic_term_of_uniform_values_changes_sign_at_the_tricritical_points(p):
    below, above = (one_neuron_onset(p + d, p + d).cubic for d in (-1e-5, 1e-5))
    assert below * above < 0


def test_jumps_are_those_of_the_package():
    """Of uniform values: theory.jump, which solves with other code."""
    ratio = np.array([0.4, 0.8])
    found = corner.jump("uniform", ratio, 24)
    np.testing.assert_allclose(found["p"], theory.jump(ratio, precision=1e-6).probability, atol=2e-6)


def test_below_a_continuous_onset_the_minor_weight_grows_linearly():
    found = corner.growth("constant", 0.7, 0.7)
    assert found["exponent"] == pytest.approx(1, abs=2e-3)
    assert found["amplitude"] == pytest.approx(1, abs=0.01)
