"""Finite training sets: what a step sees, what the samples are like, what training on them gives, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, digest, plain_spec, slowly

import tmsjax
from tmsjax.engine import Ensemble, Plan, streams, training_set
from tmsjax.errors import SpecError
from tmsjax.kinds import ACTIVITIES, drawn_by
from tmsjax.models import training_set as of_instance
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec


def of_sizes(*samples: int, features: int = 4, hidden: int = 2, replicas: int = 2, **changes) -> dict:
    """A sweep over sizes of the training set and replicas, as a raw dict."""
    changes["train"] = {"batch": 8, "learning_rate": 1e-2, **changes.get("train", {})}
    raw = plain_spec(features, hidden, instances=replicas, **changes)
    raw["axes"] = {"samples": {"values": list(samples)}, "replica": {"count": replicas}}
    raw["data"] = {"samples": "samples", **raw.get("data", {})}
    return raw


def trained(raw: dict, cut: Plan | None = None, stops: tuple = ()) -> dict[str, np.ndarray]:
    spec = load_spec(raw)
    sweep = Ensemble(spec, cut=cut)
    states = sweep.init()
    for stop in (*stops, spec.train.steps):
        states = sweep.advance(states, stop)
    return sweep.gather(states).params


@pytest.mark.parametrize("samples", [1, 8, 20, *slowly(3, 9, 64)])
def test_every_sample_is_seen_once_in_an_epoch(samples):
    spec, batch = load_spec(of_sizes(samples)), 8
    x = training_set(spec, replica=1)
    problem, row, shared = bound(spec, 1)
    parts = -(-samples // batch)
    seen = []
    for step in range(parts, 2 * parts):
        words, offset = streams.words(step, shared, problem), streams.offset(step, row, shared, problem)
        weights = np.array([of_instance.member(word, offset, batch)[1] for word in words])
        here = np.flatnonzero(weights)
        assert weights.sum() == pytest.approx(batch)
        assert len(set(weights[here].tolist())) == 1
        seen += [int(k) * parts + step % parts for k in here]
    assert sorted(seen) == list(range(samples))
    assert x.shape == (samples, 4)


@pytest.mark.parametrize(
    ("samples", "scalars"), [(3, True), (20, False), *slowly((3, False), (8, True), (8, False), (20, True))]
)
def test_a_step_descends_the_loss_of_its_part(samples, scalars):
    raw = of_sizes(samples, 5, train={"optimizer": "sgd", "learning_rate": 1.0, "steps": 1})
    spec = load_spec(raw)
    params = trained(raw, Plan(scalars, block=2, blocks=1, microbatch=4))
    start = Ensemble(spec).gather(Ensemble(spec).init()).params
    parts = -(-samples // 8)
    for replica in range(2):
        x = training_set(spec, replica=replica)[::parts]
        own = {name: jnp.asarray(value[replica]) for name, value in start.items()}

        def loss(p, x=x):
            return jnp.mean(jnp.sum((x - jax.nn.relu(x @ p["W"].T @ p["W"] + p["b"][None])) ** 2, axis=1))

        for name, slope in jax.grad(loss)(own).items():
            np.testing.assert_allclose(own[name] - slope, params[name][replica], rtol=1e-4, atol=1e-6)


def test_sets_depend_on_seed_and_identity_alone():
    spec = load_spec(of_sizes(3, 20))
    ours = training_set(spec, samples=1)
    np.testing.assert_array_equal(ours, training_set(load_spec(of_sizes(20, 9, replicas=1)), samples=0))
    others = [
        training_set(load_spec({**of_sizes(3, 20), "seed": 5}), samples=1),
        training_set(spec, samples=1, replica=1),
    ]
    for other in others:
        assert other.shape == ours.shape
        assert not (other == ours)[ours > 0].any()
    shared = load_spec(of_sizes(3, 8, train={"streams": "shared"}))
    np.testing.assert_array_equal(training_set(shared, samples=0), training_set(shared, samples=1, replica=1)[:3])


@pytest.mark.parametrize(
    "activity", ["correlated", "independent", *slowly(*sorted({*ACTIVITIES} - {"correlated", "independent"}))]
)
def test_samples_follow_the_activity_and_are_independent(activity):
    samples, n, p = 40_000, 4, 0.3
    raw = of_sizes(samples, n, probability=p, replicas=1, data={"activity": activity}, train={"batch": 1024})
    x = training_set(load_spec(raw)).astype(float)
    joint = drawn_by(activity, n).joint(np.full(n, p))
    active = x > 0
    np.testing.assert_allclose(1.0 * active.T @ active / samples, joint, atol=4 * 0.5 / np.sqrt(samples) + 1e-3)
    assert x[active].mean() == pytest.approx(1 / 2, abs=0.01)
    assert (x[active] ** 2).mean() == pytest.approx(1 / 3, abs=0.01)
    parts = -(-samples // 1024)
    for apart in (1, parts, parts + 1):  # other parts, the same part, both
        centred = x - x.mean(0)
        moments = (centred[:-apart] * centred[apart:]).mean(0) / x.var(0)
        assert np.abs(moments).max() < 4.5 / np.sqrt(samples)
    # four samples, two positions in two parts: a sum of words alone would make them dependent
    a, b, c, d = (active[k] for k in (slice(0, -parts - 1), slice(1, -parts), slice(parts, -1), slice(parts + 1, None)))
    together = (a[:, 0] & b[:, 0] & c[:, 0]).sum(), (a[:, 0] & b[:, 0] & c[:, 0] & d[:, 0]).sum()
    share = joint[0, 0]
    assert together[1] == pytest.approx(share * together[0], abs=5 * np.sqrt(max(together[0], 1)) * 0.5 + 1)


@pytest.mark.slow
def test_models_fit_three_samples():
    run = run_sweep(of_sizes(3, features=150, probability=0.04, train={"steps": 1000, "schedule": "cosine"}))
    for replica in range(2):
        one = run.dataset.isel(samples=0, replica=replica)
        W, b = one["W"].to_numpy(), one["b"].to_numpy()
        x = tmsjax.training_set(run.spec, replica=replica)
        assert ((x - np.maximum(x @ W.T @ W + b, 0)) ** 2).sum(1).mean() < 0.02 * (x**2).sum(1).mean()
        assert float(one["loss"]) > 0.9 * 150 * 0.04 / 3


@pytest.mark.slow
def test_many_samples_are_as_good_as_fresh_ones():
    train_table = {"steps": 1500, "batch": 64, "learning_rate": 1e-2, "schedule": "cosine"}
    finite = run_sweep(of_sizes(10, 20_000, 0, replicas=6, probability=0.1, train=train_table))
    fresh = run_sweep(plain_spec(4, 2, instances=6, probability=0.1, train=train_table))
    expected = float(fresh.dataset["loss"].min())
    few, many, infinite = finite.dataset["loss"].min("replica").to_numpy()
    assert many == pytest.approx(expected, rel=0.1)
    assert infinite == pytest.approx(expected, rel=0.1)
    assert few > 1.3 * expected


@pytest.mark.parametrize("features", [4, *slowly(80)])
def test_neither_resuming_nor_units_change_a_bit(features):
    raw = of_sizes(3, 20, 100, features=features, engine={"block": 2})
    whole = trained(raw)
    for name, value in trained(raw, stops=(1, 7, 20)).items():
        np.testing.assert_array_equal(value, whole[name])
    in_units = {**raw, "engine": {"block": 2, "unit": 2}}
    assert digest(run_sweep(in_units).dataset) == digest(run_sweep(raw).dataset)


@pytest.mark.parametrize(
    ("table", "values", "said"),
    [
        ("train", {"loss": "exact"}, "train.loss = 'exact' does not use it; drop it, or use 'sampled'"),
        ("data", {"sampler": "shared-masks", "masks": 2}, "'shared-masks' does not use it"),
        ("data", {"samples": 2.5}, "whole numbers"),
        ("data", {"samples": -1}, "whole numbers in"),
        ("data", {"samples": 2**24 + 2}, "whole numbers in"),
    ],
    ids=str,
)
def test_bad_sets_are_refused(table, values, said):
    raw = plain_spec(2, 1)
    raw["data"] = {"samples": 5}
    raw[table] = {**raw.get(table, {}), **values}
    with pytest.raises(SpecError) as caught:
        load_spec(raw)
    assert said in dict(caught.value.problems)["data.samples"]


def test_a_net_is_no_training_set():
    with pytest.raises(SpecError, match="'sobol' needs fresh samples"):
        load_spec(plain_spec(2, 1, data={"samples": 5}, train={"streams": "sobol", "batch": 16}))


def test_the_kernel_has_no_sets_and_fresh_samples_none_to_show():
    with pytest.raises(SpecError, match="no finite training sets"):
        Ensemble(load_spec(of_sizes(3, features=2, hidden=1, engine={"kernel": "pallas"})))
    with pytest.raises(ValueError, match="fresh samples"):
        training_set(load_spec(of_sizes(3, 0)), samples=1)
    with pytest.raises(ValueError, match="fresh samples"):
        training_set(load_spec(plain_spec(2, 1)))
    with pytest.raises(ValueError, match="no axis size"):
        training_set(load_spec(of_sizes(3)), size=0)
    with pytest.raises(ValueError, match="has 1 values"):
        training_set(load_spec(of_sizes(3)), samples=1)


def test_no_samples_leave_the_spec_as_it_was():
    raw = plain_spec(2, 1)
    assert load_spec({**raw, "data": {"samples": 0}}).hash == load_spec(raw).hash
    assert load_spec({**raw, "data": {"samples": 5}}).hash != load_spec(raw).hash
