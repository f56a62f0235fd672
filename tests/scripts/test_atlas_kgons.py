"""What docs/atlas.md says of one-hot data; small versions of its checks."""

import json

import numpy as np
import pytest
from atlas import kgons
from conftest import ROOT

import tmsjax
from tmsjax import theory
from tmsjax.spec import load_spec

RESULTS = json.loads((ROOT / "docs" / "atlas.json").read_text())["kgons"]
CONDITIONS = RESULTS["conditions"]


def test_states_are_the_k_of_turned_and_reordered_k_gons_with_some_noise():
    rng = np.random.default_rng(0)
    for k in range(2, 7):
        for positive in range(7 - k):
            one = theory.k_gon(k, 6, positive)
            turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
            W = turn @ one.W[:, rng.permutation(6)] + 0.02 * rng.normal(size=(2, 6))
            assert kgons.states(W[None], np.array([one.loss + 0.005])) == k


def test_states_are_none_for_other_models():
    four, five, six = (theory.k_gon(k, 6) for k in (4, 5, 6))
    stretched = five.W * np.array([[1.0], [1.4]])
    cases = [(six.W, 0.28), (stretched, five.loss), (1.4 * four.W, four.loss), (np.zeros((2, 6)), 1 / 3)]
    cases.append((np.roll(six.W, 1, axis=1) * (np.arange(6) < 5), five.loss))  # a hexagon without a corner
    for W, loss in cases:
        assert kgons.states(W[None], np.array([loss])) == 0


def test_rates_are_counts_over_the_time_spent():
    state = np.array([[4, 4, 0, 5, 5], [0, 4, 4, 4, 4], [5, 5, 4, 4, 5]])
    found = kgons.moves(state, np.array([0, 1000, 2000, 3000, 4000]))
    up, down = found["4 to 5"], found["5 to 4"]
    assert (up["count"], down["count"], found["5 to 6"]["count"]) == (2, 1, 0)
    assert (up["exposure"], down["exposure"]) == (3 + 3 + 2, 1 + 2)
    assert up["rate"] == 2 / 8
    assert (8 * up["low"], 8 * up["high"]) == pytest.approx((0.2422, 7.2247), abs=1e-4)  # Garwood's interval of 2
    assert 3 * found["5 to 6"]["high"] == pytest.approx(-np.log(0.025))


def test_the_first_model_with_a_path():
    state = np.array([[3, 3, 5], [3, 0, 4], [0, 3, 4]])
    assert kgons.first_with(state, (3, 4)) == 1
    assert kgons.first_with(state, (4,)) is None


def test_the_start_is_the_critical_k_gon():
    spec = load_spec(ROOT / "sweeps" / "one_hot.toml")
    places = {key: np.ravel(spec.evaluate(key)) for key in ("polygon", "polygon_norm", "polygon_bias")}
    for k, norm, bias in zip(*places.values(), strict=True):
        one = theory.k_gon(int(k), 6)
        assert (norm, bias) == pytest.approx((one.norm, one.bias), abs=1e-6)


def test_published_losses_and_coefficients():
    for one in RESULTS["points"]:
        assert one["gradient"] < 1e-9
        assert one["loss"] == pytest.approx(kgons.PUBLISHED.get(one["name"], one["loss"]), abs=6e-6)
        if one["name"] in kgons.COEFFICIENTS:
            assert one["half_rank"] == kgons.COEFFICIENTS[one["name"]]
    assert set(kgons.PUBLISHED) <= {one["name"] for one in RESULTS["points"]}


def test_no_descent_is_below_the_best_k_gon():
    assert [one["name"] for one in RESULTS["best"]] == ["4", "5", "6", "7", "7+"]
    assert max(one["below"] for one in RESULTS["best"]) < 1e-9
    assert RESULTS["best"][4]["loss"] < RESULTS["octagon"]


def test_transitions_need_unequal_frequencies_upwards_and_noise_downwards():
    calm, uneven, hot = (RESULTS[name] for name in ("calm", "uneven", "hot"))
    assert calm["by_init"]["4"]["4 to 5"]["count"] == 0
    assert uneven["by_init"]["4"]["4 to 5"]["low"] > calm["by_init"]["4"]["4 to 5"]["high"]
    assert hot["rates"]["5 to 4"]["low"] > 0.1
    assert all(one["down"] < 0.01 * one["up"] for one in CONDITIONS if one["temperature"] < 0.2)


def test_noise_free_descents_leave_a_4_gon_only_if_frequencies_differ():
    flow = RESULTS["flow"]
    assert flow["share"]["4+"][0] == flow["share"]["4++"][0] == 0
    assert max(flow["share"]["4"]) == 0
    assert max(flow["share"]["4+"]) >= 0.5


@pytest.mark.slow
def test_4_gons_become_5_gons_on_fixed_samples_but_not_on_fresh_ones():
    fixed = RESULTS["fixed"]
    assert min(fixed["share"]) > 0.2
    assert fixed["fresh"] == [0, 0]
    x = tmsjax.training_set(load_spec(ROOT / "sweeps" / "one_hot.toml", ["data.samples=1000"]), replica=3)
    frequency = (x > 0).mean(0)
    assert frequency.sum() == pytest.approx(1)
    assert 0.2 < frequency.std() * 6 / fixed["spread"] < 2
