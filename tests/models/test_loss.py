"""Loss and gradient: both paths against a float64 reference on the same draws, exact against sampled."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, draws, held, plain_spec, slowly, small_spec

from tmsjax.engine import Plan, train
from tmsjax.engine.gradient import exact_loss
from tmsjax.engine.scalars import joined
from tmsjax.models import instances, of_zero_model
from tmsjax.spec import load_spec

gradient = jax.jit(train.gradient, static_argnums=(4, 5), compiler_options={"xla_backend_optimization_level": 0})


def last_instance(source):
    """(problem, row, shared, parameters at init) of the last instance."""
    problem, row, shared = bound(source, -1)
    return problem, row, shared, train.init(row, shared, problem).params


def losses_of(loss, *given):
    """The loss of each sample; the words are the last argument but one."""
    return jax.vmap(loss, (*[None] * (len(given) - 2), 0, None))(*given)


def reference(family: str, params: dict, importance, x: np.ndarray) -> tuple[float, dict]:
    """The mean loss of samples x (batch, n) and its gradient in float64, with the gradients written out by hand."""
    W, b, importance = (np.asarray(v, np.float64) for v in (params["W"], params["b"], importance))
    V, before = np.asarray(params.get("V", W.T), np.float64), x @ W.T
    slope = np.ones_like(before) if family == "tied" else before > 0
    h = before * slope
    out = h @ V.T + b
    error = np.maximum(out, 0) - (np.abs(x) if family == "absolute-value" else x)
    d_out = 2 * importance * error * (out > 0) / len(x)
    d_V, d_W = d_out.T @ h, ((d_out @ V) * slope).T @ x
    slopes = {"b": d_out.sum(0)} | ({"W": d_W, "V": d_V} if "V" in params else {"W": d_W + d_V.T})
    return float((importance * error**2).sum(1).mean()), slopes


NEURONS = (("hidden-relu", 4, 3), ("absolute-value", 4, 3))


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("family", "features", "hidden"),
    [("tied", 2, 1), *NEURONS, *slowly(("tied", 3, 2), ("tied", 5, 2), ("tied", 20, 5))],
)
def test_loss_and_gradient_of_both_paths_equal_the_reference_on_the_same_draws(family, features, hidden):
    changes = {"init": {"bias_scale": 0.2}, "model": {"family": family}}
    changes["data"] = {"values": "signed" if family == "absolute-value" else "uniform"}
    raw = plain_spec(features, hidden, train={"batch": 64}, **changes)
    raw["instance"] |= {"importance": {"first": 1.0, "ratio": 0.8}, "init_scale": 1.5}
    problem, row, _, params = last_instance(raw)
    x, arrays, scalars = draws(raw, k=-1)
    assert ((x < 0).any() and (x > 0).any()) == (family == "absolute-value")
    value, slopes = reference(family, params, row.importance, x)
    losses = losses_of(problem.loss, params, *arrays)
    assert float(losses.mean()) == pytest.approx(value, rel=1e-5)
    cases = [(params, *arrays, Plan(False, 1, 1, microbatch)) for microbatch in (64, 16)]
    for microbatch, unroll in [(64, 1), (16, 1), (32, 4), (8, 8)] if family == "tied" and features < 20 else [(64, 1)]:
        cases.append((held(params), *scalars, Plan(True, 1, 1, microbatch, unroll)))
    for *given, cut in cases:
        grads = joined(gradient(*given, problem, cut))
        for name, slope in slopes.items():
            np.testing.assert_allclose(grads[name], slope, rtol=2e-4, atol=2e-6, err_msg=f"{name} {cut}")


def test_the_loss_is_a_sum_over_features():
    spec = load_spec(plain_spec(4, 2, train={"batch": 64}))
    problem, _, _, params = last_instance(spec)
    x, arrays, _ = draws(spec)
    nothing = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_allclose(losses_of(problem.loss, nothing, *arrays), (x**2).sum(1), rtol=1e-5)
    np.testing.assert_allclose(losses_of(partial(problem.zero_loss, {}), *arrays), (x**2).sum(1), rtol=1e-5)
    assert of_zero_model(instances(spec), problem.sampler) == pytest.approx(4 * 0.3 / 3)


CASES = {
    "relu": small_spec(),
    "relu, m = 3": small_spec(model={"hidden": 3}),
    "relu, no bias": small_spec(model={"family": "tied-no-bias"}),
    "linear, no bias": plain_spec(6, 2, model={"activation": "linear", "family": "tied-no-bias"}),
    "linear, constant": plain_spec(6, 2, model={"activation": "linear"}, data={"values": "constant"}),
    "relu, n = 3, tied": plain_spec(3, 2, data={"activity": "tied"}),
}
BUT_N_3 = list(CASES)[:-1]  # which takes long


def with_bias(name: str) -> dict:
    """The case with a bias at init, where its family has one."""
    raw = CASES[name]
    return raw if "no bias" in name else raw | {"init": {"bias_scale": 0.2}}


@pytest.mark.parametrize("name", CASES)
def test_exact_loss_is_the_mean_of_the_sampled_one(name):
    problem, row, _, params = last_instance(with_bias(name))
    count = 400_000
    bits = np.random.default_rng(2).integers(0, 2**32, (count, problem.columns), dtype=np.uint32)
    zero = jnp.zeros(problem.columns, jnp.uint32)
    losses = np.asarray(jax.vmap(lambda word: problem.loss(params, row, word, zero))(jnp.asarray(bits)), np.float64)
    exact = float(problem.exact_loss(params, row))
    assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(count) + 1e-6


@pytest.mark.parametrize("name", [*BUT_N_3, *slowly("relu, n = 3, tied")])
def test_exact_loss_and_gradient_are_the_same_on_both_paths(name):
    problem, row, _, params = last_instance(with_bias(name) | {"train": {"steps": 5, "loss": "exact"}})
    value, slopes = jax.value_and_grad(problem.exact_loss)(params, row)
    of_scalars = jax.value_and_grad(exact_loss)(held(params), held(row), problem)
    assert float(of_scalars[0]) == pytest.approx(float(value), rel=1e-6)
    np.testing.assert_allclose(joined(of_scalars[1])["W"], slopes["W"], rtol=1e-4, atol=1e-6)
    for k in range(problem.features if "b" in params else 0):
        shift = jnp.zeros(problem.features).at[k].set(1e-2)
        up, down = (float(problem.exact_loss({**params, "b": params["b"] + s}, row)) for s in (shift, -shift))
        assert slopes["b"][k] == pytest.approx((up - down) / 2e-2, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("form", [held, lambda tree: tree], ids=["scalars", "arrays"])
def test_sampled_noise_free_loss_is_the_exact_one_and_common_to_replicas(form):
    spec = load_spec(small_spec(init={"bias_scale": 0.1}))
    rows = [bound(spec, k)[1] for k in (6, 7, 8)]
    problem, _, shared = bound(spec)
    params = train.init(rows[0], shared, problem).params
    exact = float(problem.exact_loss(params, rows[0]))
    problem = replace(problem, exact=None)
    values = [float(train.noise_free_loss(form(params), form(row), shared, problem)) for row in rows]
    assert values[0] == values[1], "replicas of a cell meet the same samples"
    same_inputs = rows[0].replace(cell=rows[2].cell)
    other = float(train.noise_free_loss(form(params), form(same_inputs), shared, problem))
    assert other != values[0], "other cells meet other samples"
    assert values[0] == pytest.approx(exact, rel=0.05)
    assert other == pytest.approx(exact, rel=0.05)
