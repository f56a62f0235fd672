"""The root mean square norm of samples: in closed form where the data state it, else measured."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec

import tmsjax
from tmsjax.models import instances
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec

pytestmark = pytest.mark.usefixtures("registries")
EDGES = [[0, 1], [0, 2]]
DATA = {  # data -> E |x|^2 at p = 0.1 and 0.3, and how near it must be
    "independent": ({}, 1.0, 1e-6),
    "copula": ({"activity": "copula", "correlation": [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]}, 1.0, 1e-6),
    "hierarchy": ({"activity": "hierarchy", "edges": EDGES}, "children", 1e-6),
    "measured activity": ({"activity": "all-or-none"}, 1.0, 0.02),
    "some-parents": ({"activity": "some-parents", "edges": EDGES}, "children", 0.02),
    "scaled": ({"sampler": "scaled", "magnitude": [2.0, 1.0, 0.5]}, (4 + 1 + 0.25) / 3, 0.02),
    "function": ({"sampler": "doubled"}, 4.0, 0.02),
}


@pytest.mark.parametrize("name", DATA)
def test_radii_of_attacks_are_in_units_of_the_norm(name):
    tmsjax.add_activity("all-or-none", columns=lambda n: 1, active=lambda u, p: u[0] < p)
    tmsjax.add_sampler("doubled", columns=lambda n: n, sample=lambda u, p: jnp.where(u < p, 2 * u / p, 0))
    data, share, near = DATA[name]
    raw = plain_spec(3, 2, probability="feature_probability", data=data, loss={"kind": "attacked", "radius": 0.5})
    raw["axes"] = {"feature_probability": {"values": [0.1, 0.3]}, "replica": {"count": 2}}
    p = np.array([0.1, 0.1, 0.3, 0.3])
    square = (p + 2 * p**2) / 3 if share == "children" else share * p
    np.testing.assert_allclose(instances(load_spec(raw)).options["loss.radius"], 0.5 * np.sqrt(square), rtol=near)


def test_models_train_against_attacks_on_data_without_stated_probabilities():
    tmsjax.add_activity("all-or-none", columns=lambda n: 1, active=lambda u, p: u[0] < p)
    raw = plain_spec(3, 2, data={"activity": "all-or-none"}, loss={"kind": "attacked", "radius": 0.5})
    dataset = run_sweep(raw).dataset
    assert np.isfinite(dataset["loss"]).all()


def test_what_needs_probabilities_says_so():
    tmsjax.add_activity("all-or-none", columns=lambda n: 1, active=lambda u, p: u[0] < p)
    ones = np.ones(2)
    unknown = "'all-or-none': the probability that two features are both active is not given"
    with pytest.raises(ValueError, match=unknown):
        tmsjax.theory.best_assignment(ones, ones, 1, activity="all-or-none")
    for call in (
        tmsjax.theory.exact_optimum,
        lambda *given, **more: tmsjax.exact_loss(ones[None], ones, *given, **more),
    ):
        with pytest.raises(ValueError, match="no exact loss is known for activity 'all-or-none'"):
            call(ones, ones, activity="all-or-none")
