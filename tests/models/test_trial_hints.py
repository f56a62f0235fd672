"""Errors of a trial say what to write instead: hints to jax's errors, sizes that samplers and families disagree on."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import plain_spec

import tmsjax
from tmsjax.errors import SpecError

pytestmark = pytest.mark.usefixtures("registries")


def family(apply, **changes):
    parameters = {"W": ("hidden", "feature"), "b": ("feature",)}
    tmsjax.add_family("mine", parameters=parameters, apply=apply, **changes)
    return {"model": {"family": "mine"}}


def sampler(inputs):
    tmsjax.add_sampler("mine", columns=lambda n: 2 * n, sample=lambda u, p: u[:inputs], inputs=lambda n: inputs)
    return {"data": {"sampler": "mine"}}


def optimizer(make):
    tmsjax.add_optimizer("mine", make)
    return {"train": {"optimizer": "mine"}}


def init(function):
    tmsjax.add_init("mine", function)
    return {"init": {"rule": "mine"}}


FAULTS = {
    "rank promotion": (
        lambda: family(lambda p, x, f: (p["W"] * x).sum(0)),
        "on shapes (2, 3) (3,); give both the same number of dimensions, by keepdims=True or x[None])",
    ),
    "numpy": (lambda: family(lambda p, x, f: np.asarray(x)), "float32[3]; use jax.numpy instead of numpy)"),
    "if": (
        lambda: family(lambda p, x, f: x if x[0] > 0 else p["b"]),
        "use jnp.where or jax.lax.cond instead of `if`)",
    ),
    "no noise at evaluation": (
        lambda: family(lambda p, x, f, noise: p["b"] + noise[:3], noise=3),
        "model.family: 'mine': apply with noise = None, as at evaluation, fails (TypeError",
    ),
    "no uniforms": (
        lambda: family(lambda p, x, f, noise: p["b"], noise=lambda n: n - 3),
        "model.family: 'mine': noise gives 0, not a whole number from 1",
    ),
    "inputs": (
        lambda: sampler(5),
        "data.sampler: has 5 inputs, but the family 'tied' takes model.features = 3; set model.features = 5, or add a "
        "family whose parameters have the dimension 'input'",
    ),
    "loss of an optimizer": (
        lambda: optimizer(lambda rate: optax.lbfgs(rate)),
        "train.optimizer: 'mine': update(gradient, state, parameters) fails (TypeError",
    ),
    "parameters of an init": (
        lambda: init(lambda params, instance: {"W": params["V"]}),
        "init.rule: 'mine': the function of {W, b} fails (KeyError: 'V')",
    ),
    "an option of another entry": (lambda: {"loss": {"exponent": 4.0}}, "unknown key; it belongs to kind = 'power'"),
    "an option of two others": (
        lambda: {"train": {"floor": 0.1}},
        "train.floor: unknown key; it belongs to schedule = 'linear' or schedule = 'cosine'",
    ),
    "no runs": (lambda: {"data": {"run": []}, "instance": {}}, "data.run: needs a path or a list of paths, not []"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_fit_says_what_to_write_instead(name):
    changes, said = FAULTS[name]
    with pytest.raises(SpecError) as error:
        tmsjax.run_sweep(plain_spec(3, 2, **changes()))
    assert said in str(error.value)


def test_a_family_with_inputs_of_its_own_takes_any_number():
    sampler(5)
    tmsjax.add_family(
        "wide",
        parameters={"W": ("hidden", "input"), "V": ("feature", "hidden")},
        apply=lambda p, x, f: p["V"] @ (p["W"] @ x),
        target=lambda x: jnp.abs(x[:3]),
    )
    run = tmsjax.run_sweep(plain_spec(3, 2, model={"family": "wide"}, data={"sampler": "mine"}))
    assert run.dataset["W"].shape == (4, 2, 5)
