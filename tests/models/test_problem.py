"""Problems: equal if and only if a compiled program of one can train the other."""

from itertools import combinations

import jax
import jax.numpy as jnp
import pytest
from conftest import small_spec

import tmsjax
from tmsjax.models import bind
from tmsjax.spec import load_spec


def problem(**changes):
    return bind(load_spec(small_spec(**changes)))


NUMBERS = [
    {"name": "other", "seed": 2**40},
    {"axes": {"feature_probability": {"values": [0.5]}, "replica": {"count": 9}}},
    {"instance": {"importance": ["extra_importance", 3.0], "init_scale": 2.0}, "init": {"bias_scale": 0.1}},
    {"train": {"steps": 99, "learning_rate": "extra_importance"}},
    {"record": {"measures": ["loss"]}, "engine": {"unit": 3, "path": "arrays"}, "checkpoint": {"segment_seconds": 3.0}},
]
OTHERS = {
    "model": [{"hidden": 3}, {"activation": "gelu"}, {"family": "tied-no-bias"}],
    "data": [{"activity": "tied"}, {"values": "signed"}, {"samples": 5}, {"sampler": "shared-masks", "masks": 2}],
    "init": [{"rule": "stratified"}],
    "loss": [{"kind": "power", "exponent": 3.0}, {"kind": "attacked", "radius": 0.1}],
    "train": [
        *({"batch": 32}, {"loss": "exact"}, {"schedule": "linear"}, {"streams": "shared"}),
        *({"optimizer": "sgd"} | more for more in ({}, {"momentum": 0.5}, {"weight_decay": 0.1})),
    ],
}


@pytest.mark.parametrize("changes", [{}, *NUMBERS], ids=str)
def test_specs_that_differ_in_numbers_have_the_same_problem(changes):
    assert problem(**changes) == problem()
    assert hash(problem(**changes)) == hash(problem())
    decays = [problem(train={"optimizer": "adamw", "weight_decay": decay}) for decay in (0.1, 0.2, "extra_importance")]
    assert len({*decays}) == 1
    assert problem(train={"optimizer": "adamw", "weight_decay": 0.0}) not in decays


def test_every_other_change_gives_another_problem():
    every = [problem(), *(problem(**{table: change}) for table, changes in OTHERS.items() for change in changes)]
    larger = {"importance": [1.0, 1.0, "extra_importance"]}
    every += [
        problem(model={"features": 3}, instance=larger),
        problem(model={"hidden": 2}, init={"rule": "polygon", "polygon": 2}),
    ]
    assert len({*every}) == len(every)
    assert all(one != other for one, other in combinations(every, 2))


@pytest.mark.usefixtures("registries")
def test_another_function_of_the_same_name_gives_another_problem():
    problems = []
    for function in (jnp.tanh, jax.nn.softplus):
        tmsjax.add_activation("mine", function)
        problems += [problem(model={"activation": "mine"}), problem(model={"activation": "mine"})]
    first, again, other, _ = problems
    assert first == again != other
    word, params = jnp.zeros(2, jnp.uint32), {"W": jnp.ones((1, 2)), "b": jnp.ones(2)}
    row = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), first.instance)
    assert first.loss(params, row, word, word) != other.loss(params, row, word, word), "each keeps its own"
