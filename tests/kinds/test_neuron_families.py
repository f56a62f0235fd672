"""Families with a ReLU hidden layer: output, target and gradient as in plain numpy, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, draws, held, plain_spec

import tmsjax
from tmsjax.engine import Plan, plan, train
from tmsjax.engine.scalars import joined
from tmsjax.errors import RegistryError, SpecError
from tmsjax.kinds import misfit, suited
from tmsjax.spec import load_spec

FAMILIES = {"hidden-relu": "uniform", "absolute-value": "signed"}


def spec_of(family: str, features: int = 4, hidden: int = 3, **changes):
    values = {"values": FAMILIES[family]}
    raw = plain_spec(features, hidden, model={"family": family}, data=values, train={"batch": 64}, **changes)
    raw["instance"]["importance"] = {"first": 1.0, "ratio": 0.8}
    return load_spec(raw)


def reference(family: str, params: dict, importance: np.ndarray, x: np.ndarray) -> tuple[float, dict]:
    """The summed loss of samples x (batch, n) and its gradient, in numpy, with the gradients written out by hand."""
    W, b = params["W"], params["b"]
    V = params.get("V", W.T)
    before = x @ W.T
    h = np.maximum(before, 0)
    out = h @ V.T + b
    error = np.maximum(out, 0) - (np.abs(x) if family == "absolute-value" else x)
    d_out = 2 * importance * error * (out > 0)
    d_V, d_W = d_out.T @ h, ((d_out @ V) * (before > 0)).T @ x
    slopes = {"b": d_out.sum(0)} | ({"W": d_W, "V": d_V} if "V" in params else {"W": d_W + d_V.T})
    return float((importance * error**2).sum()), slopes


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradient_are_those_of_numpy_on_both_paths(family):
    spec = spec_of(family, engine={"path": "scalars"})
    problem, row, _ = bound(spec)
    rng = np.random.default_rng(0)
    params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in problem.shapes.items()}
    x, arrays, scalars = draws(spec)
    assert ((x < 0).any() and (x > 0).any()) == (family == "absolute-value")
    exact = {k: np.asarray(v, np.float64) for k, v in params.items()}
    value, slopes = reference(family, exact, np.asarray(row.importance, np.float64), x)
    losses = jax.vmap(problem.loss, (None, None, 0, None))(params, *arrays)
    assert float(losses.sum()) == pytest.approx(value, rel=1e-5)
    assert plan(spec, "cpu").scalars
    for cut, given in ((Plan(False, 1, 1, 64), (params, *arrays)), (Plan(True, 1, 1, 64), (held(params), *scalars))):
        grads = joined(train.gradient(*given, problem, cut))
        for key, expected in slopes.items():
            np.testing.assert_allclose(grads[key], expected / 64, rtol=2e-4, atol=2e-5, err_msg=f"{cut} {key}")


def test_there_is_no_exact_loss_and_no_phase_map_of_weights_without_a_scale():
    raw = plain_spec(2, 4, model={"family": "absolute-value"}, data={"values": "signed"})
    with pytest.raises(SpecError, match=r"train.loss: no exact loss is known for this model"):
        load_spec(raw | {"train": {"steps": 5, "loss": "exact"}})
    with pytest.raises(SpecError, match=r"study.kind: no phase map: phases compare lengths .* 'absolute-value'"):
        load_spec(raw | {"study": {"kind": "phase-map"}})


def test_stack_plots_are_offered_where_there_are_neurons():
    assert "neurons" in suited(spec_of("hidden-relu"), ["directions"])
    tied = load_spec(plain_spec(4, 3))
    assert "neurons" not in suited(tied, ["directions"])
    with pytest.raises(SpecError, match=r"h = ReLU\(W x\) .*'hidden-relu', 'absolute-value'.* not the family 'tied'"):
        load_spec(plain_spec(4, 3, study={"kind": "neurons"}))


@pytest.mark.parametrize(
    ("features", "hidden", "cells", "why"),
    [
        (4, 201, 1, "'neurons' shows at most 200 neurons of a model (model.hidden), not 201"),
        (600, 200, 2, "'neurons' shows at most 200,000 weights (cells x features x hidden), not 240,000"),
        (4, 3, 41, "'neurons' shows at most 40 cells, not 41"),
    ],
)
def test_too_many_neurons_or_cells_are_refused(features, hidden, cells, why):
    spec = plain_spec(features, hidden, probability="p", model={"family": "hidden-relu"})
    spec["axes"] = {"p": {"log": [1.0, 0.1], "count": cells}}
    assert misfit(load_spec(spec), "neurons") == why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"parameters": {"U": ("hidden", "feature")}, "neurons": True}, "neurons need a parameter W"),
        ({"neurons": True, "writes": "W"}, "writes must name a parameter of dimensions"),
        ({"writes": "V"}, "writes must name a parameter"),
        ({"neurons": True, "directions": None}, "or True with directions"),
    ],
)
def test_families_of_neurons_are_checked(changes, why, registries):
    given = {"parameters": {"W": ("hidden", "feature"), "V": ("feature", "hidden")}, "apply": lambda p, x, f: f(x)}
    given["directions"] = lambda p: p["W"]
    with pytest.raises(RegistryError, match=why):
        tmsjax.add_family("mine", **(given | changes))
    tmsjax.add_family("mine", **given, neurons=True, writes="V")
    assert registries["model.family"]["mine"].writes == "V"
