"""The exact loss, minima and onset of the one-neuron model for three distributions of values."""

import numpy as np
import pytest
from scipy import optimize
from studies.corner.one_neuron import one_neuron_loss, one_neuron_minima, one_neuron_onset

from tmsjax import theory
from tmsjax.models import expected

NAMES = ("uniform", "constant", "half-normal")


def sampled_loss(theta, importance, p, name, count=400_000):
    """Mean and standard error of the loss over samples."""
    rng = np.random.default_rng(2)
    value = {"uniform": rng.random, "constant": np.ones, "half-normal": lambda n: np.abs(rng.normal(size=n))}[name]
    x = (rng.random((count, 2)) < p) * value((count, 2))
    out = np.maximum((x @ theta[:2])[:, None] * theta[:2] + theta[2:], 0)
    loss = (x - out) ** 2 @ importance
    return loss.mean(), loss.std() / np.sqrt(count)


def rows(count=5):
    rng = np.random.default_rng(3)
    for _ in range(count):
        yield rng.normal(size=4) * [1, 1, 0.4, 0.4], rng.random(2) + 0.2, 0.1 + 0.8 * rng.random(2)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_mean_over_samples_and_the_gradient_its_slope(name):
    for theta, importance, p in rows():
        loss, gradient = one_neuron_loss(theta, importance, p, name)
        mean, error = sampled_loss(theta, importance, p, name)
        assert abs(mean - loss) < 5 * error
        slope = optimize.approx_fprime(theta, lambda t, i=importance, q=p: one_neuron_loss(t, i, q, name)[0], 1e-7)
        np.testing.assert_allclose(gradient, slope, atol=1e-5 * (1 + np.abs(gradient).max()))


def test_uniform_losses_are_those_of_the_exact_engine():
    for theta, importance, p in rows(20):
        other = float(expected.relu_loss(theta[None, :2], theta[2:], importance, p))
        assert one_neuron_loss(theta, importance, p)[0] == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("p", "r"), [(0.3, 0.5), (0.6, 1.0)])
def test_identities_of_the_candidates(name, p, r):
    loss = theory.candidate_losses(np.array([1.0, r]), np.array([p, p]), name)
    mean = {"uniform": 0.5, "constant": 1.0, "half-normal": np.sqrt(2 / np.pi)}[name]
    dedicated, _ = one_neuron_loss([1, 0, 0, p * mean], [1, r], [p, p], name)
    antipodal, _ = one_neuron_loss([1, -1, 0, 0], [1, r], [p, p], name)
    np.testing.assert_allclose([dedicated, antipodal], loss[[0, 2]], rtol=1e-12)


def test_minima_are_those_of_exact_optimum():
    rng = np.random.default_rng(4)
    cells = [(0.3, 0.3), (0.6, 0.8), (0.9, 0.55)]
    best = theory.exact_optimum([[1, r] for r, _ in cells], [[p, p] for _, p in cells])
    for (r, p), loss in zip(cells, best.loss, strict=True):
        found = one_neuron_minima(rng.normal(size=(40, 4)) * [1, 1, 0.3, 0.3], [1, r], [p, p])
        assert found.loss.min() == pytest.approx(loss, rel=1e-12)
        assert found.gradient[found.loss.argmin()] < 1e-12


def test_descents_do_not_affect_one_another():
    start = np.random.default_rng(5).normal(size=(6, 4)) * [1, 1, 0.3, 0.3]
    together = one_neuron_minima(start, [1, 0.8], [0.5, 0.5], "half-normal")
    alone = one_neuron_minima(start[2:3], [1, 0.8], [0.5, 0.5], "half-normal")
    np.testing.assert_allclose(together.theta[2], alone.theta[0], atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("p1", "p2"), [(0.5, 0.5), (0.9, 0.9), (0.6, 0.4)])
def test_the_cubic_coefficient_is_that_of_the_loss(name, sign, p1, p2):
    """Of the loss along the first order of the onset, with the best b2, extrapolated to w = 0."""
    one = one_neuron_onset(p1, p2, name, sign)
    mean = {"uniform": 0.5, "constant": 1.0, "half-normal": np.sqrt(2 / np.pi)}[name]
    w = np.array([0.005, 0.01, 0.02, 0.04])
    w1 = np.sqrt(1 + one.alpha * w)
    theta = np.stack([w1, sign * w, one.beta * w, p2 * mean * (1 - w * w) - sign * w1 * w * p1 * mean], 1)
    loss, _ = one_neuron_loss(theta, [1, one.ratio], [p1, p2], name)
    rest = (loss - one.ratio * theory.variance(p2, name)) / w**3
    assert np.polyval(np.polyfit(w, rest, 3), 0) == pytest.approx(one.cubic, abs=2e-8)


def test_the_onset_is_that_of_candidates():
    for p in (0.3, 0.6, 0.9):
        assert one_neuron_onset(p, p).ratio == pytest.approx(theory.onset(p), rel=1e-10)
        assert one_neuron_onset(p, p, "constant").ratio == pytest.approx(p, rel=1e-12)


def test_closed_forms_of_constant_values():
    for p in (0.2, 0.5, 0.7):
        assert one_neuron_onset(p, p, "constant", -1).cubic == pytest.approx(2 * p**3 * (1 - p))
        assert one_neuron_onset(p, p, "constant", 1).cubic == pytest.approx(2 * p**2 * (1 - p) ** 2)


def test_a_feature_without_gain_never_enters():
    one = one_neuron_onset(0.9, 0.05)
    assert one.ratio == np.inf
    assert np.isnan(one.cubic)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="values must be"):
        one_neuron_loss(np.ones(4), [1, 1], [0.5, 0.5], "signed")
    with pytest.raises(ValueError, match="probabilities must be"):
        one_neuron_onset(0.0, 0.5)
