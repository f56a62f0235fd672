"""Classes of neurons, on planted weights."""

import numpy as np
import pytest
import xarray as xr
from conftest import plain_spec
from cut_runs import untrained

from tmsjax import analysis
from tmsjax.analysis import neurons
from tmsjax.errors import RunError

DEAD, MONO, POLY = 0, 1, 2


def test_neurons_are_counted_as_planted():
    W = np.array(
        [
            [1, 0.2, 0, -0.1],  # the second is just small enough
            [1, 0.21, 0, 0],
            [0, 0.5, -2, 0],
            [0, 0, 0, -3],
            [0.09, 0, 0, 0],  # too weak
            [0, 0, 0, 0],
        ]
    )
    assert neurons.classify(W).tolist() == [MONO, POLY, POLY, MONO, DEAD, DEAD]
    assert neurons.classify(W, signed=False).tolist() == [MONO, POLY, POLY, DEAD, DEAD, DEAD], "it never fires"
    assert neurons.classify(np.array([[0.5]])).tolist() == [MONO], "a single feature"
    assert neurons.order(W, neurons.classify(W)).tolist() == [0, 1, 2, 3, 4, 5]
    assert neurons.order(W[::-1], neurons.classify(W[::-1])).tolist() == [4, 5, 3, 2, 0, 1]
    W = np.array([[0, -1.0], [-2, 0], [0, 0], [0, 3], [1, 0]])
    assert neurons.order(W, neurons.classify(W)).tolist() == [4, 1, 3, 0, 2], "the positive side of a feature first"


def test_classes_do_not_depend_on_the_scale_of_neurons():
    rng = np.random.default_rng(0)
    W, V = rng.normal(size=(50, 8, 5)) ** 3, rng.normal(size=(50, 5, 8)) ** 3
    s = np.exp(rng.normal(size=(50, 8)))
    other_W, other_V = W * s[..., None], V / s[:, None, :]
    np.testing.assert_array_equal(neurons.classify(W, V), neurons.classify(other_W, other_V))
    for one, other in zip(neurons.scaled(W, V), neurons.scaled(other_W, other_V), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    scaled_W, scaled_V = neurons.scaled(W, V)
    np.testing.assert_allclose(np.abs(scaled_W).max(-1), 1)
    np.testing.assert_allclose(scaled_V @ scaled_W, V @ W)


def drawn(family: str, values: str = "uniform") -> xr.Dataset:
    """Results of three untrained models of (3, 2)."""
    return untrained(plain_spec(3, 2, instances=3, model={"family": family}, data={"values": values})).dataset


def test_a_run_is_measured_in_the_right_scale_and_without_diverged_models():
    dataset = drawn("absolute-value", "signed")
    dataset["status"].values[1] = 1
    found = neurons.measured(dataset)
    W, V = (dataset[name].to_numpy().astype(float) for name in ("W", "V"))
    reads, writes = neurons.scaled(W[0], V[0])
    np.testing.assert_allclose(found["reads"][0], reads)
    np.testing.assert_allclose(found["writes"][0], writes)
    assert (found["neuron_class"][1] == -1).all()
    assert (found["neuron_class"][::2] >= 0).all()
    tied = drawn("hidden-relu")
    found = analysis.neurons.measured(tied)
    np.testing.assert_array_equal(found["reads"], tied["W"])
    np.testing.assert_array_equal(found["writes"], tied["W"].transpose("replica", "feature", "hidden"))


@pytest.mark.parametrize(("values", "kind"), [("uniform", DEAD), ("signed", POLY)])
def test_neurons_without_positive_weights_are_dead_unless_features_can_be_negative(values, kind):
    dataset = drawn("hidden-relu", values)
    dataset["W"].values[:] = -1
    assert (neurons.measured(dataset)["neuron_class"] == kind).all()


def test_models_without_neurons_or_without_a_scale_of_weights_are_refused():
    with pytest.raises(RunError, match="the family 'tied' has no hidden layer of neurons"):
        neurons.measured(drawn("tied"))
    with pytest.raises(RunError, match=r"no phase map: phases compare lengths .* 'absolute-value'"):
        analysis.phase_map(drawn("absolute-value", "signed"))
    assert isinstance(analysis.phase_map(drawn("hidden-relu")), xr.Dataset)
