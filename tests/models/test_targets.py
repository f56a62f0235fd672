"""Losses, targets, outputs and noise of added families, against plain numpy; moments against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import bound, held, plain_spec

import tmsjax
from tmsjax.engine.scalars import joined, on_scalars
from tmsjax.models import moments

pytestmark = pytest.mark.usefixtures("registries")


def drawn(problem, row, seed: int = 0):
    """(parameters, samples' words, an offset of 0)."""
    rng = np.random.default_rng(seed)
    params = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in problem.shapes.items()}
    words = jnp.asarray(rng.integers(2**32, size=(50, problem.columns), dtype=np.uint32))
    return params, words, jnp.zeros(problem.columns, jnp.uint32)


def losses(problem, row, params, words, offset, training: bool = True) -> np.ndarray:
    """The loss of every sample; on scalars and on arrays it is the same."""
    loss = problem.training_loss if training else problem.loss
    arrays = jax.vmap(lambda word: loss(params, row, word, offset))(words)
    few = [joined(on_scalars(loss, held(params), held(row), held(word), held(offset))) for word in words[:3]]
    np.testing.assert_allclose(few, arrays[:3], rtol=1e-5)
    return np.asarray(arrays)


def errors(problem, row, params, words) -> tuple[np.ndarray, np.ndarray]:
    """(targets, outputs) of all samples without noise."""
    x = jax.vmap(lambda word: problem.sample(word, row))(words)
    return tuple(
        np.asarray(jax.vmap(f)(x))
        for f in (lambda x: problem.target(x, params, row), lambda x: problem.output(params, x, row))
    )


def test_noise_changes_training_and_evaluation_only_if_it_is_on():
    def apply(p, x, f, noise):
        h = p["W"] @ x
        return f(p["W"].T @ (h if noise is None else h * (noise > 0.25) / 0.75) + p["b"])

    tmsjax.add_family(
        "dropout",
        parameters={"W": ("hidden", "feature"), "b": ("feature",)},
        apply=apply,
        directions=lambda p: p["W"],
        noise=lambda n, m: m,
    )
    raw = plain_spec(4, 3, model={"family": "dropout"})
    problem, row, _ = bound(raw)
    noisy, _, _ = bound({**raw, "evaluation": {"noise": "on"}})
    params, words, offset = drawn(problem, row)
    target, output = errors(problem, row, params, words)
    quiet = ((target - output) ** 2).sum(1)
    np.testing.assert_allclose(losses(problem, row, params, words, offset, training=False), quiet, rtol=1e-5)
    trained = losses(problem, row, params, words, offset)
    np.testing.assert_allclose(losses(noisy, row, params, words, offset, training=False), trained, rtol=1e-6)
    kept = np.asarray(words[:, -3:], np.float64) / 2**32 > 0.25
    x = np.asarray(jax.vmap(lambda word: problem.sample(word, row))(words))
    W, b = (np.asarray(params[name]) for name in ("W", "b"))
    expected = ((x - np.maximum((x @ W.T * kept / 0.75) @ W + b, 0)) ** 2).sum(1)
    np.testing.assert_allclose(trained, expected, rtol=1e-4)


def test_targets_use_frozen_parameters_and_options():
    tmsjax.add_family(
        "labels",
        parameters={"W": ("hidden", "feature"), "V": ("feature", "hidden"), "M": ("feature", "feature")},
        frozen={"M"},
        target=lambda x, frozen, noise_scale: jax.nn.relu(x) + noise_scale * frozen["M"] @ x,
        apply=lambda p, x, f: p["V"] @ f(p["W"] @ x),
        options={"noise_scale": tmsjax.Option("quantity", default=0.5, low=0.0)},
    )
    problem, row, _ = bound(plain_spec(4, 3, model={"family": "labels", "noise_scale": 0.25}))
    params, words, offset = drawn(problem, row)
    x = np.asarray(jax.vmap(lambda word: problem.sample(word, row))(words))
    target = np.maximum(x, 0) + 0.25 * x @ np.asarray(params["M"]).T
    output = errors(problem, row, params, words)[1]
    expected = ((target - output) ** 2).sum(1)
    np.testing.assert_allclose(losses(problem, row, params, words, offset), expected, rtol=1e-4)
    run = tmsjax.run_sweep(plain_spec(4, 3, instances=2, model={"family": "labels"}, train={"steps": 2}))
    M = run.dataset["M"]
    assert M.dims[-2:] == ("feature", "feature_2")
    assert abs(M[0].values - M[1].values).min() > 0, "labels of its own for every seed"


def test_importance_weighs_more_outputs_than_features():
    def both(x):
        return jnp.stack([x[i] * x[j] for i in range(x.shape[0]) for j in range(i)])

    tmsjax.add_family(
        "and",
        parameters={"W": ("hidden", "feature"), "V": ("output", "hidden"), "b": ("pairs",)},
        sizes={"pairs": lambda n: n * (n - 1) // 2},
        outputs=lambda n: n * (n - 1) // 2,
        target=both,
        apply=lambda p, x, f: p["V"] @ f(p["W"] @ x) + p["b"],
    )
    importance = np.arange(1.0, 7.0)
    raw = plain_spec(4, 3, model={"family": "and"}, instance={"importance": importance.tolist()})
    problem, row, _ = bound(raw)
    params, words, offset = drawn(problem, row)
    target, output = errors(problem, row, params, words)
    expected = (importance * (target - output) ** 2).sum(1)
    np.testing.assert_allclose(losses(problem, row, params, words, offset), expected, rtol=1e-4)
    assert tmsjax.run_sweep(raw | {"train": {"steps": 2}}).dataset["instance_importance"].dims[-1] == "output"
    with pytest.raises(tmsjax.SpecError, match="a list of 4 values, but the model has outputs = 6"):
        tmsjax.load_spec(raw | {"instance": {"importance": [1.0] * 4, "feature_probability": 0.1}})


def test_losses_are_those_that_their_names_say():
    tmsjax.add_loss("mean", lambda target, output, importance: (importance * abs(target - output)).mean())
    tmsjax.add_loss("x", lambda target, output, x, apply, params: apply(0 * x) + params["b"] * target, evaluation=abs_)
    importance = np.array([1.0, 2.0, 0.5, 3.0])
    raw = plain_spec(4, 3, instance={"importance": importance.tolist()})
    for loss, expected in (
        ({"kind": "power", "exponent": 4.0}, lambda t, o, _: (importance * abs(t - o) ** 4).sum(1)),
        ({"kind": "power", "exponent": 1.5}, lambda t, o, _: (importance * abs(t - o) ** 1.5).sum(1)),
        ({"kind": "cross-entropy"}, lambda t, o, _: optax.softmax_cross_entropy(o, t * importance)),
        ({"kind": "mean"}, lambda t, o, _: (importance * abs(t - o)).mean(1)),
        ({"kind": "x"}, lambda t, o, b: (importance * (np.maximum(b, 0) + b * t)).sum(1)),
    ):
        problem, row, _ = bound(raw | {"loss": loss})
        params, words, offset = drawn(problem, row)
        found = losses(problem, row, params, words, offset)
        pair = errors(problem, row, params, words)
        np.testing.assert_allclose(found, expected(*pair, np.asarray(params["b"])), rtol=1e-4, err_msg=str(loss))
        ranked = losses(problem, row, params, words, offset, training=False)
        same = loss["kind"] != "x"
        assert np.allclose(ranked, found) == same
        if not same:
            np.testing.assert_allclose(ranked, (importance * abs(pair[0] - pair[1])).sum(1), rtol=1e-4)


def abs_(target, output):
    return abs(target - output)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0, 6.0])
def test_the_slope_of_a_power_is_0_where_there_is_no_error(exponent):
    function = tmsjax.kinds.LOSSES["power"].function
    error = jnp.float32([0.0, 0.5, -2.0])
    slopes = jax.vmap(jax.grad(lambda e: function(jnp.zeros(1), e[None], exponent).sum()))(error)
    expected = exponent * np.sign(error) * np.abs(np.asarray(error, np.float64)) ** (exponent - 1)
    np.testing.assert_allclose(slopes, np.where(error == 0, 0, expected), rtol=1e-5)


def test_moments_are_those_in_closed_form():
    p, spec = 0.3, tmsjax.load_spec(plain_spec(3, 2, probability=0.3))
    found = moments(spec, samples=2**15)
    variance = p / 3 - p**2 / 4
    for value, error, exact in (
        (found.mean, found.mean_error, np.full(3, p / 2)),
        (found.covariance, found.covariance_error, np.eye(3) * variance),
        (found.joint, found.joint_error, p**2 + np.eye(3) * (p - p**2)),
    ):
        assert (abs(value - exact) < 5 * error).all()
        assert (error < 0.01).all()
    np.testing.assert_allclose(np.diagonal(found.covariance_error), np.sqrt((p / 5 - (p / 3) ** 2) / 2**15), rtol=0.1)
    with pytest.raises(ValueError, match="no axis size"):
        moments(spec, size=1)


def test_a_linear_model_has_an_exact_loss_where_moments_are_given_and_else_none():
    def sample(u, p):
        return jnp.where(u < p, 2 * u / p, 0)

    known = {"mean": lambda p: p, "covariance": lambda p: (p * (4 / 3 - p))[..., None] * np.eye(3, dtype="f4")}
    tmsjax.add_sampler("twice", columns=lambda n: n, sample=sample, **known)
    tmsjax.add_sampler("unknown", columns=lambda n: n, sample=sample)
    raw = plain_spec(3, 2, model={"activation": "linear"}, data={"sampler": "twice"}, train={"steps": 20})
    assert tmsjax.load_spec(raw).exact_loss == "linear"
    exact = tmsjax.run_sweep(raw).dataset["loss"].to_numpy()
    raw["data"]["sampler"] = "unknown"
    assert tmsjax.load_spec(raw).exact_loss is None
    np.testing.assert_allclose(tmsjax.run_sweep(raw).dataset["loss"], exact, rtol=0.02)
    tmsjax.add_sampler("wrong", columns=lambda n: n, sample=sample, **known | {"mean": lambda p: p / 2})
    raw["data"]["sampler"] = "wrong"
    with pytest.raises(tmsjax.SpecError, match=r"mean \(0,\) is 0.15; in a simulation it is 0\.(29|3)"):
        tmsjax.run_sweep(raw)
