"""Counts of neurons and the asymmetric motif, on planted weights and in a small training."""

import numpy as np
import pytest
from conftest import plain_spec
from studies.neurons import motif

import tmsjax
from tmsjax import analysis
from tmsjax.analysis import neurons


def planted() -> tuple[np.ndarray, np.ndarray]:
    """(W, V) of a model of 3 features with the paper's motif: neuron 0 stores features 0 and 1, neuron 1 inhibits
    feature 1, and neurons 2 and 3 compute |x_2|."""
    W = np.array([[2, -0.5, 0], [1, 0, 0], [0, 0, 1], [0, 0, -1]])
    V = np.array([[0.5, 0.1, 0, 0], [2, -4.2, 0, 0], [0, 0, 1, 1]])
    return W, V


def only(W: np.ndarray, V: np.ndarray) -> motif.Pair:
    (pair,) = motif.asymmetric_pairs(W[None], V[None])
    return pair


def test_shares_and_sides_count_what_is_planted():
    W = np.array([[1, 0.2, 0, -0.1], [1, 0.21, 0, 0], [0, 0.5, -2, 0], [0, 0, 0, -3], [0.09, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(motif.shares(neurons.classify(W)), [1 / 3] * 3)
    assert np.isnan(motif.shares(np.full((2, 3), -1))).all()
    assert motif.sides(W, neurons.classify(W)).tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]


def test_motifs_do_not_depend_on_the_scale_of_neurons():
    rng = np.random.default_rng(0)
    W, V = rng.normal(size=(50, 8, 5)) ** 3, rng.normal(size=(50, 5, 8)) ** 3
    W[0, :4, :3], V[0, :3, :4] = planted()
    W[0, :, 3:] = V[0, 3:] = W[0, 4:] = V[0, :, 4:] = 0
    s = np.exp(rng.normal(size=(50, 8)))
    other_W, other_V = W * s[..., None], V / s[:, None, :]
    found, others = motif.asymmetric_pairs(W, V), motif.asymmetric_pairs(other_W, other_V)
    assert len(found) > 3
    for one, other in zip(found, others, strict=True):
        assert (one.model, one.neuron, one.strong, one.weak, one.inhibitor) == (
            other.model,
            other.neuron,
            other.strong,
            other.weak,
            other.inhibitor,
        )
        assert one.reads + one.writes == pytest.approx(other.reads + other.writes)
        assert one.inhibited == other.inhibited


def test_the_papers_motif_is_found():
    pair = only(*planted())
    assert (pair.neuron, pair.inhibitor, pair.strong, pair.weak) == (0, 1, 0, 1)
    assert pair.reads == pytest.approx((2, -0.5))
    assert pair.writes == pytest.approx((0.5, 2))
    assert pair.inhibition == pytest.approx(4.2 / 4)
    assert pair.left == pytest.approx(-0.2 / 4)
    assert pair.elsewhere == 0
    assert pair.inhibited
    assert pair.opposite
    assert pair.near((2, -0.5), (0.5, 2), 1.01)
    assert not pair.near((2, -0.5), (0.5, 2.5), 1.1)
    assert not pair.near((2, 0.5), (0.5, 2), 1.5), "the sign counts"


def test_the_mirrored_motif_is_found():
    W, V = planted()
    W[0], W[1] = [-2, -0.5, 0], [-1, 0, 0]
    pair = only(W, V)
    assert pair.inhibited
    assert not pair.opposite
    assert pair.reads == pytest.approx((2, 0.5))


NEAR_MISSES = {
    "symmetric reads": ((0, slice(None)), [1, -1, 0], None),
    "symmetric writes": (None, [1, 1, 0, 0], [1, 1, 0]),
    "too strong": ((0, slice(None)), [6, -1.5, 0], None),
    "a negative write": (None, None, [0.5, -2, 0]),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_are_no_asymmetric_pairs(name):
    W, V = planted()
    where, row, column = NEAR_MISSES[name]
    if where is not None:
        W[where] = row
    if column is not None:
        V[:, 0] = column
    assert motif.asymmetric_pairs(W[None], V[None]) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"V": -1.9}, "removes less than half"),
        ({"V": -3.5}, "leaves more than a tenth"),
        ({"W": -1.0}, "fires on the other side"),
        ({"V": 0.0}, "no inhibitor"),
    ],
)
def test_a_pair_without_enough_inhibition_is_no_motif(change, why):
    W, V = planted()
    W[1, 0] = change.get("W", W[1, 0])
    V[1, 1] = change.get("V", V[1, 1])
    assert not only(W, V).inhibited, why


def test_two_neurons_that_each_remove_too_little_do_not_inhibit():
    W, V = planted()
    W, V = np.vstack([W, W[1]]), np.hstack([V, V[:, 1:2]])
    V[1, 1] = V[1, 4] = -4.2 / 2
    assert only(W, V).inhibited, "half each"
    V[1, 1] = V[1, 4] = -4.2 / 2.2
    pair = only(W, V)
    assert pair.left < 0.1
    assert not pair.inhibited, "no single neuron removes half"


@pytest.mark.slow
def test_absolute_values_take_two_neurons_a_feature():
    """The best of a few seeds of (2, 4) at p = 1 has one neuron for either side of each feature, and no loss."""
    raw = plain_spec(2, 4, probability=1.0, instances=24, model={"family": "absolute-value"})
    raw |= {"data": {"values": "signed"}}
    raw["train"] = {"steps": 1500, "batch": 128, "learning_rate": 1e-2, "schedule": "cosine"}
    run = tmsjax.run_sweep(raw)
    found = neurons.measured(run)
    sides = motif.sides(found["reads"].to_numpy(), found["neuron_class"].to_numpy())
    best = int(np.argmin(found["loss"].to_numpy()))
    assert sides[best].tolist() == [[1, 1], [1, 1]]
    assert found["loss"].to_numpy()[best] < 1e-3
    np.testing.assert_allclose(found["writes"].to_numpy()[best].sum(0), 1, atol=0.1)
    missing = (sides == 0).any((-2, -1)) & (found["neuron_class"] == neurons.MONOSEMANTIC).all("hidden").to_numpy()
    assert missing.any()
    assert found["loss"].to_numpy()[missing].min() > 0.03, "a missing side costs"
    assert set(run.dataset.data_vars) >= {"W", "V", "b"}
    assert "exact" not in analysis.theory_phases(run.dataset, None)
