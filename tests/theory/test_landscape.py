"""The exact loss over the vertices of a cube, and its local minima, against quadrature, Monte Carlo and SciPy."""

import jax
import numpy as np
import pytest

from tmsjax import theory
from tmsjax.kinds import drawn_by
from tmsjax.models import expected
from tmsjax.theory import vertices

ACTIVITIES = [("independent", {}), ("groups", {"size": 2}), ("correlated", {"correlation": 0.4}), ("exclusive", {})]


def model(n: int, m: int, seed: int, scale: float = 0.8) -> tuple:
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(m, n)) * scale, rng.normal(size=n) * 0.3
    return W, b, rng.uniform(0.1, 1, n), rng.uniform(0.1, 1, n)


def loss_of(W, b, importance, probability, activity: str, **options) -> float:
    drawn = drawn_by(activity, len(b), **options)
    with jax.enable_x64(True):
        return float(vertices.relu_loss(*map(jax.numpy.asarray, (W, b, importance, probability)), drawn))


@pytest.mark.parametrize(("activity", "options"), ACTIVITIES)
def test_vertices_give_the_loss_of_the_quadrature(activity, options):
    for seed, scale in enumerate((0.8, 0.8, 0.03)):
        W, b, importance, p = model(4, 2, seed, scale)
        if seed == 1:
            W[:, 0], W[0, 1], W[1, 2] = 0, 0, 0  # overlaps of 0
            W[0, 3] = 1e-4  # and near 0
        expected_loss = expected.relu_loss(W, b, importance, p, activity=activity, **options)
        assert loss_of(W, b, importance, p, activity, **options) == pytest.approx(expected_loss, abs=3e-9)


@pytest.mark.slow
def test_vertices_give_the_mean_over_samples_of_six_features():
    W, b, importance, p = model(6, 2, 3)
    rng = np.random.default_rng(0)
    together = rng.random((2**19, 3)) < 0.6
    of_set = rng.random((2**19, 3))
    u = np.where(together.repeat(2, 1), of_set.repeat(2, 1), rng.random((2**19, 6)))
    x = (u < p) * rng.random((2**19, 6))
    losses = ((x - np.maximum(x @ W.T @ W + b, 0)) ** 2) @ importance
    error = losses.std() / np.sqrt(len(losses))
    found = loss_of(W, b, importance, p, "correlated", size=2, correlation=0.6)
    assert abs(found - losses.mean()) < 4 * error
    assert error < 0.003 * found


@pytest.mark.slow
def test_minima_contain_the_exact_optimum():
    importance, p = [1.0, 0.7, 0.9], [0.2, 0.3, 0.1]
    found = theory.minima(importance, p, 2, starts=8)
    best = theory.exact_optimum(np.array([importance]), np.array([p]))
    assert found.loss[0] == pytest.approx(best.loss[0], rel=1e-9)
    assert found.count.sum() == 8
    assert (np.diff(found.loss) > 0).all()
    assert found.gradient[0] < 1e-6
    for k in range(len(found.loss)):
        assert expected.relu_loss(found.W[k], found.b[k], importance, p) == pytest.approx(found.loss[k], rel=1e-9)


def test_a_branch_is_followed_past_its_crossing_to_its_end():
    """Importances 1 and 0.3: an antipodal pair remains a minimum where the first feature alone is better."""
    p = np.linspace(0.3, 0.5, 41)
    importance = np.array([1.0, 0.3])
    rows, pair = np.stack([p, p], 1), (np.array([[1.0, -1.0]]), np.zeros(2))
    branch = theory.follow(*pair, np.tile(importance, (41, 1)), rows)
    best = theory.exact_optimum(np.tile(importance, (41, 1)), rows)
    above = branch.loss > best.loss * (1 + 1e-6)
    jump = theory.jump(0.3).probability[0]
    last = p[np.argmax(branch.moved > 0.2)]
    assert (branch.moved > 0.2).sum() == 1
    assert last > jump + 0.01
    np.testing.assert_array_equal(above, (p > jump) & (p < last))

    def path(q: float):
        return importance, np.array([q, q])

    alone = np.array([[1.0, 0.0]]), np.array([0.0, 0.2])
    assert theory.crossing(pair, alone, path, 0.35, 0.385) == pytest.approx(jump, rel=1e-3)
    with pytest.raises(ValueError, match="the second minimum has the lower loss at both"):
        theory.crossing(pair, alone, path, 0.378, 0.385)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"feature_probability": [0.1, 0.2]}, r"must be \(n,\)"),
        ({"importance": [1.0] * 9, "feature_probability": [0.1] * 9}, "from 2 to 8"),
        ({"importance": [1.0, -1.0, 1.0]}, "at least 0"),
        ({"feature_probability": [0.1, 0.0, 0.1]}, r"in \(0, 1\]"),
        ({"hidden": 0}, "whole number of at least 1"),
        ({"activity": "groups"}, "does not divide"),
        ({"starts": 0}, "starts must be at least 1"),
    ],
)
def test_minima_refuse_what_they_cannot_do(changes, why):
    given = {"importance": [1.0] * 3, "feature_probability": [0.1] * 3, "hidden": 2} | changes
    with pytest.raises(ValueError, match=why):
        theory.minima(given.pop("importance"), given.pop("feature_probability"), given.pop("hidden"), **given)


@pytest.mark.parametrize("p", [1e-3, 0.3])
def test_minima_of_loss_zero_and_of_rare_features_are_found_once(p):
    found = theory.minima([1.0] * 3, [p] * 3, 3, starts=8)
    assert len(found.loss) <= 2
    assert abs(found.loss[0]) < 1e-8 * p


@pytest.mark.parametrize(
    ("W", "b", "why"),
    [
        (np.ones((3, 2)), np.zeros(3), r"must be \(3, 3\)"),
        (np.ones((2, 3)), np.zeros(2), r"b \(3,\), not \(2, 3\) and \(2,\)"),
        (np.full((2, 3), np.nan), np.zeros(3), "must be finite"),
        (np.ones(3), np.zeros(3), r"W must be \(m, n\)"),
    ],
)
def test_models_that_do_not_fit_are_refused(W, b, why):
    with pytest.raises(ValueError, match=why):
        theory.follow(W, b, np.ones((2, 3)), np.full((2, 3), 0.2))
    with pytest.raises(ValueError, match="k at least 1"):
        theory.follow(np.ones((2, 3)), np.zeros(3), np.ones((0, 3)), np.ones((0, 3)))


def test_minima_may_start_from_given_models_alone():
    near = np.array([[[1.0, -1.0]], [[1.0, 0.1]]]), np.zeros((2, 2))
    found = theory.minima([1.0, 0.3], [0.38, 0.38], 1, starts=0, near=near)
    assert found.count.sum() == 2
    assert len(found.loss) == 2
