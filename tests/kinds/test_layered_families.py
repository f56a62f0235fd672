"""Families with layers: outputs against numpy, inits, and that small ones train as scalars."""

import jax
import numpy as np
import pytest
from conftest import bound, plain_spec, slowly

from tmsjax.engine import train
from tmsjax.engine.plan import why_arrays
from tmsjax.kinds import FAMILIES
from tmsjax.runs import run_sweep

OPTIONS = {
    "untied": {},
    "tied-hidden-identity": {"layers": 2},
    "tied-hidden-random": {"layers": 2},
    "tied-hidden-trained": {},
    "residual-mlp": {"layers": 2, "embedding": 7},
}


def spec_of(family: str, hidden: int = 3, **changes) -> dict:
    return plain_spec(5, hidden, model={"family": family, **OPTIONS[family]}, **changes)


def start(family: str, k: int = 0, **changes):
    """(problem, instance, parameters before step 0) of instance k."""
    problem, row, shared = bound(spec_of(family, **changes), k)
    return problem, row, {key: np.asarray(v, np.float64) for key, v in train.init(row, shared, problem).params.items()}


def relu(v):
    return np.maximum(v, 0)


def output(family: str, p: dict, x):
    """The model as its sentence says."""
    if family == "untied":
        return relu(p["V"] @ p["W"] @ x + p["b"])
    if family == "residual-mlp":
        h = p["E"] @ x
        for W_in, W_out in zip(p["W_in"], p["W_out"], strict=True):
            h = h + W_out @ relu(W_in @ h)
        return p["E"].T @ h
    h = p["W"] @ x
    for H in p["H"]:
        h = H @ h
    return relu(p["W"].T @ h + p["b"])


@pytest.mark.parametrize("family", OPTIONS)
def test_outputs_and_targets_are_those_of_the_sentence(family):
    problem, row, params = start(family)
    rng = np.random.default_rng(0)
    params = {key: rng.normal(size=value.shape) for key, value in params.items()}
    x = rng.normal(size=5).astype(np.float32)
    single = {key: value.astype(np.float32) for key, value in params.items()}
    np.testing.assert_allclose(problem.output(single, x, row), output(family, params, x), rtol=1e-4, atol=1e-4)
    expected = x + relu(x) if family == "residual-mlp" else x
    np.testing.assert_array_equal(problem.target(x, single, row), expected)
    W = params["W_in"][0] @ params["E"] if family == "residual-mlp" else params["W"]
    np.testing.assert_allclose(problem.directions(single), W, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["tied-hidden-trained", *slowly(*sorted(OPTIONS.keys() - {"tied-hidden-trained"}))])
def test_small_models_train_as_scalars_and_both_paths_agree(family):
    assert why_arrays(bound(spec_of(family))[0]) is None
    losses = [run_sweep(spec_of(family, engine={"path": path})).dataset["loss"] for path in ("scalars", "arrays")]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_hidden_layers_start_at_the_identity_or_at_random_per_seed():
    for family in ("tied-hidden-identity", "tied-hidden-trained"):
        _, _, params = start(family)
        np.testing.assert_array_equal(params["H"], np.broadcast_to(np.eye(3), params["H"].shape))
    (_, _, first), (_, _, second) = (start("tied-hidden-random", k, hidden=200) for k in (0, 1))
    assert first["H"].shape == (2, 200, 200)
    assert first["H"].std() == pytest.approx(200**-0.5, rel=0.02)
    assert abs(np.corrcoef(first["H"].ravel(), second["H"].ravel())[0, 1]) < 0.02
    assert {name: set(FAMILIES[name].frozen) for name in OPTIONS} == {
        "untied": set(),
        "tied-hidden-identity": {"H"},
        "tied-hidden-random": {"H"},
        "tied-hidden-trained": set(),
        "residual-mlp": {"E"},
    }


def test_residual_models_start_with_unit_features_and_uniform_weights():
    _, _, params = start("residual-mlp", hidden=300)
    np.testing.assert_allclose(np.linalg.norm(params["E"], axis=0), 1, rtol=1e-6)
    for key, inputs in {"W_in": 7, "W_out": 300}.items():
        assert params[key].shape[-1] == inputs
        assert abs(params[key]).max() <= inputs**-0.5
        assert params[key].std() == pytest.approx((3 * inputs) ** -0.5, rel=0.03)
    _, _, other = start("residual-mlp", 1, hidden=300)
    assert not np.allclose(params["E"], other["E"])


def test_a_frozen_identity_gives_the_outputs_of_tied_models():
    problem, row, params = start("tied-hidden-identity")
    tied, _, _ = bound(plain_spec(5, 3))
    single = {key: value.astype(np.float32) for key, value in params.items()}
    xs = np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32)
    outputs = [jax.vmap(lambda x, of=of: of.output(single, x, row))(xs) for of in (problem, tied)]
    np.testing.assert_allclose(*outputs, rtol=1e-6)


@pytest.mark.parametrize(
    ("family", "path"),
    [
        ("tied-hidden-random", "scalars"),
        *slowly(("residual-mlp", "scalars"), ("tied-hidden-identity", "arrays"), ("residual-mlp", "arrays")),
    ],
)
def test_frozen_layers_do_not_move_under_decay(family, path):
    def after(steps: int):
        decaying = {"optimizer": "adamw", "weight_decay": 0.5, "learning_rate": 0.05, "steps": steps}
        return run_sweep(spec_of(family, train=decaying, engine={"path": path})).dataset

    first, last = after(1), after(30)
    (frozen,) = FAMILIES[family].frozen
    np.testing.assert_array_equal(first[frozen], last[frozen])
    assert not np.allclose(first["W"], last["W"], atol=0.01)
    problem, row, shared = bound(spec_of(family))
    np.testing.assert_allclose(last[frozen][0], train.init(row, shared, problem).params[frozen], rtol=1e-5)
