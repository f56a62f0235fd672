"""The training step of one instance: schedules and optimizers against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, held, small_spec

from tmsjax.engine import train
from tmsjax.engine.scalars import joined
from tmsjax.models import instances
from tmsjax.spec import load_spec

SCHEDULES = {"constant": lambda s: 1, "linear": lambda s: 1 - s, "cosine": lambda s: (1 + np.cos(np.pi * s)) / 2}


def by_hand(name: str, params, grads: list, rate: float, factors: list[float], decay: bool) -> np.ndarray:
    """The parameters after the steps, from the optimizers' papers; optax's default constants."""
    first = second = 0.0
    for k, (g, factor) in enumerate(zip(grads, factors, strict=True), 1):
        if name in ("adam", "adamw"):
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
            change = first / (1 - 0.9**k) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
            change = change + 0.2 * params if name == "adamw" else change
        elif name == "sgd":
            first = g + (0.3 * params if decay else 0) + 0.5 * first
            change = first
        else:
            second = 0.9 * second + 0.1 * g**2
            change = g / np.sqrt(second + 1e-8)
        params = params - rate * factor * change
    return params


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.2},
        {"optimizer": "rmsprop"},
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.3},
    ],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_steps_follow_the_formulas_of_optimizer_and_schedule_with_the_instances_own_rate(settings, schedule):
    given = {"loss": "exact", "schedule": schedule, "steps": 4, "learning_rate": "rate", **settings}
    raw = small_spec(model={"activation": "linear"}, train=given)  # whose exact loss is short
    raw["axes"]["rate"] = {"values": [1e-3, 5e-3]}
    problem, instance, shared = bound(raw, 1)
    state = train.init(instance, shared, problem)
    start, grads = np.asarray(state.params["W"], np.float64), []
    for _ in range(3):
        grads.append(np.asarray(jax.grad(problem.exact_loss)(state.params, instance)["W"], np.float64))
        state = train.step(state, instance, None, None, shared, problem, None)
    factors = [SCHEDULES[schedule](k / 4) for k in range(3)]
    expected = by_hand(settings["optimizer"], start, grads, 5e-3, factors, "weight_decay" in settings)
    np.testing.assert_allclose(state.params["W"] - start, expected - start, rtol=2e-3, atol=1e-7)
    assert int(state.step) == 3


def norms_by_hand(W: np.ndarray, grads: list[np.ndarray], rate: float, decay: float) -> np.ndarray:
    """W after Adam's steps with the decay of Liu, Liu and Gore 2025 (the adamw.py of their repository)."""
    first = second = 0.0
    for k, g in enumerate(grads, 1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        excess = -1 if decay >= 0 else 1 - 1 / np.linalg.norm(W, axis=0)
        W = W + rate * decay * W * excess
        W = W - rate * first / (1 - 0.9**k) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
    return W


def three_steps(raw: dict, scalars: bool) -> tuple[np.ndarray, list[np.ndarray], dict]:
    """W at the start, its gradients before three steps, and the parameters after them."""
    problem, instance, shared = bound(raw)
    state = train.init(instance, shared, problem)
    start, grads = np.asarray(state.params["W"], np.float64), []
    for _ in range(3):
        grad = jax.grad(problem.exact_loss)(state.params, instance)
        grads.append(np.asarray(grad["W"], np.float64))
        given = (held(grad), held(state)) if scalars else (grad, state)
        state = joined(train.update(*given, instance, shared, problem))
    return start, grads, state.params


@pytest.mark.parametrize("scalars", [True, False])
@pytest.mark.parametrize("decay", [-0.7, 0.0, 0.7])
def test_a_negative_decay_draws_every_norm_to_1_and_none_acts_on_the_bias(decay, scalars):
    model = {"hidden": 2, "activation": "linear"}
    raw = small_spec(model=model, train={"loss": "exact", "schedule": "constant", "learning_rate": 0.02})
    raw["init"] = {"bias_scale": 0.5}
    plain = three_steps(raw, scalars)[2]
    raw["train"] |= {"optimizer": "adamw-norm", "weight_decay": decay}
    start, grads, end = three_steps(raw, scalars)
    np.testing.assert_allclose(end["W"], norms_by_hand(start, grads, 0.02, decay), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(end["b"], plain["b"], atol=1e-2)
    if decay == 0:
        np.testing.assert_array_equal(end["W"], plain["W"])


def test_the_first_features_start_on_a_polygon_and_noise_is_added():
    polygon = {"rule": "polygon", "polygon": "k", "polygon_norm": 1.25, "polygon_bias": -0.5, "bias_scale": 0.1}
    raw = small_spec(model={"features": 5, "hidden": 2}, init=polygon)
    raw["axes"] = {"k": {"values": [0, 3, 5]}, "replica": {"count": 2}}
    raw["instance"] = {"feature_probability": 0.3, "init_scale": 0.1}
    plain = {**raw, "init": {"bias_scale": {"select": "k", "of": [0.1, 0.1, 0.1]}}}

    def starts(raw: dict):
        problem, _, shared = bound(raw)
        table = jax.tree.map(jnp.asarray, instances(load_spec(raw)))
        return jax.vmap(lambda row: train.init(row, shared, problem).params)(table)

    with_polygon, noise = starts(raw), starts(plain)
    W, b = (np.asarray(with_polygon[name] - noise[name]) for name in ("W", "b"))
    np.testing.assert_array_equal(W[:2], 0)
    np.testing.assert_array_equal(b[:2], 0)
    for rows, k in ((slice(2, 4), 3), (slice(4, 6), 5)):
        angle = 2 * np.pi * np.arange(k) / k
        expected = 1.25 * np.stack([np.cos(angle), np.sin(angle)])
        np.testing.assert_allclose(W[rows, :, :k], np.broadcast_to(expected, (2, 2, k)), atol=1e-6)
        np.testing.assert_array_equal(W[rows, :, k:], 0)
        np.testing.assert_allclose(b[rows], np.broadcast_to(np.where(np.arange(5) < k, -0.5, 0), (2, 5)), atol=1e-6)


def test_a_model_without_bias_can_start_on_a_polygon():
    raw = small_spec(
        model={"features": 4, "hidden": 2, "family": "tied-no-bias"}, init={"rule": "polygon", "polygon": 4}
    )
    raw["axes"], raw["instance"] = {"replica": {"count": 1}}, {"feature_probability": 0.3, "init_scale": 0}
    problem, row, shared = bound(raw)
    W = train.init(row, shared, problem).params["W"]
    np.testing.assert_allclose(W, [[1, 0, -1, 0], [0, 1, 0, -1]], atol=1e-6)
