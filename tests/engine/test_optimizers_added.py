"""Optimizers, schedules and their options train as optax does in a plain loop on the same samples, on every path."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import bound, digest, plain_spec, slowly

import tmsjax
from tmsjax.engine import Ensemble, plan, streams, train
from tmsjax.errors import Interrupted, SpecError
from tmsjax.models import check_spec, sampling
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec

STEPS, RATE, HIDDEN = 100, 0.02, 2
PATHS = [("cpu", {"path": "arrays"}), ("cpu", {"path": "scalars"}), ("gpu", {"path": "scalars"})]
OF_B = 2 / HIDDEN / RATE  # Liu, Liu and Gore train b at the rate 2/m


def noisy(learning_rate, seed, eta):
    return optax.noisy_sgd(learning_rate, eta, key=seed)


@pytest.fixture(autouse=True)
def _added(registries):
    tmsjax.add_optimizer("lion", optax.lion, options={"b1": tmsjax.Option("quantity", default=0.9)})
    tmsjax.add_optimizer("own-adam", lambda rate: optax.adam(rate))
    tmsjax.add_optimizer("own-sgd", optax.sgd)
    tmsjax.add_optimizer("noisy", noisy, options={"eta": tmsjax.Option("quantity", default=0.01)})
    tmsjax.add_optimizer("third", lambda rate: optax.MultiSteps(optax.adam(rate), 3).gradient_transformation())
    tmsjax.add_optimizer("muon", lambda rate: optax.contrib.muon(rate))


def spec_of(engine: dict | None = None, **settings) -> tmsjax.Spec:
    given = {"steps": STEPS, "batch": 16, "learning_rate": RATE, **settings}
    raw = plain_spec(3, HIDDEN, train=given, instances=2, engine=engine or {}, init={"bias_scale": 0.3})
    return load_spec(raw)


def trained(spec, platform: str = "cpu", stops=(STEPS,)):
    ensemble = Ensemble(spec, cut=plan(spec, platform))
    states = ensemble.init()
    for stop in stops:
        states = ensemble.advance(states, stop)
    return ensemble.gather(states)


def by_optax(spec, optimizer: optax.GradientTransformation, k: int = 0) -> dict:
    """Model k after the training, by a plain loop."""
    problem, row, shared = bound(spec, k)
    params = train.init(row, shared, problem).params

    def loss(params, x):
        out = jax.nn.relu(x @ params["W"].T @ params["W"] + params["b"][None])
        return ((x - out) ** 2).sum() / len(x)

    @jax.jit
    def step(number, params, state):
        words, offset = streams.words(number, shared, problem), streams.offset(number, row, shared, problem)
        x = jax.vmap(lambda word: problem.sample(sampling.rotate(word, offset, problem.streams), row))(words)
        updates, state = optimizer.update(jax.grad(loss)(params, x), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for number in range(STEPS):
        params, state = step(np.int32(number), params, state)
    return params


def cosine(peak: float = RATE, warmup: int = 5, floor: float = 0.05):
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, STEPS, floor * peak)


def per_parameter(of_W, of_b) -> optax.GradientTransformation:
    return optax.multi_transform({"W": of_W, "b": of_b}, {"W": "W", "b": "b"})


WARM = {"schedule": "cosine", "warmup": 5, "floor": 0.05}
SETTINGS = {
    "warm-up and floor, rates by parameter": (
        {"optimizer": "adamw", "weight_decay": 0.1, "rates": {"b": OF_B}, "decays": {"b": 0.0}, **WARM},
        per_parameter(optax.adamw(cosine(), weight_decay=0.1), optax.adam(cosine(RATE * OF_B))),
    ),
    "clipped": (
        {"optimizer": "adam", "clip": 0.03},
        optax.chain(optax.clip_by_global_norm(0.03), optax.adam(RATE)),
    ),
    "clipped momentum": (
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.05, "decays": {"W": 0.5}, "clip": 0.03},
        optax.chain(
            optax.clip_by_global_norm(0.03),
            per_parameter(optax.add_decayed_weights(0.025), optax.add_decayed_weights(0.05)),
            optax.sgd(RATE, momentum=0.9),
        ),
    ),
    "warm-up alone": (
        {"optimizer": "sgd", "warmup": 20},
        optax.sgd(optax.linear_schedule(0.0, RATE, 20)),
    ),
    "restarts": (
        {"optimizer": "adam", "schedule": "cosine", "restarts": 4, "floor": 0.1},
        optax.adam(
            optax.sgdr_schedule(
                [{"init_value": RATE, "peak_value": RATE, "warmup_steps": 0, "decay_steps": 25, "end_value": RATE / 10}]
                * 4
            )
        ),
    ),
    "linear, floor": (
        {"optimizer": "rmsprop", "schedule": "linear", "floor": 0.2, "learning_rate": 0.002},
        optax.rmsprop(optax.linear_schedule(0.002, 0.0004, STEPS)),
    ),
    "lion": ({"optimizer": "lion", "b1": 0.8, "learning_rate": 1e-3}, optax.lion(1e-3, b1=0.8)),
    "accumulated": ({"optimizer": "third"}, optax.MultiSteps(optax.adam(RATE), 3).gradient_transformation()),
    "muon": ({"optimizer": "muon"}, optax.contrib.muon(RATE)),
}
WHOLE = "clipped momentum"  # on all paths
NEEDS_ARRAYS = ("accumulated", "muon")


@pytest.mark.parametrize("name", ["clipped", *slowly(*(name for name in SETTINGS if name != "clipped"))])
def test_a_hundred_steps_are_those_of_optax(name):
    settings, optimizer = SETTINGS[name]
    expected = by_optax(spec_of(**settings), optimizer)
    paths = PATHS[:1] if name in NEEDS_ARRAYS else PATHS[: None if name == WHOLE else 2]
    for platform, engine in paths:
        spec = spec_of(engine, **settings)
        check_spec(spec)
        found = trained(spec, platform).params
        for key in ("W", "b"):
            np.testing.assert_allclose(found[key][0], expected[key], rtol=1e-4, atol=1e-5, err_msg=f"{key}, {engine}")


@pytest.mark.parametrize("path", ["arrays", "scalars", "stages"])
def test_factors_of_one_change_no_bit_and_no_state(path):
    plain, factors = (
        trained(spec_of({"path": path}, optimizer="adamw", **given))
        for given in ({}, {"decays": {"W": 1.0, "b": 1.0}, "rates": {"b": 1.0}})
    )
    assert jax.tree.structure(plain) == jax.tree.structure(factors)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(factors), strict=True):
        np.testing.assert_array_equal(a, b)


def test_options_of_optimizer_and_schedule_can_be_axes():
    raw = plain_spec(4, HIDDEN, train={"steps": 20, "learning_rate": RATE, "clip": "largest", "schedule": "cosine"})
    raw["axes"] = {"largest": {"values": [1e-3, 1e3]}, "warm": {"values": [0, 10]}}
    raw["train"] |= {"warmup": "warm", "rates": {"b": {"select": "warm", "of": [1.0, 0.0]}}, "optimizer": "sgd"}
    data = tmsjax.run_sweep(raw).dataset
    start = abs(data["b"]).max("feature")
    assert (start.sel(warm=10) == 0).all(), "at the rate 0"
    assert (start.sel(warm=0, largest=1e-3) < start.sel(warm=0, largest=1e3)).all()


def test_user_optimizers_share_only_what_counts_steps():
    """Other integers of a state, such as the counters of accumulated gradients, belong to each model."""
    counts = {name: train.counters(bound(spec_of(optimizer=name))[0]) for name in ("own-adam", "third", "noisy")}
    assert sum(counts["own-adam"]) == 2
    assert sum(counts["third"]) == 0
    assert sum(counts["noisy"]) == 2
    for name, platform in (("own-adam", "gpu"), ("third", "gpu"), ("noisy", "gpu"), ("noisy", "cpu")):
        spec = spec_of({"path": "arrays"}, optimizer=name, steps=20)
        whole, parts = (trained(spec, platform, stops) for stops in ((20,), (1, 7, 20)))
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("start", "step", "shared"), [(0, 1, True), (5, 1, False), (0, 2, False), (0, -1, False)])
def test_a_counter_of_steps_starts_at_0_and_rises_by_1(start, step, shared):
    counter = optax.GradientTransformation(lambda p: jnp.int32(start), lambda g, s, p=None: (g, s + step))
    tmsjax.add_optimizer("counting", lambda rate: optax.chain(counter, optax.sgd(0.1)))
    problem, _, _ = bound(spec_of(optimizer="counting"))
    assert train.counters(problem) == (shared,)
    states = trained(spec_of({"path": "arrays"}, optimizer="counting", steps=5), "gpu", (5,))
    assert (states.opt_state[0] == start + 5 * step).all()


def test_an_own_adam_has_the_bits_of_the_built_in_one():
    for path in ("arrays", "scalars"):
        ours, theirs = (trained(spec_of({"path": path}, optimizer=name)).params for name in ("adam", "own-adam"))
        for key in ("W", "b"):
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_noise_differs_between_models_and_survives_a_checkpoint(tmp_path):
    much = {"optimizer": "noisy", "eta": 1e4, "steps": 30, "learning_rate": 1e-4}
    raw = plain_spec(3, 2, train=much, checkpoint={"segment_seconds": 0})
    whole = run_sweep(raw)
    still = run_sweep({**raw, "train": {**raw["train"], "learning_rate": 0.0}})
    noise = (whole.dataset["W"] - still.dataset["W"]).to_numpy().reshape(4, -1)
    assert abs(np.corrcoef(noise)[np.triu_indices(4, 1)]).max() < 0.95
    left = iter([False] * 2)
    with pytest.raises(Interrupted):
        run_sweep(raw, tmp_path / "run", should_stop=lambda: next(left, True))
    assert digest(run_sweep(raw, tmp_path / "run").dataset) == digest(whole.dataset)


def test_a_run_under_a_constant_rate_after_warm_up_can_be_continued(tmp_path):
    raw = plain_spec(3, 2, train={"steps": 10, "warmup": 5, "clip": 1.0}, record={"measures": []})
    longer = {**raw, "train": {**raw["train"], "steps": 20}}
    run_sweep(raw, tmp_path / "run")
    assert digest(run_sweep(longer, tmp_path / "run").dataset) == digest(run_sweep(longer).dataset)


def shaped(updates):
    return optax.GradientTransformation(lambda p: optax.EmptyState(), lambda g, s, p=None: (updates(g), s))


BAD = {
    "no transformation": (lambda rate: 3, "make gives 3, not an optax.GradientTransformation"),
    "class": (lambda rate: optax.GradientTransformation, "make gives <class 'optax"),
    "fails": (lambda rate: rate / 2, "make fails (TypeError: unsupported operand"),
    "needs more": (lambda rate, beta: optax.sgd(rate), "make fails (TypeError"),
    "shapes": (
        lambda rate: shaped(lambda g: {k: x.sum() for k, x in g.items()}),
        "update(gradient, state, parameters) gives {W: float32[], b",
    ),
    "types": (
        lambda rate: shaped(lambda g: jax.tree.map(lambda x: x.astype(jnp.int32), g)),
        "update(gradient, state, parameters) gives {W: int32[2, 3]",
    ),
    "python if": (
        lambda rate: shaped(lambda g: g if g["W"].sum() > 0 else None),
        "update(gradient, state, parameters) fails (TracerBoolConversionError",
    ),
    "state": (
        lambda rate: optax.GradientTransformation(lambda p: jnp.zeros(3), lambda g, s, p=None: (g, s.sum())),
        "the state after update gives float32[], not float32[3]",
    ),
    "more arguments": (lambda rate: optax.lbfgs(), "update(gradient, state, parameters) fails (TypeError"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_optimizer_is_refused(name):
    make, said = BAD[name]
    tmsjax.add_optimizer("bad", make)
    with pytest.raises(SpecError) as error:
        check_spec(spec_of(optimizer="bad"))
    assert f"train.optimizer: 'bad': {said}" in str(error.value)
    assert len(str(error.value).splitlines()) == 2


def test_decay_by_parameter_is_for_optimizers_that_know_it():
    with pytest.raises(SpecError, match=r"train.decays: the optimizer 'lion' does not use it; .* use adamw"):
        spec_of(optimizer="lion", decays={"b": 0.0})
    assert spec_of(optimizer="lion").train.weight_decay == 1e-3, "the default of optax.lion"
    with pytest.raises(SpecError, match=r"train.momentum: the optimizer 'lion' does not use it"):
        spec_of(optimizer="lion", momentum=0.5)
    assert spec_of(optimizer="own-sgd", momentum=0.5).train.momentum == 0.5
