"""Activities: draws on both paths against the stated probabilities; exact losses."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, held, plain_spec, slowly
from scipy import optimize

from tmsjax.engine.scalars import joined, on_scalars
from tmsjax.kinds import ACTIVITIES, VALUES, drawn_by
from tmsjax.models import expected, sampling
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec

COUNT = 2**17
DIAMOND = [[0, 1], [0, 2], [1, 3], [2, 3], [4, 5]]  # and an edge
UNEQUAL = {2: [0.7, 0.3], 3: [0.7, 0.3, 0.55], 4: [0.7, 0.3, 0.55, 0.9], 6: [0.7, 0.3, 0.55, 0.9, 0.15, 1.0]}
CASES = {
    "independent": (4, {"activity": "independent"}, UNEQUAL[4]),
    "tied": (4, {"activity": "tied"}, UNEQUAL[4]),
    "tied, all or none": (4, {"activity": "tied"}, 0.4),
    "groups": (6, {"activity": "groups"}, UNEQUAL[6]),
    "groups of 3, all or none": (6, {"activity": "groups", "size": 3}, 0.3),
    "groups of 1": (3, {"activity": "groups", "size": 1}, UNEQUAL[3]),
    "correlated": (6, {"activity": "correlated", "correlation": 0.3}, UNEQUAL[6]),
    "correlated sets of 3": (6, {"activity": "correlated", "size": 3, "correlation": 0.8}, 0.4),
    "correlated, all or none": (4, {"activity": "correlated", "size": 4, "correlation": 1.0}, 0.4),
    "exclusive": (6, {"activity": "exclusive"}, UNEQUAL[6]),
    "exclusive, always one": (6, {"activity": "exclusive", "size": 3}, 1.0),
    "exclusive, one set": (4, {"activity": "exclusive", "size": 4}, UNEQUAL[4]),
    "one-hot": (6, {"activity": "one-hot"}, UNEQUAL[6]),
    "one-hot, equal": (3, {"activity": "one-hot"}, None),
    "exactly 1": (3, {"activity": "exactly-k"}, None),
    "exactly 2": (4, {"activity": "exactly-k", "active": 2}, None),
    "exactly 3": (6, {"activity": "exactly-k", "active": 3}, 0.2),
    "hierarchy": (6, {"activity": "hierarchy", "edges": DIAMOND}, UNEQUAL[6]),
    "exactly all": (2, {"activity": "exactly-k", "active": 2}, None),
}


def spec_of(features: int, data: dict, p=None, hidden: int = 2, **tables):
    raw = plain_spec(features, hidden, data=data, **tables)
    raw["instance"] = {} if p is None else {"feature_probability": p}
    return load_spec(raw)


def rule(spec, *leading: int):
    """The spec's activity with the options of its first instance, for probabilities (*leading, n)."""
    problem, row, _ = bound(spec)
    own = {key: np.broadcast_to(float(v), leading) for key, v in row.own("data").items()}
    return sampling.with_own(problem.sampler.drawn, own)


def drawn(spec, count: int = COUNT, seed: int = 3, scalars: bool = False, more=()) -> np.ndarray:
    """x (count, n) of random words and of those of `more`, on arrays or on scalars."""
    problem, row, _ = bound(spec)
    words = np.random.default_rng(seed).integers(0, 2**32, (count, problem.columns), np.uint32)
    words = jnp.asarray(np.concatenate([words, more]) if len(more) else words)
    form = held if scalars else lambda tree: tree
    return np.asarray(jax.jit(jax.vmap(lambda word: joined(on_scalars(problem.sample, form(word), form(row)))))(words))


def extreme(name: str, spec) -> np.ndarray:
    """Words that decide which features are active, at the ends of their range."""
    ends = np.array([0, 1, 2**31, 2**32 - 1, 2**32 - 200], np.uint32)  # float32 rounds the last two up to 2^32
    columns = bound(spec)[0].columns
    deciding = columns if name == "independent" else columns - spec.model.features
    if not deciding:
        return np.empty((0, columns), np.uint32)
    corners = np.array(list(itertools.product(ends, repeat=deciding))[:: max(1, 5**deciding // 3000)])
    return np.concatenate([np.full((len(corners), columns - deciding), 2**30, np.uint32), corners], axis=1)


@pytest.fixture(scope="module", params=CASES)
def every(request):
    """The name of a case, its spec, and its samples of random and of extreme words."""
    spec = spec_of(*CASES[request.param])
    return request.param, spec, drawn(spec, more=extreme(request.param, spec))


@pytest.fixture
def case(every):
    name, spec, x = every
    return name, spec, x[:COUNT]


def probabilities(spec) -> np.ndarray:
    return np.asarray(bound(spec)[1].feature_probability, np.float64)


def test_both_paths_draw_the_same(case):
    _, spec, x = case
    np.testing.assert_allclose(drawn(spec, scalars=True), x, rtol=1e-5, atol=1e-6)


def test_shares_are_marginal_and_joint(case):
    name, spec, x = case
    active, p = (x > 0).astype(float), probabilities(spec)
    joint, marginal = rule(spec).joint(p), rule(spec).marginal(p)
    np.testing.assert_allclose(np.diagonal(joint), marginal, rtol=1e-12)
    np.testing.assert_array_equal(joint, joint.T)
    error = 5 * np.sqrt(joint * (1 - joint) / COUNT) + 5e-6  # one value in 2^24 is rounded to 0
    assert (np.abs(active.T @ active / COUNT - joint) < error).all(), name
    np.testing.assert_allclose(rule(spec).joint(jnp.asarray(p, jnp.float32)), joint, atol=1e-6)
    many = np.stack([p, p / 2])
    np.testing.assert_allclose(rule(spec, 2).joint(many)[1], rule(spec).joint(p / 2), rtol=1e-12)
    np.testing.assert_allclose(rule(spec, 2).marginal(many)[0], marginal, rtol=1e-12)
    np.testing.assert_allclose(rule(spec, 2).joint(jnp.asarray(many, jnp.float32))[0], joint, atol=1e-6)


def test_what_holds_in_every_sample(every):
    name, spec, x = every
    n, (_, data, p) = spec.model.features, CASES[name]
    active, size = x > 0, data.get("size", 2)
    if name.startswith("exclusive"):
        per_set = active.reshape(len(x), -1, size).sum(2)
        assert per_set.max() == 1
        assert (per_set.min() == 1) == (name == "exclusive, always one")
    elif name.startswith("one-hot"):
        np.testing.assert_array_equal(active.sum(1), 1)
    elif name == "hierarchy":
        for parent, child in data["edges"]:
            assert not (active[:, child] & ~active[:, parent]).any()
    elif name.startswith("exactly"):
        np.testing.assert_array_equal(active.sum(1), data.get("active", 1))
    elif name.endswith("all or none"):
        sets = active.reshape(len(x), -1, size if "size" in data else n)
        np.testing.assert_array_equal(sets.all(2), sets.any(2))
    elif data["activity"] == "correlated":  # with equal probabilities, `correlation` is that of the members' activity
        if isinstance(p, float):
            expected = pytest.approx(data["correlation"], abs=5 / np.sqrt(COUNT))
            assert np.corrcoef(active[:COUNT, 0], active[:COUNT, 1])[0, 1] == expected
    elif data["activity"] in ("tied", "groups"):  # the likelier feature of a set is active whenever the other is
        for i, j in itertools.permutations(range(n), 2):
            if (data["activity"] == "tied" or i // size == j // size) and p[i] >= p[j]:
                assert not (active[:, j] & ~active[:, i]).any()


def test_sets_on_their_own_and_values_are_uncorrelated(case):
    _, spec, x = case
    data, n = CASES[case[0]][1], spec.model.features
    active = (x > 0).astype(float)
    bound = 5 / np.sqrt(COUNT)
    size = data.get("size", 2) if data["activity"] in ("groups", "correlated", "exclusive") else 1
    if data["activity"] in ("independent", "groups", "correlated", "exclusive"):
        for i, j in itertools.combinations(range(n), 2):
            if i // size != j // size and active[:, i].std() and active[:, j].std():
                assert abs(np.corrcoef(active[:, i], active[:, j])[0, 1]) < bound
    for i, j in itertools.combinations(range(n), 2):
        both = (x[:, i] > 0) & (x[:, j] > 0)
        if both.sum() > 100:
            assert abs(np.corrcoef(x[both, i], x[both, j])[0, 1]) < 5 / np.sqrt(both.sum())


def test_probabilities_of_subsets_are_their_shares_and_sum_to_one(case):
    _, spec, x = case
    p, n, active = list(probabilities(spec)), spec.model.features, x > 0
    total = 0.0
    for subset in (s for k in range(n + 1) for s in itertools.combinations(range(n), k)):
        share = (active == np.isin(np.arange(n), subset)).all(1).mean()
        if not rule(spec).possible(subset):
            assert share < 1e-4, subset  # values that are rounded to 0
            continue
        assert len(subset) <= rule(spec).most_active()
        stated = float(rule(spec).exactly(p, subset))
        assert abs(share - stated) < 5 * np.sqrt(stated * (1 - stated) / COUNT) + 5e-6, subset
        total += stated
    assert total == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("name", ["independent", "tied", "groups", "correlated", "exclusive", "one-hot", "hierarchy"])
def test_mean_and_covariance_are_those_of_samples(name, values):
    features, data, p = CASES[name]
    spec = spec_of(features, data | {"values": values}, p)
    x, p = drawn(spec).astype(np.float64), probabilities(spec)
    mean, covariance = (f(p, rule(spec), VALUES[values]) for f in (sampling.mean, sampling.covariance))
    assert (np.abs(x.mean(0) - mean) < 5 * x.std(0) / np.sqrt(COUNT) + 1e-6).all()
    centred = x - mean
    spread = np.sqrt(((centred[:, :, None] * centred[:, None, :]) ** 2).mean(0) / COUNT)
    assert (np.abs(centred.T @ centred / COUNT - covariance) < 5 * spread + 1e-5).all()
    of_two = sampling.covariance(np.stack([p, p / 2]), rule(spec, 2), VALUES[values])
    np.testing.assert_allclose(of_two[0], covariance, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("scalars", [False, True])
def test_signed_values(scalars):
    x = drawn(spec_of(3, {"values": "signed"}, [0.5, 0.1, 1.0]), scalars=scalars)
    inactive = x == 0
    assert (np.abs(inactive.mean(0) - [0.5, 0.9, 0]) < 5 * 0.5 / np.sqrt(COUNT)).all()
    for k in range(3):
        v = x[~inactive[:, k], k].astype(np.float64)
        assert abs(v.mean()) < 5 * np.sqrt(1 / 3 / len(v))
        assert abs((v**2).mean() - 1 / 3) < 5 * 0.3 / np.sqrt(len(v))
        assert v.min() < -0.99
        assert v.max() > 0.99


EXACT = {
    **{f"independent, {n}": (n, {"activity": "independent"}) for n in (2, 3, 4, 5)},
    **{f"tied, {n}": (n, {"activity": "tied"}) for n in (2, 3, 4, 5)},
    "hierarchy": (3, {"activity": "hierarchy", "edges": [[2, 0], [0, 1]]}),
    "groups, 2": (2, {"activity": "groups"}),
    "groups, 4": (4, {"activity": "groups"}),
    "exclusive, 2": (2, {"activity": "exclusive"}),
    "exclusive, 4": (4, {"activity": "exclusive"}),
    "exclusive, one set": (3, {"activity": "exclusive", "size": 3}),
    "one-hot, 2": (2, {"activity": "one-hot"}),
    "one-hot, 3": (3, {"activity": "one-hot"}),
    "one-hot, 8": (8, {"activity": "one-hot"}),
    "exactly 1": (5, {"activity": "exactly-k"}),
    "exactly 2 of 3": (3, {"activity": "exactly-k", "active": 2}),
    "exactly 2 of 4": (4, {"activity": "exactly-k", "active": 2}),
    "exactly 3 of 3": (3, {"activity": "exactly-k", "active": 3}),
}


def exact_case(name: str, seed: int):
    """W, b, importance, probability and the keywords of `relu_loss`."""
    n, data = EXACT[name]
    rng = np.random.default_rng([seed, n])
    p = rng.uniform(0.2, 1, n)
    if data["activity"] == "exactly-k":
        p = np.ones(n)
    return rng.normal(size=(2, n)) * 0.8, rng.normal(size=n) * 0.3, rng.uniform(0.1, 3, n), p, data


LARGE = ("groups, 4", "tied, 5", "independent, 5")  # compile for seconds


@pytest.mark.parametrize("name", [*slowly(*LARGE), *(k for k in EXACT if k not in LARGE)])
@pytest.mark.parametrize("seed", [0, *slowly(1, 2)])
def test_exact_loss_is_the_mean_over_samples(name, seed):
    W, b, importance, p, data = exact_case(name, seed)
    spec = spec_of(len(p), data, list(p))
    x = drawn(spec, seed=seed).astype(np.float64)
    losses = ((x - np.maximum(x @ W.T @ W + b, 0)) ** 2 * importance).sum(1)
    exact = expected.relu_loss(W, b, importance, p, **data)
    assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(COUNT)
    if name == "independent, 5":  # takes long in jax
        return
    single = [jnp.asarray(v, jnp.float32) for v in (W, b, importance, p)]
    rounded = expected.relu_loss(*(np.asarray(v, np.float64) for v in single), **data)
    assert float(expected.relu_loss(*single, **data)) == pytest.approx(rounded, rel=1e-5)


FAST = ("independent, 2", "tied, 2", "groups, 2", "one-hot, 3")
NEVER = ("independent, 4", "independent, 5", "tied, 4", "tied, 5", "groups, 4")  # compile for long


@pytest.mark.parametrize("name", [*FAST, *slowly(*(k for k in EXACT if k not in (*FAST, *NEVER)))])
def test_gradients_of_the_exact_loss_are_finite_differences(name):
    W, b, importance, p, data = exact_case(name, 4)
    n = len(b)

    def value(theta):
        return expected.relu_loss(theta[: 2 * n].reshape(2, n), theta[2 * n :], importance, p, **data)

    numeric = optimize.approx_fprime(np.concatenate([W.reshape(-1), b]), value, 1e-7)
    slopes_of = jax.jit(jax.grad(partial(expected.relu_loss, **data), argnums=(0, 1)))
    single = slopes_of(*(jnp.asarray(v, jnp.float32) for v in (W, b, importance, p)))
    with jax.enable_x64(True):
        double = slopes_of(*map(jnp.asarray, (W, b, importance, p)))
    np.testing.assert_allclose(np.concatenate([np.ravel(v) for v in double]), numeric, atol=5e-6)
    for slope, reference in zip(single, double, strict=True):
        np.testing.assert_allclose(slope, reference, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_linear_exact_loss_is_the_mean_over_samples(name):
    features, data, p = CASES[name]
    spec = spec_of(features, data, p, model={"activation": "linear"})
    assert spec.exact_loss == "linear"
    rng = np.random.default_rng(2)
    W, b = rng.normal(size=(2, features)) * 0.7, rng.normal(size=features) * 0.2
    params = {"W": jnp.asarray(W, jnp.float32), "b": jnp.asarray(b, jnp.float32)}
    x = drawn(spec).astype(np.float64)
    losses = ((x - x @ W.T @ W - b) ** 2).sum(1)
    problem, row, _ = bound(spec)
    exact = float(problem.exact_loss(params, row))
    assert abs(losses.mean() - exact) < 5 * losses.std() / np.sqrt(COUNT)


@pytest.mark.parametrize(
    ("data", "known", "unknown"),
    [
        ({"activity": "independent"}, 3, 4),
        ({"activity": "tied"}, 3, 4),
        ({"activity": "groups"}, 4, 6),
        ({"activity": "exclusive"}, 4, 6),
        ({"activity": "hierarchy", "edges": [[0, 1]]}, 3, 4),
        ({"activity": "one-hot"}, 100, None),
        ({"activity": "exactly-k"}, 100, None),
        ({"activity": "exactly-k", "active": 2}, 4, 5),
        ({"activity": "exactly-k", "active": 3}, 3, 4),
        ({"values": "constant"}, None, 2),
        ({"values": "signed"}, None, 2),
    ],
    ids=str,
)
def test_an_exact_loss_is_known_up_to_some_number_of_features(data, known, unknown):
    p = None if data.get("activity") in ("one-hot", "exactly-k") else 0.3
    for features, relu in ((known, "relu"), (unknown, None)):
        for activation, exact in (("relu", relu), ("linear", "linear"), ("gelu", None)) if features else ():
            assert spec_of(features, data, p, model={"activation": activation}).exact_loss == exact


TRAIN = {"steps": 1500, "loss": "exact", "learning_rate": 0.02, "schedule": "cosine"}


def best_loss(features: int, hidden: int, data: dict, p=None, **train) -> float:
    raw = plain_spec(features, hidden, data=data, instances=16, train=TRAIN | train)
    raw["instance"] = {} if p is None else {"feature_probability": p}
    dataset = run_sweep(raw).dataset
    assert (dataset["status"] == 0).all()
    return float(dataset["loss"].min())


@pytest.mark.slow
def test_training_with_the_exact_loss_reaches_known_optima():
    assert best_loss(2, 2, {"activity": "one-hot"}) < 1e-6, "an orthogonal pair"
    hexagon = np.stack([np.cos(np.arange(6) * np.pi / 3), np.sin(np.arange(6) * np.pi / 3)])
    ones = np.ones(6)
    of_hexagon = optimize.minimize(
        lambda v: expected.relu_loss(v[0] * hexagon, v[1] * ones, ones, ones, activity="one-hot"), [1.2, -0.3]
    ).fun
    assert best_loss(6, 2, {"activity": "one-hot"}, steps=3000) < 1.001 * of_hexagon, "the best hexagon, or better"
    assert best_loss(4, 2, {"activity": "exclusive"}, 0.6) < 1e-6, "antipodal pairs within sets, which never interfere"
    assert best_loss(4, 4, {"activity": "groups"}, 0.5, steps=200) < 0.05
    interfering = best_loss(2, 1, {"activity": "exactly-k", "active": 2})
    assert interfering == pytest.approx(2 / 12 / 2, abs=0.03), "two values through one number"


def test_small_probabilities_keep_their_shares():
    spec = spec_of(4, {"activity": "exclusive"}, 1e-3)
    share = (drawn(spec, 2**20) > 0).mean(0)
    assert (np.abs(share - 5e-4) < 5 * np.sqrt(5e-4 / 2**20)).all()


def test_options_that_do_not_fit_are_refused():
    for activity, options, why in [
        ("groups", {"size": 4}, "does not divide"),
        ("exactly-k", {"active": 7}, "active = 7 is more than model.features = 6"),
        ("groups", {"active": 1}, "has no option active"),
        ("groups", {"size": 0}, "size must be a whole number from 1 to"),
        ("correlated", {"correlation": 1.5}, r"correlation must be a number from 0 to 1, not 1\.5"),
        ("group", {}, "must be one of"),
    ]:
        with pytest.raises(ValueError, match=why):
            drawn_by(activity, 6, **options)
    assert set(ACTIVITIES) >= {"independent", "tied", "groups", "correlated", "exclusive", "one-hot", "exactly-k"}


def test_one_hot_takes_what_rounding_leaves():
    """The float32 sum of all shares may stay below 1, and the uniform lie above it."""
    p = np.random.default_rng(0).uniform(0.01, 1, (300, 50)).astype(np.float32)
    sums = [(q / q.sum()).cumsum()[-1] for q in p]
    assert min(sums) <= 1 - 2.0**-24
    last = np.float32([1 - 2.0**-24])
    assert all(drawn_by("one-hot", 50).active(last, q).sum() == 1 for q in p)
