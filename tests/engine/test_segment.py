"""A segment as GPUs and TPUs run it, on CPU: the same models, and bits that do not depend on segments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec, slowly, small_spec

from tmsjax.engine import Ensemble, plan
from tmsjax.errors import SpecError
from tmsjax.kinds import Option, add_family
from tmsjax.spec import Spec, load_spec

STEPS = 7


def trained(spec: Spec, platform: str, stops: tuple[int, ...] = (STEPS,)):
    ensemble = Ensemble(spec, cut=plan(spec, platform))
    states = ensemble.init()
    for stop in stops:
        states = ensemble.advance(states, stop)
    return ensemble.gather(states)


def assert_same(ours, theirs, tolerance: float) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def short(raw: dict, **train) -> dict:
    return {**raw, "train": {**raw["train"], "steps": STEPS, **train}}


SPECS = {
    "adamw": short(small_spec(), optimizer="adamw"),
    "sgd": short(small_spec(), optimizer="sgd", momentum=0.9, schedule="linear"),
    "rmsprop": short(small_spec(), optimizer="rmsprop", streams="sobol"),
    "shared": short(small_spec(), streams="shared", schedule="constant"),
    "no bias": short(small_spec(model={"family": "tied-no-bias"})),
    "linear": short(small_spec(model={"activation": "linear"})),
    "gelu": short(plain_spec(3, 2, train={"batch": 16}, model={"activation": "gelu"})),
    "half-normal": short(small_spec(data={"values": "half-normal"})),
    "signed, groups": short(plain_spec(4, 2, data={"values": "signed", "activity": "groups", "size": 2})),
    "one-hot": short(plain_spec(3, 2, data={"activity": "one-hot"})),
}


@pytest.mark.parametrize("name", ["adamw", *slowly(*(name for name in SPECS if name != "adamw"))])
def test_the_kernel_trains_the_models_of_xlas_path(name):
    spec = load_spec({**SPECS[name], "engine": {"kernel": "pallas"}})
    assert_same(trained(spec, "gpu"), trained(load_spec(SPECS[name]), "cpu"), 2e-5)


@pytest.mark.parametrize("raw", [SPECS["adamw"], *slowly(short(plain_spec(5, 2)), short(plain_spec(40, 4)))])
def test_chunks_train_the_models_of_single_steps(raw):
    spec = load_spec(raw)
    cut = plan(spec, "gpu")
    assert cut.chunk > STEPS
    assert_same(trained(spec, "gpu"), trained(spec, "cpu"), 2e-5)


@pytest.mark.parametrize("kernel", ["xla", "pallas"])
def test_bits_do_not_depend_on_how_steps_are_cut_into_segments(kernel):
    spec = load_spec({**SPECS["adamw"], "engine": {"kernel": kernel}})
    whole, parts = trained(spec, "gpu"), trained(spec, "gpu", (1, 2, 5, STEPS))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole.step == STEPS


def test_the_kernel_trains_a_users_family_with_a_penalty():
    add_family(
        "sparse",
        parameters={"W": ("hidden", "feature"), "b": ("feature",)},
        apply=lambda p, x, f: f(p["W"].T @ (p["W"] @ x) + p["b"]),
        penalty=lambda p, x, f, l1: l1 * abs(p["W"] @ x).sum(),
        options={"l1": Option("quantity", default=0.0, low=0.0)},
        directions=lambda p: p["W"],
    )
    raw = short(small_spec(model={"family": "sparse", "l1": 0.3}))
    spec = load_spec({**raw, "engine": {"kernel": "pallas"}})
    assert_same(trained(spec, "gpu"), trained(load_spec(raw), "cpu"), 2e-5)


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
