"""Exact optima against the best of many SciPy runs, random starts and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import slowly
from scipy import optimize

from tmsjax import theory
from tmsjax.models import expected
from tmsjax.theory import branches, optimum, starts
from tmsjax.theory.problem import Problem

compiled = jax.jit(jax.value_and_grad(expected.relu_loss, argnums=(0, 1)), static_argnames="activity")


def test_exact_optimum_is_scipys_best_of_many_starts():
    cells = [(0.1, 0.05), (0.5, 0.3), (0.5, 0.6), (1.0, 0.7), (1.0, 1.0), (3.0, 0.45), (10.0, 0.2)]
    importance = np.array([[1.0, r] for r, _ in cells])
    probability = np.array([[p, p] for _, p in cells])
    ours = optimum.exact_optimum(importance, probability)
    assert ours.gradient.max() < 1e-6
    for k in range(len(cells)):
        best = scipys(Problem(2, 1), importance[k], probability[k])
        assert ours.loss[k] == pytest.approx(best, rel=1e-9)
        assert expected.relu_loss(ours.W[k], ours.b[k], importance[k], probability[k]) == pytest.approx(ours.loss[k])


def test_exact_optimum_with_two_hidden_dimensions_is_lossless_when_dense():
    best = optimum.exact_optimum(np.array([[1.0, 0.5]]), np.array([[1.0, 1.0]]), hidden=2)
    assert best.loss[0] < 1e-10


def test_exact_optimum_beats_every_candidate():
    r, p = (g.reshape(-1) for g in np.meshgrid(np.geomspace(0.1, 10, 9), np.geomspace(1, 0.01, 9)))
    importance, probability = np.stack([np.ones_like(r), r], 1), np.stack([p, p], 1)
    best = optimum.exact_optimum(importance, probability)
    assert np.all(best.loss <= theory.candidate_losses(importance, probability).min(1) * (1 + 1e-12))


@pytest.mark.parametrize("shape", [(2, 2), (3,), (3, 3), (1, 3, 2), (0, 2)])
def test_optimum_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="must be"):
        optimum.exact_optimum(np.ones((3, 2)), np.ones(shape))


def test_one_row_stands_beside_every_row():
    rows = np.array([[0.1, 0.1], [0.5, 0.2], [1.0, 1.0]])
    one, repeated = optimum.exact_optimum([1.0, 0.5], rows), optimum.exact_optimum(np.tile([1.0, 0.5], (3, 1)), rows)
    np.testing.assert_array_equal(one.W, repeated.W)
    other = optimum.exact_optimum(rows, [[0.3, 0.3]])
    np.testing.assert_array_equal(other.loss, optimum.exact_optimum(rows, np.full((3, 2), 0.3)).loss)


@pytest.mark.parametrize(
    "given",
    [
        {"importance": np.ones((1, 4))},
        {"importance": np.ones((0, 2))},
        {"importance": [[1.0, -1.0]]},
        {"hidden": 0},
        {"hidden": 1.5},
        {"random_starts": -1},
    ],
)
def test_optimum_refuses_what_it_cannot_do(given):
    arguments = {"importance": [[1.0, 1.0]], **given}
    shape = np.shape(arguments["importance"])
    with pytest.raises(ValueError, match="must be"):
        optimum.exact_optimum(feature_probability=np.full(shape, 0.5), **arguments)


def scipys(problem: Problem, importance, probability, starts: int = 20) -> float:
    """The least loss of BFGS, with jax's gradient in float64, from normal starts."""

    def loss(t):
        W, b = problem.unpack(t)
        arrays = (jnp.asarray(v, float) for v in (W, b, importance, probability))
        value, slopes = compiled(*arrays, activity=problem.activity)
        return float(value), np.asarray(problem.pack(*map(np.asarray, slopes)), float)

    begin = np.random.default_rng(0).normal(size=(starts, problem.size)) * 0.8
    with jax.enable_x64(True):
        return min(optimize.minimize(loss, s, method="BFGS", jac=True, options={"gtol": 1e-9}).fun for s in begin)


@pytest.mark.parametrize(("importance", "probability"), [([1, 1, 0.2], 0.3), *slowly(([1, 1, 1], 0.6))])
def test_exact_optimum_of_three_features_is_scipys(importance, probability):
    ours = optimum.exact_optimum([importance], [[probability] * 3])
    assert ours.gradient[0] < 1e-7
    assert ours.loss[0] == pytest.approx(scipys(Problem(3, 2), importance, [probability] * 3), rel=1e-6)
    W, b = ours.W[0], ours.b[0]
    assert expected.relu_loss(W, b, np.array(importance), np.full(3, probability)) == pytest.approx(ours.loss[0])


@pytest.mark.parametrize(
    "options",
    [{"activity": "exclusive"}, {"activity": "tied", "bias": False}, *slowly({"activity": "tied"}, {"bias": False})],
)
def test_exact_optimum_of_tied_features_and_without_bias_is_scipys(options):
    cells = [(0.3, 0.2), (0.9, 0.5), (1.0, 0.9)]
    importance, probability = np.array([[1.0, r] for r, _ in cells]), np.array([[p, p] for _, p in cells])
    ours = optimum.exact_optimum(importance, probability, **options)
    problem = Problem(2, 1, **options)
    for k in range(len(cells)):
        assert ours.loss[k] == pytest.approx(scipys(problem, importance[k], probability[k]), rel=1e-6)
        if not problem.bias:
            assert (ours.b[k] == 0).all()


def test_random_starts_find_nothing_better():
    r, p = (g.reshape(-1) for g in np.meshgrid(np.geomspace(0.1, 10, 7), np.geomspace(1, 0.01, 7)))
    inputs = np.stack([np.ones_like(r), r], 1), np.stack([p, p], 1)
    ours, more = optimum.exact_optimum(*inputs), optimum.exact_optimum(*inputs, random_starts=50)
    assert (ours.starts, more.starts) == (16, 66)
    np.testing.assert_allclose(ours.loss, more.loss, rtol=1e-9)


def test_second_best_minimum_is_the_other_branch():
    """At r = 0.5 and p = 0.3 the antipodal solution is best and the dedicated one, of loss r v(p), second."""
    best = optimum.exact_optimum([[1.0, 0.5]], [[0.3, 0.3]])
    assert best.W[0, 0, 0] * best.W[0, 0, 1] < -0.5
    assert best.second_loss[0] == pytest.approx(0.5 * theory.variance(0.3), rel=1e-9)


def test_dense_unequal_features_have_one_minimum():
    """At p = 1 and r = 0.2 only the major feature is kept, and keeping the minor one instead is a saddle."""
    best = optimum.exact_optimum([[1.0, 0.2]], [[1.0, 1.0]])
    assert best.loss[0] == pytest.approx(0.2 / 12, rel=1e-9)
    assert np.isnan(best.second_loss[0])


def dense_cells(features: int, count: int, ratios: tuple, probabilities: tuple):
    """importance and feature_probability of a count x count grid that is dense enough for a lattice."""
    r, p = (g.reshape(-1) for g in np.meshgrid(np.geomspace(*ratios, count), np.geomspace(*probabilities, count)))
    importance = np.ones((count**2, features))
    importance[:, -1] = r
    return importance, np.repeat(p[:, None], features, axis=1)


@pytest.mark.parametrize(("features", "count", "options"), [(2, 30, {}), (2, 30, {"bias": False}), (3, 12, {})])
def test_cells_continued_from_a_lattice_are_as_good_as_many_starts_each(features, count, options):
    cells = dense_cells(features, count, (0.6, 1.25), (0.8, 0.45))
    assert branches.lattice_of(*(np.ascontiguousarray(v.T) for v in cells)) is not None
    ours, direct = (optimum.exact_optimum(*cells, random_starts=k, **options) for k in (0, 1))
    np.testing.assert_allclose(ours.loss, direct.loss, rtol=1e-12)
    assert (ours.checked, ours.improved) == (48, 0)
    assert ours.largest_improvement < 1e-12
    W, b = ours.W, ours.b
    np.testing.assert_allclose(expected.relu_loss(W, b, *cells), ours.loss, rtol=1e-12)


def test_a_lattice_is_for_dense_cells_only():
    columns = [v.T for v in dense_cells(2, 12, (0.1, 10), (1, 0.01))]
    assert branches.lattice_of(*columns) is None
    scattered = np.random.default_rng(0).uniform(0.1, 1, size=(2, 3, 500))
    assert branches.lattice_of(*scattered) is None


def test_a_cell_does_not_depend_on_the_others():
    importance, probability = dense_cells(2, 6, (0.2, 5), (0.9, 0.05))
    all_of_them = optimum.exact_optimum(importance, probability)
    for rows in ([3], [7, 7, 7, 20], list(range(36))[::-1]):
        some = optimum.exact_optimum(importance[rows], probability[rows])
        np.testing.assert_array_equal(some.loss, all_of_them.loss[rows])
        np.testing.assert_array_equal(some.W, all_of_them.W[rows])


def test_the_loss_scales_with_importance():
    importance, probability = dense_cells(2, 5, (0.2, 5), (0.9, 0.05))
    one, many = optimum.exact_optimum(importance, probability), optimum.exact_optimum(1e3 * importance, probability)
    np.testing.assert_allclose(many.loss, 1e3 * one.loss, rtol=1e-12)
    np.testing.assert_allclose(many.second_loss, 1e3 * one.second_loss, rtol=1e-9)


def test_features_without_importance_cost_nothing():
    best = optimum.exact_optimum([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]], np.full((3, 2), 0.3))
    assert best.loss.max() < 1e-12
    assert np.isfinite(best.W).all()


def test_the_check_finds_and_repairs_cells_with_poor_starts(monkeypatch):
    cells = dense_cells(2, 12, (0.3, 0.9), (0.4, 0.05))
    right = optimum.exact_optimum(*cells)
    dedicated = np.array([[[1.0, 0.05]]])  # leads to the dedicated solution only
    monkeypatch.setattr(starts, "structured_starts", lambda features, hidden: dedicated)
    with monkeypatch.context() as patch:
        patch.setattr(optimum, "IMPROVED", np.inf)
        assert (optimum.exact_optimum(*cells).loss > right.loss * 1.01).sum() > 20
    monkeypatch.setattr(optimum, "LEAST_CHECKED", 24)
    repaired = optimum.exact_optimum(*cells)
    assert repaired.improved > 3
    assert repaired.largest_improvement > 0.01
    np.testing.assert_allclose(repaired.loss, right.loss, rtol=1e-9)
