"""The training step of one instance: schedules and optimizers against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_spec

from tmsjax.engine import train
from tmsjax.kinds import SCHEDULES
from tmsjax.models import instances, loss
from tmsjax.spec import load_spec


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.75, 0]), ("cosine", [1, (1 + np.cos(np.pi / 4)) / 2, 0])],
)
def test_schedules(kind, expected):
    factor = SCHEDULES[kind].factor(40)
    np.testing.assert_allclose([factor(k) for k in (0, 10, 40)], expected, atol=1e-6)


def by_hand(
    name: str, params: np.ndarray, grads: list[np.ndarray], rate: float, factors: list[float], decay: bool
) -> np.ndarray:
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
def test_steps_follow_the_optimizers_formula_with_the_instances_own_rate(settings):
    raw = small_spec(train={"loss": "exact", "schedule": "linear", "steps": 4, "learning_rate": "rate", **settings})
    raw["axes"]["rate"] = {"values": [1e-3, 5e-3]}
    spec = load_spec(raw)
    for row, rate in ((0, 1e-3), (1, 5e-3)):
        instance = jax.tree.map(lambda a, row=row: jnp.asarray(a[row]), instances(spec))
        state = train.init(instance, spec)
        start = np.asarray(state.params["W"], np.float64)
        grads = []
        for _ in range(3):
            grads.append(np.asarray(jax.grad(loss.exact)(state.params, instance, spec)["W"], np.float64))
            state = train.step(state, instance, jnp.zeros((16, 2), jnp.uint32), jnp.zeros(2, jnp.uint32), spec, None)
        expected = by_hand(settings["optimizer"], start, grads, rate, [1, 0.75, 0.5], "weight_decay" in settings)
        np.testing.assert_allclose(state.params["W"] - start, expected - start, rtol=2e-3, atol=1e-7)
        assert int(state.step) == 3
