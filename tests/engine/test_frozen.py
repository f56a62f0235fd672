"""Frozen parameters keep their init bit for bit, on every path and under every optimizer; a loss may freeze others."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import bound, digest, plain_spec, slowly

import tmsjax
from tmsjax.engine import Ensemble, plan
from tmsjax.errors import Interrupted, RegistryError, SpecError
from tmsjax.kinds import FAMILIES
from tmsjax.models import check_spec
from tmsjax.models.reach import unreached
from tmsjax.runs import open_run, run_sweep
from tmsjax.spec import load_spec

STEPS = 6
PATHS = [
    ("cpu", {"path": "arrays", "microbatch": 8}),
    ("cpu", {"path": "scalars", "microbatch": 4}),
    ("cpu", {"path": "stages", "microbatch": 8}),
    ("gpu", {"path": "arrays"}),
    ("gpu", {"path": "scalars"}),
    ("gpu", {"kernel": "pallas"}),
]
MIXED = {"W": ("hidden", "feature"), "H": ("hidden", "hidden"), "V": ("feature", "hidden"), "b": ("feature",)}
GIVEN = np.float32([[0.5, -2.0], [1.0, 0.25]])


def mixed(p, x, f):
    return f(p["V"] @ (p["H"] @ (p["W"] @ x)) + p["b"])


@pytest.fixture(autouse=True)
def _families(registries):
    tmsjax.add_family("mixed", parameters=MIXED, apply=mixed, frozen={"H", "W"})
    tmsjax.add_family("given", parameters=MIXED, apply=mixed, frozen={"H": GIVEN, "W": None})
    tmsjax.add_family(
        "stopped",
        parameters=MIXED,
        apply=lambda p, x, f: mixed({**p, "H": jax.lax.stop_gradient(p["H"])}, x, f),
        init=lambda normals, instance: {"H": jnp.eye(len(normals["H"]))},
    )
    tmsjax.add_optimizer("lion", optax.lion)
    tmsjax.add_optimizer("noisy", lambda rate, seed: optax.noisy_sgd(rate, eta=1.0, key=seed))


def spec_of(family: str, optimizer: str = "adamw", engine: dict | None = None, features: int = 3, **train):
    settings = {"optimizer": optimizer, "steps": STEPS, "batch": 16, "learning_rate": 0.1, **train}
    raw = plain_spec(features, 2, instances=3, model={"family": family}, train=settings, engine=engine or {})
    return load_spec(raw | {"init": {"bias_scale": 0.5 if FAMILIES[family].bias else 0.0}})


def trained(spec, platform: str = "cpu") -> tuple:
    """The states of a sweep before and after training."""
    ensemble = Ensemble(spec, cut=plan(spec, platform))
    states = ensemble.init()
    start = ensemble.gather(states)
    return start, ensemble.gather(ensemble.advance(states, spec.train.steps))


@pytest.mark.parametrize("optimizer", ["adamw", "noisy", *slowly("sgd", "adam", "rmsprop", "lion")])
@pytest.mark.parametrize(("platform", "engine"), PATHS, ids=str)
def test_frozen_parameters_keep_their_bits(platform, engine, optimizer):
    if optimizer == "noisy" and (engine.get("path") == "scalars" or "kernel" in engine):
        pytest.skip("scalars draw no random numbers")
    decay = {"weight_decay": 0.3} if optimizer in ("adamw", "sgd", "lion") else {}
    start, end = trained(spec_of("mixed", optimizer, engine, **decay), platform)
    for name in MIXED:
        frozen = name in ("H", "W")
        assert np.array_equal(start.params[name], end.params[name]) == frozen, name
    assert {x.shape[1:] for x in jax.tree.leaves(end.opt_state) if x.ndim > 1} <= {(3, 2), (3,), (2,)}, "V, b; keys"


def test_a_parameter_under_stop_gradient_does_not_decay():
    for path in ("scalars", "stages", "arrays"):
        spec = spec_of("stopped", engine={"path": path}, steps=1000, learning_rate=1e-3, weight_decay=0.05)
        H = trained(spec)[1].params["H"]
        np.testing.assert_array_equal(H, np.broadcast_to(np.eye(2), (3, 2, 2)))


def test_trained_parameters_follow_the_gradient_by_them_alone():
    """The frozen family trains as one that has its frozen parameters as constants."""
    start, end = trained(spec_of("given", "sgd", {"path": "arrays"}))
    np.testing.assert_array_equal(end.params["H"], np.broadcast_to(GIVEN, (3, 2, 2)))
    W = start.params["W"][0]
    tmsjax.add_family(
        "constant",
        parameters={"V": ("feature", "hidden"), "b": ("feature",)},
        apply=lambda p, x, f: f(p["V"] @ (GIVEN @ (W @ x)) + p["b"]),
        init=lambda normals, instance: {name: start.params[name][0] for name in ("V", "b")},
    )
    expected = trained(spec_of("constant", "sgd", {"path": "arrays"}))[1]
    for name in ("V", "b"):
        np.testing.assert_allclose(end.params[name][0], expected.params[name][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", ["scalars", "arrays"])
def test_the_exact_loss_trains_without_frozen_parameters(path):
    FAMILIES.add("fixed-bias", replace(FAMILIES["tied"], frozen={"b": None}))
    spec = spec_of("fixed-bias", engine={"path": path}, features=2, loss="exact")
    start, end = trained(spec)
    np.testing.assert_array_equal(start.params["b"], end.params["b"])
    assert (start.params["W"] != end.params["W"]).all()


def test_checkpoints_and_resumed_runs_keep_them(tmp_path):
    raw = plain_spec(3, 2, model={"family": "mixed"}, train={"optimizer": "adamw"}, checkpoint={"segment_seconds": 0})
    whole = run_sweep(raw)
    left = iter([False] * 2)
    with pytest.raises(Interrupted):
        run_sweep(raw, tmp_path / "run", should_stop=lambda: next(left, True))
    run = run_sweep(raw, tmp_path / "run")
    assert digest(run.dataset) == digest(whole.dataset)
    stored = open_run(tmp_path / "run").restore()
    names = {name for name in stored if name.endswith((".H", ".W", ".V"))}
    assert {name for name in names if "opt_state" not in name} == {f"state.params.{name}" for name in "HWV"}
    assert {name[-1] for name in names if "opt_state" in name} == {"V"}
    assert run.dataset["H"].dims == ("replica", "hidden", "hidden_2")


def sum_of_squares(x):
    return (x * x).sum()


LOSSES = {  # of p = {"a": (3,), "s": (3, 3)}: which of the two it does not reach
    "both": (lambda p: sum_of_squares(p["s"] @ p["a"]), ""),
    "linear": (lambda p: p["a"].sum() + p["s"].sum(), ""),
    "dead neuron": (lambda p: jax.nn.relu(-1e3 - sum_of_squares(p["s"] @ p["a"])), ""),
    "times zero": (lambda p: sum_of_squares(p["a"]) + 0.0 * p["s"].sum(), ""),
    "absent": (lambda p: sum_of_squares(p["a"]), "s"),
    "stopped": (lambda p: sum_of_squares(jax.lax.stop_gradient(p["s"]) @ p["a"]), "s"),
    "stopped in a call": (lambda p: sum_of_squares(jax.jit(jax.lax.stop_gradient)(p["s"]) @ p["a"]), "s"),
    "compared": (lambda p: sum_of_squares(jnp.where(p["s"] > 0, 1.0, -1.0) @ p["a"]), "s"),
    "rounded": (lambda p: sum_of_squares(jnp.round(p["s"]) @ p["a"]), "s"),
    "stopped in a loop": (
        lambda p: sum_of_squares(
            jax.lax.scan(lambda h, _: (jax.lax.stop_gradient(p["s"]) @ h, None), p["a"], None, length=2)[0]
        ),
        "s",
    ),
    "in a loop": (
        lambda p: sum_of_squares(jax.lax.scan(lambda h, _: (p["s"] @ h, None), p["a"], None, length=2)[0]),
        "",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_a_loss_does_not_reach_is_known_from_how_it_is_written(name):
    function, expected = LOSSES[name]
    shapes = {"a": jax.ShapeDtypeStruct((3,), np.float32), "s": jax.ShapeDtypeStruct((3, 3), np.float32)}
    assert unreached(function, shapes) == set(expected)


def test_a_straight_through_estimator_reaches_what_it_rounds():
    @jax.custom_vjp
    def rounded(x):
        return jnp.round(x)

    rounded.defvjp(lambda x: (rounded(x), None), lambda _, slope: (slope,))
    shapes = {"a": jax.ShapeDtypeStruct((3,), np.float32)}
    assert unreached(lambda p: sum_of_squares(rounded(p["a"])), shapes) == set()


def test_a_dead_neuron_decays():
    """A gradient that is 0 only for some values does not freeze."""
    tmsjax.add_family(
        "dead",
        parameters={"W": ("hidden", "feature"), "D": ("hidden", "feature")},
        apply=lambda p, x, f: f(p["W"].T @ (p["W"] @ x)) + p["D"].T @ jax.nn.relu(p["D"] @ x - 1e3),
    )
    spec = spec_of("dead", engine={"path": "arrays"}, weight_decay=0.5)
    start, end = trained(spec)
    np.testing.assert_allclose(end.params["D"], start.params["D"] * 0.95**STEPS, rtol=1e-5)


def test_init_may_leave_parameters_out_and_given_arrays_win():
    problem, row, _ = bound(spec_of("stopped"))
    normals = {name: jnp.full(shape, 2.0) for name, shape in problem.shapes.items()}
    params = problem.init(normals, row)
    np.testing.assert_array_equal(params["H"], np.eye(2))
    np.testing.assert_array_equal(params["W"], 2 * row.init_scale * np.ones((2, 3)))
    np.testing.assert_array_equal(params["b"], np.ones(3))
    tmsjax.add_family("both", parameters=MIXED, apply=mixed, frozen={"H": GIVEN}, init=lambda z, row: dict(z))
    np.testing.assert_array_equal(bound(spec_of("both"))[0].init(normals, row)["H"], GIVEN)


def test_given_arrays_win_over_the_rule_of_the_init():
    W = np.float32([[1, 2, 3], [4, 5, 6]])
    tmsjax.add_family("both", parameters=MIXED, apply=mixed, frozen={"W": W}, directions=lambda p: p["W"])
    raw = plain_spec(3, 2, model={"family": "both"}, init={"rule": "polygon", "polygon": 3})
    np.testing.assert_array_equal(tmsjax.run_sweep(raw).dataset["W"], np.broadcast_to(W, (4, 2, 3)))


REFUSED = {
    "no such parameter": ({"frozen": {"E"}}, "frozen names 'E', which is not a parameter (parameters: W, H, V, b)"),
    "complex": ({"frozen": {"b": np.zeros(3) * 1j}}, "frozen: 'b' must be an array of numbers or None"),
    "all": ({"frozen": set(MIXED)}, "all parameters are frozen; at least one must be trained"),
    "no numbers": ({"frozen": {"H": "eye"}}, "'H' must be an array of numbers or None"),
    "not finite": ({"frozen": {"H": np.full((2, 2), np.nan)}}, "'H' has values that are not finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_frozen_parameters_are_refused(name):
    arguments, said = REFUSED[name]
    with pytest.raises(RegistryError) as error:
        tmsjax.add_family("bad", parameters=MIXED, apply=mixed, **arguments)
    assert said in str(error.value)


def test_arrays_of_another_shape_and_models_without_gradient_are_refused():
    tmsjax.add_family("large", parameters=MIXED, apply=mixed, frozen={"H": np.eye(3)})
    with pytest.raises(SpecError, match=r"model.family: 'large': the frozen 'H' has the shape \[3, 3\], not \[2, 2\]"):
        check_spec(spec_of("large"))
    tmsjax.add_family("flat", parameters=MIXED, apply=lambda p, x, f: jnp.sign(mixed(p, x, f)))
    with pytest.raises(SpecError, match=r"model.family: 'flat': all parameters are frozen or have no gradient"):
        tmsjax.run_sweep(spec_of("flat"))
