"""Samplers, losses, init rules and functions of families that do not fit are refused, and leave nothing."""

import jax.numpy as jnp
import pytest

import tmsjax
from tmsjax.errors import RegistryError
from tmsjax.kinds import FAMILIES, INITS, LOSSES, SAMPLERS

pytestmark = pytest.mark.usefixtures("registries")


def sampler(name="mine", **changes):
    tmsjax.add_sampler(name, **({"columns": lambda n: n, "sample": lambda u, p: u} | changes))


def loss(name="mine", function=lambda target, output: (target - output) ** 2, **changes):
    tmsjax.add_loss(name, function, **changes)


def init(name="mine", function=lambda params, instance: params, **changes):
    tmsjax.add_init(name, function, **changes)


def family(**changes):
    given = {"parameters": {"W": ("hidden", "feature")}, "apply": lambda p, x, f: x} | changes
    tmsjax.add_family("mine", **given)


def unused(**options):
    return {"options": {"gain": tmsjax.Option("quantity", default=1.0)} | options}


BAD = {
    "sampler's name": (lambda: sampler("Mine"), "sampler 'Mine': a name is a-z"),
    "built-in sampler": (lambda: sampler("scaled"), "sampler 'scaled': this name is built in"),
    "columns": (lambda: sampler(columns=3), "columns must be a function, not 3"),
    "sample": (lambda: sampler(sample="x"), "sample must be a function, not 'x'"),
    "inputs": (lambda: sampler(inputs=4), "inputs must be a function, not 4"),
    "mean without covariance": (lambda: sampler(mean=lambda p: p), "give both mean and covariance, or neither"),
    "covariance without mean": (lambda: sampler(covariance=lambda p: p), "give both mean and covariance, or neither"),
    "sampler's unused option": (lambda: sampler(**unused()), "option 'gain': none of its functions has an argument"),
    "sampler's taken option": (
        lambda: sampler(sample=lambda u, p, **o: u, options={"values": tmsjax.Option("int", default=1)}),
        "option 'values': the name is taken",
    ),
    "built-in loss": (lambda: loss("power"), "loss 'power': this name is built in"),
    "loss": (lambda: loss(function=2), "function must be a function, not 2"),
    "evaluation": (lambda: loss(evaluation=2), "evaluation must be a function, not 2"),
    "loss's unused option": (lambda: loss(**unused()), "option 'gain': none of its functions"),
    "loss's taken option": (
        lambda: loss(function=lambda t, o, x: t, options={"x": tmsjax.Option("quantity", default=1.0)}),
        "option 'x': the name is taken",
    ),
    "built-in init rule": (lambda: init("polygon"), "init rule 'polygon': this name is built in"),
    "init rule": (lambda: init(function=jnp.ones(2)), "function must be a function"),
    "init rule's misfit": (lambda: init(misfit="no"), "misfit must be a function, not 'no'"),
    "init rule's unused option": (lambda: init(**unused()), "option 'gain': none of its functions"),
    "init rule's taken option": (
        lambda: init(function=lambda p, i, rule: p, options={"rule": tmsjax.Option("int", default=1)}),
        "option 'rule': the name is taken",
    ),
    "sampler's arguments": (
        lambda: sampler(sample=lambda key, p, n: p),
        "sample has 3 arguments; it gets u, or u and p",
    ),
    "loss's arguments": (
        lambda: loss(function=lambda target, output, batch: target),
        "function has more arguments than target and output; by name it gets importance, x, params, f, apply and",
    ),
    "undeclared option": (
        lambda: family(apply=lambda p, x, f, gain: x),
        "apply has 4 arguments, but gets parameters, x, f; declare others in options, or give noise",
    ),
    "too many beside noise": (
        lambda: family(apply=lambda p, x, f, noise, gain: x, noise=3),
        "apply has 5 arguments, but gets parameters, x, f, noise; declare others in options",
    ),
    "target's arguments": (lambda: family(target=lambda x, a, b: x), "target has 3 arguments; it gets x, or x and"),
    "target of nothing frozen": (
        lambda: family(target=lambda x, E: x),
        "are the frozen parameters, but there are none",
    ),
    "argument of outputs": (lambda: family(outputs=lambda n, k: n), "outputs has an argument 'k'; it may have n, m"),
    "argument of noise": (
        lambda: family(apply=lambda p, x, f, noise: x, noise=lambda n, k: n),
        "noise has an argument 'k'; it may have n, m",
    ),
    "default of a list": (
        lambda: sampler(sample=lambda u, p, of: u, options={"of": tmsjax.Option("numbers", default=1.0)}),
        "option 'of': an option of type 'numbers' has no default",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_entries_are_refused_and_leave_nothing(name):
    add, why = BAD[name]
    before = [list(registry) for registry in (SAMPLERS, LOSSES, INITS, FAMILIES)]
    with pytest.raises(RegistryError) as raised:
        add()
    assert why in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert before == [list(registry) for registry in (SAMPLERS, LOSSES, INITS, FAMILIES)]


def test_python_may_add_again():
    for power in (2, 4):
        loss(function=lambda target, output, power=power: (target - output) ** power)
        sampler(sample=lambda u, p, power=power: u**power)
        init(function=lambda params, instance, power=power: {"W": params["W"] ** power})
    assert LOSSES["mine"].function(3.0, 1.0) == 16
    assert SAMPLERS["mine"].sample(2.0, 1.0) == 16
    assert INITS["mine"].function({"W": 2}, None) == {"W": 16}
