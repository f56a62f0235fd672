"""Attacks on the samples of training, against the best of all perturbations along rows and on a sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, held, plain_spec, small_spec

from tmsjax.engine.scalars import joined, on_scalars
from tmsjax.errors import SpecError
from tmsjax.kinds.losses import worst
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec

RADIUS = 0.3


def parts(features: int = 5, hidden: int = 2):
    problem, row, _ = bound(
        plain_spec(features, hidden, probability=0.4, train={"steps": 5}, loss={"kind": "attacked", "radius": RADIUS})
    )
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(hidden, features)), rng.normal(size=features) * 0.2
    params = {"W": jnp.asarray(W, "f4"), "b": jnp.asarray(b, "f4")}
    x = (rng.random((40, features)) < 0.4) * rng.random((40, features))
    return problem, row, params, jnp.asarray(x, "f4")


def attacked(params, x, importance):
    return worst(params, x, x, importance, jax.nn.relu, jnp.float32(RADIUS))


def test_the_attack_is_the_row_of_largest_loss_on_both_paths():
    _, row, params, samples = parts()
    W, b = (np.asarray(params[k], np.float64) for k in "Wb")
    rows = W.T @ W
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    raised = 0
    for single in samples:
        x = np.asarray(single, np.float64)
        losses = [((np.maximum(rows @ (x + RADIUS * u) + b, 0) - x) ** 2).sum() for u in unit]
        given = params, single, row.importance
        for found in (attacked(*given), joined(on_scalars(attacked, *held(given)))):
            np.testing.assert_allclose(found, x + RADIUS * unit[np.argmax(losses)], atol=2e-5)
            assert float(jnp.linalg.norm(found - single)) == pytest.approx(RADIUS, rel=1e-4)
        raised += max(losses) > ((np.maximum(rows @ x + b, 0) - x) ** 2).sum() + 0.01
    assert raised > 30


def test_the_radius_is_relative_to_the_root_mean_square_norm():
    problem, row, *_ = parts()
    words = np.random.default_rng(1).integers(0, 2**32, (2**15, 5), np.uint32)
    x = np.asarray(jax.vmap(lambda w: problem.sample(w, row))(jnp.asarray(words)))
    assert float(row.options["loss.radius"]) == pytest.approx(RADIUS * np.sqrt((x**2).sum(1).mean()), rel=0.02)


def test_training_differentiates_at_the_attacked_sample_and_evaluation_is_not_attacked():
    problem, row, params, _ = parts()
    word, offset = jnp.asarray([2**28, 2**31, 2**27, 2**29, 2**30], jnp.uint32), jnp.zeros(5, jnp.uint32)
    x = problem.sample(word, row)
    seen = worst(params, x, x, row.importance, jax.nn.relu, row.options["loss.radius"])

    def at(params, seen):
        error = x - problem.output(params, seen, row)
        return (row.importance * error * error).sum()

    value, expected = jax.value_and_grad(at)(params, seen)
    found, slopes = jax.value_and_grad(problem.training_loss)(params, row, word, offset)
    for name in params:
        np.testing.assert_allclose(slopes[name], expected[name], rtol=1e-5, atol=1e-6)
    assert float(problem.loss(params, row, word, offset)) == pytest.approx(float(at(params, x)), rel=1e-6)
    assert float(found) == pytest.approx(float(value), rel=1e-6)
    assert abs(float(value) - float(at(params, x))) > 0.01


@pytest.mark.slow
def test_a_large_budget_removes_superposition_and_a_budget_of_zero_changes_nothing():
    raw = plain_spec(4, 2, probability=0.1, instances=6)
    raw["axes"] = {"budget": {"values": [0.0, 1.5]}, "replica": {"count": 6}}
    raw["train"] = {"steps": 1500, "batch": 128, "learning_rate": 1e-2, "schedule": "cosine"}
    raw["loss"] = {"kind": "attacked", "radius": "budget"}
    attacked = run_sweep(raw).dataset
    norms = np.linalg.norm(attacked["W"].transpose("budget", "replica", "hidden", "feature"), axis=2)
    best = attacked["loss"].argmin("replica").to_numpy()
    assert (norms[0, best[0]] > 0.8).all()
    assert (norms[1] > 0.8).sum(-1).max() <= 2
    raw["axes"]["budget"] = {"values": [0.0]}
    alone = run_sweep(raw).dataset
    np.testing.assert_array_equal(alone["W"][0], attacked["W"][0])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"loss": {"kind": "attacked", "radius": -0.1}}, r"loss\.radius: needs numbers of at least 0"),
        ({"loss": {"kind": "attacked"}, "train": {"loss": "exact"}}, "train.loss = 'exact' does not use it"),
        ({"loss": {"kind": "attacked", "radius": "strong"}}, "no axis is named 'strong'"),
        ({"loss": {"kind": "attacked", "radius": [0.1, 0.1]}}, "a single value is expected"),
    ],
)
def test_attacks_that_do_not_fit_are_refused(changes, why):
    with pytest.raises(SpecError, match=why):
        load_spec(small_spec(**changes))
