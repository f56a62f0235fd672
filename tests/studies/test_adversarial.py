"""Attacks on planted models, against closed forms and random perturbations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec
from studies.adversarial import attacks

from tmsjax.kinds.losses import worst
from tmsjax.runs import run_sweep


def samples(n: int, p: float = 0.2, count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((count, n)) < p) * rng.random((count, n))


def pentagon() -> tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * np.arange(5) / 5
    return 1.1 * np.stack([np.cos(angle), np.sin(angle)]), np.full(5, -0.2)


def test_without_superposition_an_attack_costs_the_square_of_its_length():
    W, b = attacks.without_superposition(6, 2, 0.1)
    x, ones = samples(6), np.ones(6)
    seen = attacks.analytic(W, b, x, ones, 0.3)
    harm = attacks.losses(W, b, x, ones, seen) - attacks.losses(W, b, x, ones, x)
    np.testing.assert_allclose(harm, 0.09, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(seen - x, axis=1), 0.3)


def test_the_attack_is_worse_than_random_perturbations_and_the_ascent_worse_still():
    (W, b), x, ones, radius = pentagon(), samples(5), np.ones(5), 0.2
    rng = np.random.default_rng(1)
    direction = rng.normal(size=x.shape)
    random = x + radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    seen = attacks.analytic(W, b, x, ones, radius)
    climbed = attacks.ascent(W, b, x, ones, radius, seen)
    plain, by_chance, rows, best = (attacks.losses(W, b, x, ones, s) for s in (x, random, seen, climbed))
    assert plain.mean() < by_chance.mean() < rows.mean()
    assert (best >= rows - 1e-12).all()
    assert best.mean() > rows.mean() * 1.001
    assert (np.linalg.norm(climbed - x, axis=1) <= radius * (1 + 1e-9)).all()


def test_gradients_vanish_where_every_output_is_zero_and_the_analytic_attack_does_not():
    (W, b), x, ones = pentagon(), np.zeros((1, 5)), np.ones(5)
    stuck = attacks.ascent(W, b, x, ones, 0.5, x)
    assert attacks.losses(W, b, x, ones, stuck)[0] == 0
    assert attacks.losses(W, b, x, ones, attacks.analytic(W, b, x, ones, 0.5))[0] > 0.1


def test_training_and_analysis_make_the_same_attack():
    (W, b), x = pentagon(), samples(5, count=40)
    ours = attacks.analytic(W, b, x, np.ones(5), 0.25)
    params = {"W": jnp.asarray(W, "f4"), "b": jnp.asarray(b, "f4")}
    for sample, seen in zip(x, ours, strict=True):
        given = jnp.asarray(sample, "f4")
        found = worst(params, given, given, jnp.ones(5), jax.nn.relu, jnp.float32(0.25))
        value, goal = (attacks.losses(W, b, sample[None], np.ones(5), np.asarray(s)[None])[0] for s in (found, seen))
        assert value == pytest.approx(goal, rel=1e-4)  # equally bad rows may be exchanged


@pytest.mark.slow
def test_a_model_trained_against_attacks_is_less_vulnerable():
    raw = plain_spec(5, 2, probability=0.05, instances=6)
    raw["axes"] = {"budget": {"values": [0.0, 1.0]}, "replica": {"count": 6}}
    raw["train"] = {"steps": 1500, "batch": 128, "learning_rate": 1e-2, "schedule": "cosine"}
    raw["loss"] = {"kind": "attacked", "radius": "budget"}
    dataset = run_sweep(raw).dataset.transpose("budget", "replica", ...)
    rng = np.random.default_rng(0)
    x = (rng.random((2000, 5)) < 0.05) * rng.random((2000, 5))
    harm, radius = np.zeros((2, 6)), np.sqrt(5 * 0.05 / 3)
    for k, replica in np.ndindex(2, 6):
        W, b = (dataset[name][k, replica].to_numpy().astype(float) for name in ("W", "b"))
        harm[k, replica] = attacks.losses(W, b, x, np.ones(5), attacks.analytic(W, b, x, np.ones(5), radius)).mean()
    assert np.median(harm[1]) < 0.5 * np.median(harm[0])
