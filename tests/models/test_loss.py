"""Loss and gradient: both paths against a float64 reference on the same draws, exact against sampled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec, slowly, small_spec

from tmsjax.engine import Plan, train
from tmsjax.models import as_arrays, instances, joined, loss, model, sampling, split
from tmsjax.models.scalars import join
from tmsjax.spec import load_spec


def one_instance(spec):
    table = jax.tree.map(lambda a: jnp.asarray(a[-1]), instances(spec))
    return table, train.init(table, spec).params


def as_scalars(tree):
    return jax.tree.map(lambda x: split(x, 0) if x.ndim else x, tree)


def reference(params, table, x) -> tuple[float, dict]:
    """Mean loss and its gradient in float64, written by hand for the tied ReLU model."""
    W, b, importance = (np.asarray(v, np.float64) for v in (params["W"], params["b"], table.importance))
    hidden = x @ W.T
    before = hidden @ W + b
    error = np.maximum(before, 0) - x
    slope = 2 * importance * error * (before > 0) / len(x)
    dW = hidden.T @ slope + (slope @ W.T).T @ x
    return float((importance * error**2).sum(1).mean()), {"W": dW, "b": slope.sum(0)}


@pytest.mark.smoke
@pytest.mark.parametrize(("features", "hidden"), [(2, 1), *slowly((3, 2), (5, 2), (20, 5))])
def test_loss_and_gradient_of_both_paths_equal_the_reference_on_the_same_draws(features, hidden):
    raw = plain_spec(features, hidden, train={"batch": 64}, init={"bias_scale": 0.2})
    raw["instance"]["importance"] = {"first": 1.0, "ratio": 0.8}
    spec = load_spec(raw)
    table, params = one_instance(spec)
    bits = train.stream(4, spec)
    shift = train.offset(4, table, spec)
    x = np.asarray(jax.vmap(lambda w: sampling.sample(w + shift, table, spec.data))(bits), np.float64)
    value, slopes = reference(params, table, x)
    assert float(loss.total(params, table, bits, shift, spec)) / 64 == pytest.approx(value, rel=1e-5)
    cases = {
        "arrays": (params, table, bits, shift, Plan(False, 1, 1, 64)),
        "arrays in chunks": (params, table, bits, shift, Plan(False, 1, 1, 16)),
    }
    held = *map(as_scalars, (params, table)), train.stream(4, spec, scalars=True), as_scalars(shift)
    for microbatch, unroll in [(64, 1), (16, 1), (32, 4), (8, 8)] if features < 20 else [(64, 1)]:
        cases[f"scalars {microbatch} {unroll}"] = (*held, Plan(True, 1, 1, microbatch, unroll))
    for name, (*given, cut) in cases.items():
        grads = joined(train.gradient(*given, spec, cut))
        np.testing.assert_allclose(grads["W"], slopes["W"], rtol=2e-4, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(grads["b"], slopes["b"], rtol=2e-4, atol=2e-6, err_msg=name)
    assert float(loss.total(*held, spec)) / 64 == pytest.approx(value, rel=1e-5)


def test_the_loss_is_a_sum_over_features():
    spec = load_spec(plain_spec(4, 2, train={"batch": 64}))
    table, params = one_instance(spec)
    nothing = jax.tree.map(jnp.zeros_like, params)
    bits, shift = train.stream(0, spec), train.offset(0, table, spec)
    x = np.asarray(jax.vmap(lambda w: sampling.sample(w + shift, table, spec.data))(bits))
    assert float(loss.total(nothing, table, bits, shift, spec)) == pytest.approx((x**2).sum(), rel=1e-5)
    zero = loss.of_zero_model(np.ones((1, 4)), np.full((1, 4), 0.3), spec)
    assert zero == pytest.approx(4 * 0.3 / 3)


CASES = {
    "relu": small_spec(),
    "relu, tied": small_spec(data={"activity": "tied"}),
    "relu, m = 3": small_spec(model={"hidden": 3}),
    "relu, n = 3": plain_spec(3, 2),
    "relu, n = 3, tied": plain_spec(3, 2, data={"activity": "tied"}),
    "relu, no bias": small_spec(model={"family": "tied-no-bias"}),
    "linear, no bias": plain_spec(6, 2, model={"activation": "linear", "family": "tied-no-bias"}),
    "linear": plain_spec(6, 2, model={"activation": "linear"}),
    "linear, tied": plain_spec(6, 2, model={"activation": "linear"}, data={"activity": "tied"}),
    "linear, constant": plain_spec(6, 2, model={"activation": "linear"}, data={"values": "constant"}),
}


def with_bias(name: str) -> dict:
    """The case with a bias at init, where its family has one."""
    raw = CASES[name]
    return raw if "no bias" in name else raw | {"init": {"bias_scale": 0.2}}


OTHERS = ("relu, tied", "relu, m = 3", "relu, n = 3", "relu, n = 3, tied", "linear", "linear, tied")


@pytest.mark.parametrize("name", [*(k for k in CASES if k not in OTHERS), *slowly(*OTHERS)])
def test_exact_loss_is_the_mean_of_the_sampled_one(name):
    spec = load_spec(with_bias(name))
    table, params = one_instance(spec)
    count = 400_000
    columns = sampling.columns(spec.data, spec.model.features)
    bits = jnp.asarray(np.random.default_rng(2).integers(0, 2**32, (count, columns), dtype=np.uint32))

    def one(word):
        x = sampling.sample(word, table, spec.data)
        return jnp.sum(table.importance * (x - model.apply(params, x, table, spec.model)) ** 2)

    losses = np.asarray(jax.vmap(one)(bits), np.float64)
    exact = float(loss.exact(params, table, spec))
    assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(count) + 1e-6


@pytest.mark.parametrize("name", [*(k for k in CASES if "n = 3" not in k), *slowly("relu, n = 3", "relu, n = 3, tied")])
def test_exact_loss_and_gradient_are_the_same_on_both_paths(name):
    spec = load_spec(with_bias(name) | {"train": {"steps": 5, "loss": "exact"}})
    table, params = one_instance(spec)
    scalar_params, scalar_table = as_scalars(params), as_scalars(table)
    value = float(loss.exact(params, table, spec))
    assert float(loss.exact(scalar_params, scalar_table, spec)) == pytest.approx(value, rel=1e-6)
    slopes = jax.grad(loss.exact)(params, table, spec)
    on_scalars = join(jax.grad(loss.exact)(scalar_params, scalar_table, spec)["W"])
    np.testing.assert_allclose(on_scalars, slopes["W"], rtol=1e-4, atol=1e-6)
    for k in range(spec.model.features if "b" in params else 0):
        shift = jnp.zeros(spec.model.features).at[k].set(1e-2)
        up, down = (float(loss.exact({**params, "b": params["b"] + s}, table, spec)) for s in (shift, -shift))
        assert slopes["b"][k] == pytest.approx((up - down) / 2e-2, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("path", ["scalars", "arrays"])
def test_sampled_noise_free_loss_is_the_exact_one_and_common_to_replicas(path, monkeypatch):
    spec = load_spec(small_spec(init={"bias_scale": 0.1}))
    rows = [jax.tree.map(lambda a, k=k: jnp.asarray(a[k]), instances(spec)) for k in (6, 7, 8)]
    params = train.init(rows[0], spec).params
    exact = float(loss.exact(params, rows[0], spec))
    monkeypatch.setattr(type(spec), "exact_loss", None)
    form = as_scalars if path == "scalars" else lambda tree: tree
    values = [float(train.noise_free_loss(form(params), form(row), spec)) for row in rows]
    assert values[0] == values[1], "replicas of a cell meet the same samples"
    same_inputs = rows[0].replace(cell=rows[2].cell)
    other = float(train.noise_free_loss(form(params), form(same_inputs), spec))
    assert other != values[0], "other cells meet other samples"
    assert values[0] == pytest.approx(exact, rel=0.05)
    assert other == pytest.approx(exact, rel=0.05)


def test_object_arrays_keep_their_shape():
    array = jnp.arange(6.0).reshape(2, 3)
    parts = as_arrays(split(array, 0))
    assert parts.shape == (2, 3)
    assert float((parts @ parts.T)[0, 1]) == float((array @ array.T)[0, 1])
