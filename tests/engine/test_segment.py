"""Every path, and segments as GPUs and TPUs run them, on CPU: the same models; bits do not depend on segments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec, slowly, small_spec

from tmsjax.engine import Ensemble, plan
from tmsjax.errors import SpecError
from tmsjax.kinds import Option, add_family
from tmsjax.spec import load_spec

STEPS = 7


@pytest.fixture(autouse=True)
def _sparse(registries):
    add_family(
        "sparse",
        parameters={"W": ("hidden", "feature"), "b": ("feature",)},
        apply=lambda p, x, f: f(p["W"].T @ (p["W"] @ x) + p["b"]),
        penalty=lambda p, x, f, l1: l1 * abs(p["W"] @ x).sum(),
        options={"l1": Option("quantity", default=0.0, low=0.0)},
        directions=lambda p: p["W"],
    )


def trained(raw: dict, platform: str, stops: tuple[int, ...] = (STEPS,), **engine):
    """The states and losses of a spec on CPU, with the plan of a platform."""
    spec = load_spec({**raw, "engine": engine})
    ensemble = Ensemble(spec, cut=plan(spec, platform))
    states = ensemble.init()
    for stop in stops:
        states = ensemble.advance(states, stop)
    return ensemble.gather(states), ensemble.noise_free_loss(states)


def short(raw: dict, **train) -> dict:
    return {**raw, "train": {**raw["train"], "steps": STEPS, **train}}


SPECS = {
    "adamw": short(small_spec(), optimizer="adamw"),
    "sgd": short(small_spec(), optimizer="sgd", momentum=0.9, schedule="linear"),
    "rmsprop": short(small_spec(), optimizer="rmsprop", streams="sobol"),
    "shared": short(small_spec(), streams="shared", schedule="constant"),
    "no bias": short(small_spec(model={"family": "tied-no-bias"})),
    "penalty": short(small_spec(model={"family": "sparse", "l1": 0.3})),
    "linear": short(small_spec(model={"activation": "linear"})),
    "gelu": short(plain_spec(3, 2, train={"batch": 16}, model={"activation": "gelu"})),
    "half-normal, tied": short(small_spec(data={"values": "half-normal", "activity": "tied"})),
    "signed, groups": short(plain_spec(4, 2, data={"values": "signed", "activity": "groups", "size": 2})),
    "exclusive": short(plain_spec(6, 2, data={"activity": "exclusive"})),
    "one-hot": short(plain_spec(3, 2, data={"activity": "one-hot"})),
    "exactly 2": short(plain_spec(4, 2, data={"activity": "exactly-k", "active": 2}, probability=1.0)),
    "few samples": short(plain_spec(4, 2, data={"samples": 20})),
    "5 x 2": short(plain_spec(5, 2)),
    "40 x 3": short(plain_spec(40, 3)),
}
PATHS = [
    ("cpu", {"path": "arrays", "microbatch": 8}),
    ("cpu", {"path": "scalars", "block": 5, "microbatch": 4}),
    ("cpu", {"path": "stages", "microbatch": 8}),
    ("gpu", {"path": "arrays"}),
    ("gpu", {"path": "scalars"}),
    ("gpu", {"kernel": "pallas"}),
]


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["adamw", *slowly(*(name for name in SPECS if name != "adamw"))])
def test_every_path_trains_the_same_models(name):
    expected = trained(SPECS[name], "cpu")
    assert plan(load_spec(SPECS[name]), "gpu").chunk > STEPS
    for platform, engine in PATHS[: -1 if name in ("few samples", "40 x 3") else None]:  # which the kernel refuses
        found = trained(SPECS[name], platform, **engine)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5, err_msg=f"{platform} {engine}")


@pytest.mark.parametrize(("platform", "engine"), [("cpu", {}), *PATHS], ids=str)
def test_bits_do_not_depend_on_how_steps_are_cut_into_segments(platform, engine):
    whole, parts = (trained(SPECS["adamw"], platform, stops, **engine) for stops in ((STEPS,), (1, 2, 5, STEPS)))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole[0].step == STEPS


@pytest.mark.parametrize(
    ("raw", "platform", "said"),
    [
        (plain_spec(20, 5), "gpu", "held as scalars"),
        (small_spec(train={"loss": "exact"}), "gpu", 'train.loss = "sampled"'),
        (small_spec(), "tpu", "not on tpu"),
    ],
)
def test_a_kernel_that_cannot_train_the_spec_is_refused(raw, platform, said):
    from tmsjax.engine.plan import check_engine

    spec = load_spec({**raw, "engine": {"kernel": "pallas"}})
    with pytest.raises(SpecError, match=r"engine\.kernel") as error:
        check_engine(spec, platform)
    assert said in str(error.value)


def test_hoisting_moves_only_what_depends_on_the_first_argument():
    from tmsjax.engine.hoisting import hoist

    def function(k, x):
        wide = jnp.broadcast_to(jnp.cos(k), (1000,))
        return jnp.array(wide * x) + jnp.exp(k), jnp.arange(1000.0)

    early, late = hoist(
        function, jnp.float32(0), jnp.ones(1000), stays=lambda e: e.primitive.name == "broadcast_in_dim"
    )
    passed = early(jnp.float32(2))
    assert sorted(np.shape(v) for v in passed) == [(), ()], "cos and exp, neither broadcast nor constant"
    x = jnp.linspace(0.0, 1.0, 1000)
    for ours, theirs in zip(late(passed, x), function(jnp.float32(2), x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert not any(e.primitive.name in ("cos", "exp", "copy") for e in jax.make_jaxpr(late)(passed, x).eqns)
