"""What docs/atlas.md says of the corner of the one-neuron map, and its key points found again in other ways."""

import json

import numpy as np
import pytest
from atlas import onsets
from conftest import ROOT
from scipy import optimize

from tmsjax import theory

RESULTS = json.loads((ROOT / "docs" / "atlas.json").read_text())["corner"]
EQUAL = {name: by_quotient["1"] for name, by_quotient in RESULTS["points"].items()}


def test_the_onset_of_uniform_values_is_continuous_between_two_tricritical_points():
    lower, upper = EQUAL["uniform"]["tricritical"]
    assert 0.57 < lower["ratio"] < upper["ratio"] < 0.9
    first, last = EQUAL["uniform"]["continuous"]
    assert lower["p"] < first < last < upper["p"]
    for point in (lower, upper):
        shifts = [theory.one_neuron_onset(point["p"] + d, point["p"] + d).cubic for d in (-1e-5, 1e-5)]
        assert shifts[0] * shifts[1] < 0
    assert EQUAL["uniform"]["end"]["p"] < lower["p"]
    assert EQUAL["uniform"]["end"]["cubic"] < 0
    assert upper["ratio"] < EQUAL["uniform"]["everywhere"]["ratio"] < 1


def test_constant_values_have_a_continuous_onset_and_half_normal_ones_none():
    assert EQUAL["constant"]["cubic"][0] > 0
    assert EQUAL["constant"]["end"]["ratio"] == pytest.approx(EQUAL["constant"]["end"]["p"], abs=1e-9)
    assert not EQUAL["constant"]["tricritical"]
    for by_quotient in [RESULTS["points"]["half-normal"]]:
        assert all(one["continuous"] is None for one in by_quotient.values())
    assert EQUAL["half-normal"]["cubic"][1] < 0
    assert EQUAL["half-normal"]["everywhere"]["ratio"] < 0.9
    for one in RESULTS["switch"]:
        assert one["p"] == pytest.approx(0.5, abs=1e-6)


def test_exponents():
    growth = RESULTS["growth"]
    assert growth["uniform"]["exponent"] == pytest.approx(1, abs=2e-3)
    assert growth["constant"]["exponent"] == pytest.approx(1, abs=2e-3)
    assert growth["tricritical"]["exponent"] == pytest.approx(0.5, abs=1e-3)
    assert growth["uniform"]["amplitude"] == pytest.approx(1, abs=0.01)


def test_unequal_probabilities_of_uniform_values():
    found = RESULTS["points"]["uniform"]
    assert found["3/4"]["continuous"] is None
    for q in ("4/3", "2"):
        assert len(found[q]["tricritical"]) == 1
        assert found[q]["continuous"][1] == pytest.approx(1 / (4 / 3 if q == "4/3" else 2), abs=1e-6)


def test_certificate():
    check = RESULTS["check"]
    assert check["lower"] == 0
    assert check["starts"] == 200
    for by_quotient in RESULTS["points"].values():
        for one in by_quotient.values():
            if one["end"]:
                assert abs(one["end"]["gain"]) < 1e-10
                assert one["end"]["gradient"] < 1e-11


def test_jumps_are_those_of_the_engine():
    """Of uniform values: theory.jump, which solves with other code."""
    found = RESULTS["jumps"]["uniform"]
    rows = [found["ratio"].index(r) for r in (0.4, 0.8)]
    other = theory.jump(np.array([0.4, 0.8]), precision=1e-6)
    np.testing.assert_allclose(np.array(found["p"])[rows], other.probability, atol=2e-6)


def test_the_engine_finds_the_first_jump():
    """Between onset and first jump the engine's minimum has a minor weight, above the jump none."""
    first = RESULTS["first"]
    k = len(first["ratio"]) // 2
    ratio, onset, jump = (first[name][k] for name in ("ratio", "onset", "p"))
    probabilities = np.array([onset + 0.5 * (jump - onset), jump + 0.1 * (jump - onset)])
    best = theory.exact_optimum([[1, ratio]] * 2, np.stack([probabilities, probabilities], 1), random_starts=20)
    least = np.abs(best.W[:, 0]).min(1)
    assert least[0] > first["weight"][k]
    assert least[1] < 1e-6


@pytest.mark.parametrize("name", ["uniform", "constant", "half-normal"])
def test_a_meeting_point_has_minima_of_one_loss(name):
    """Random starts at the reported point, with BFGS: none is lower than the dedicated model, one without is as low."""
    point = EQUAL[name]["end"] or EQUAL[name]["everywhere"]
    ratio, p = point["ratio"], point["p"]
    dedicated = ratio * theory.variance(p, name)
    rng = np.random.default_rng(11)
    found = []
    for start in rng.normal(size=(40, 4)) * [1, 1, 0.3, 0.3]:
        solved = optimize.minimize(
            lambda t: tuple(1e3 * v for v in theory.one_neuron_loss(t, [1, ratio], [p, p], name)),
            start,
            jac=True,
            method="BFGS",
            options={"gtol": 1e-9},
        )
        found.append((solved.fun / 1e3, np.abs(solved.x[:2]).min()))
    assert min(loss for loss, _ in found) == pytest.approx(dedicated, abs=1e-9)
    assert any(loss < dedicated + 1e-8 and weight > 0.1 for loss, weight in found)


def test_the_dedicated_model_loses_on_the_side_of_superposition():
    point = EQUAL["constant"]["end"]
    for shift, gains in ((-1e-4, True), (1e-4, False)):
        p = point["p"] + shift
        cell = (point["ratio"], np.array([p, p]))
        best = onsets.lowest("constant", [cell])
        assert (best.loss[0] < onsets.dedicated_loss("constant", cell) - 1e-7) == gains
