"""One-hot data: small versions of its checks."""

import numpy as np
import pytest
from studies.kgons import study as kgons
from studies.kgons.one_hot import k_gon

from tmsjax.spec import load_spec


def test_states_are_the_k_of_turned_and_reordered_k_gons_with_some_noise():
    rng = np.random.default_rng(0)
    for k in range(2, 7):
        for positive in range(7 - k):
            one = k_gon(k, 6, positive)
            turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
            W = turn @ one.W[:, rng.permutation(6)] + 0.02 * rng.normal(size=(2, 6))
            assert kgons.states(W[None], np.array([one.loss + 0.005])) == k


def test_states_are_none_for_other_models():
    four, five, six = (k_gon(k, 6) for k in (4, 5, 6))
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
    spec = load_spec(kgons.STUDY.sweep("one_hot.toml"))
    places = {key: np.ravel(spec.evaluate(f"init.{key}")) for key in ("polygon", "polygon_norm", "polygon_bias")}
    for k, norm, bias in zip(*places.values(), strict=True):
        one = k_gon(int(k), 6)
        assert (norm, bias) == pytest.approx((one.norm, one.bias), abs=1e-6)


def test_published_losses_and_coefficients():
    for one in kgons.points():
        assert one["gradient"] < 1e-9
        assert one["loss"] == pytest.approx(kgons.PUBLISHED.get(one["name"], one["loss"]), abs=6e-6)
        if one["name"] in kgons.COEFFICIENTS:
            assert one["half_rank"] == kgons.COEFFICIENTS[one["name"]]
    assert set(kgons.PUBLISHED) <= {one["name"] for one in kgons.points()}


def test_noise_free_descents_leave_a_4_gon_only_if_frequencies_differ():
    share = kgons.flows(2, 3000)["share"]
    assert share["4+"][0] == share["4++"][0] == max(share["4"]) == 0
    assert max(share["4+"]) >= 0.5
