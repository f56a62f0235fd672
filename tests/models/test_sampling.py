"""Samples: independent activity, moments and distributions of features."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, draws, small_spec
from scipy import stats

from tmsjax.engine import streams as random_bits
from tmsjax.engine.scalars import join
from tmsjax.kinds import VALUES, drawn_by
from tmsjax.models import instances, sampling
from tmsjax.models.sampling import FeatureSampler
from tmsjax.spec import load_spec

STEPS, BATCH = 2000, 64


def samples(streams: str = "independent", **table) -> np.ndarray:
    """x of shape (step, instance, sample, feature) as training sees them, p = 0.5."""
    raw = small_spec(train={"streams": streams, "batch": BATCH}, data=table)
    raw["axes"] = {"replica": {"count": 6}}
    raw["model"]["features"] = 3
    raw["instance"] = {"feature_probability": 0.5}
    problem, _, shared = bound(raw)
    rows = jax.tree.map(jnp.asarray, instances(load_spec(raw)))

    def one(instance, step):
        words = random_bits.words(step, shared, problem)
        shift = random_bits.offset(step, instance, shared, problem)
        return jax.vmap(lambda w: problem.sample(sampling.rotate(w, shift, streams), instance))(words)

    over_instances = jax.vmap(one, in_axes=(0, None))
    return np.asarray(jax.jit(jax.vmap(over_instances, in_axes=(None, 0)))(rows, jnp.arange(STEPS)))


@pytest.fixture(scope="module")
def independent() -> np.ndarray:
    return samples()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.reshape(-1), b.reshape(-1))[0, 1])


# A shared mask gives activity correlations near 1; chance gives at most five standard errors. Within a step the offsets
# of two instances differ by the same amount for every sample, so there only the steps count as independent.
BOUND = 5 / np.sqrt(STEPS * BATCH)
BOUND_OF_INSTANCES = 5 * np.sqrt(1 / 3) / np.sqrt(STEPS)


@pytest.mark.parametrize("part", ["activity", "value"])
def test_independent_draws_have_no_correlation_anywhere(independent, part):
    x = (independent > 0).astype(float) if part == "activity" else independent
    for i, j in itertools.combinations(range(3), 2):
        assert abs(correlation(x[..., i], x[..., j])) < BOUND, "features"
    for shift in (1, 2, 7):
        assert abs(correlation(x[:, :, shift:], x[:, :, :-shift])) < BOUND, "samples"
        assert abs(correlation(x[shift:], x[:-shift])) < BOUND, "steps"
    for a, b in itertools.combinations(range(6), 2):
        assert abs(correlation(x[:, a], x[:, b])) < BOUND_OF_INSTANCES, "instances"
        assert abs(correlation(x[:, a, :, 0], x[:, b, :, 1])) < BOUND, "features of different instances"


def test_shared_streams_give_every_instance_the_same_samples():
    x = samples("shared")
    np.testing.assert_array_equal(x[:, 0], x[:, 5])
    assert abs(correlation(x[..., 0], x[..., 1])) < BOUND


def test_sobol_batches_are_nets_that_move_with_step_and_instance():
    x = samples("sobol")
    active = x > 0
    np.testing.assert_array_equal(active.sum(axis=2), BATCH // 2, "p = 1/2 of a net's points are active in every batch")
    quarters = np.sort(x, axis=2)[:, :, BATCH // 2 :].reshape(STEPS, 6, 4, BATCH // 8, 3)  # v is uniform where active
    edges = np.arange(4)[:, None, None] / 4
    assert np.all((quarters >= edges) & (quarters <= edges + 0.25)), "each quarter of the values holds its share"
    both = (active[..., 0] & active[..., 1]).sum(axis=2)
    np.testing.assert_array_equal(both, BATCH // 4, "so it does for two features together")
    assert stats.kstest(x[:, :, 7, 1][active[:, :, 7, 1]], "uniform").pvalue > 1e-3
    single = BOUND * np.sqrt(BATCH)  # points of a batch depend on each other: only steps count
    for i, j in itertools.combinations(range(3), 2):
        assert abs(correlation(x[:, :, 5, i], x[:, :, 5, j])) < single, "features"
    assert abs(correlation(x[1:], x[:-1])) < single, "steps"
    for a, b in itertools.combinations(range(6), 2):
        assert abs(correlation(x[:, a, 3], x[:, b, 3])) < single, "instances"


def sampled(p: float, values: str, count: int = 400_000) -> np.ndarray:
    bits = jnp.asarray(np.random.default_rng(0).integers(0, 2**32, (count, 1), dtype=np.uint32))
    sampler = FeatureSampler(drawn_by("independent", 1), VALUES[values])
    return np.asarray(jax.vmap(lambda w: sampler.draw(w, jnp.float32([p]), {}))(bits))[:, 0]


@pytest.mark.parametrize("p", [1.0, 0.3, 0.01])
def test_values_follow_their_distributions(p):
    for values, law in (("uniform", "uniform"), ("half-normal", "halfnorm"), ("constant", None)):
        x = sampled(p, values)
        active = x[x > 0]
        assert abs(len(active) / len(x) - p) < 5 * np.sqrt(p / len(x))
        assert x.min() == 0 or p == 1
        assert (active == 1).all() if law is None else stats.kstest(active, law).pvalue > 1e-3
        assert values == "half-normal" or x.max() <= 1


def test_extreme_bits_stay_in_range():
    bits = jnp.uint32([0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1])
    for p in (1.0, 0.5, 1e-3):
        v = np.asarray(sampling.active_uniform(bits, jnp.float32(p)))
        assert v.min() >= 0
        assert v.max() <= 1 + 1e-6


@pytest.mark.parametrize("activity", ["independent", "tied"])
def test_masks_repeat_in_the_parts_of_a_batch_and_nowhere_else(activity):
    x = samples(activity=activity, sampler="shared-masks", masks=2)
    active = x > 0
    halves = active.reshape(STEPS, 6, 2, BATCH // 2, 3)
    assert (halves == halves[:, :, :, :1]).all()
    assert abs(correlation(halves[:, :, 0, 0], halves[:, :, 1, 0])) < 5 / np.sqrt(STEPS), "the two masks of a batch"
    assert abs(correlation(halves[1:, :, 0, 0], halves[:-1, :, 0, 0])) < 5 / np.sqrt(STEPS), "steps"
    assert abs(correlation(halves[:, 0, 0, 0], halves[:, 1, 0, 0])) < 5 / np.sqrt(STEPS), "instances"
    features = correlation(active[..., 0, 0], active[..., 0, 1])
    assert features == pytest.approx(1) if activity == "tied" else abs(features) < 5 / np.sqrt(6 * STEPS)
    assert active.mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2 * STEPS))
    assert x[active].mean() == pytest.approx(0.5, abs=0.01)
    assert len(np.unique(x[0, 0, :, 0])) > BATCH // 4  # values differ from sample to sample


def test_the_scalar_path_sees_the_same_masks():
    _, arrays, scalars = draws(small_spec(data={"activity": "tied", "sampler": "shared-masks", "masks": 4}))
    for words, columns in zip(arrays[1:], scalars[1:], strict=True):
        np.testing.assert_array_equal(words, join(columns))


def test_least_of_two_values_has_the_moment_that_candidates_use():
    rng = np.random.default_rng(1)
    drawn = {"uniform": rng.uniform(size=(2, 10**6)), "half-normal": np.abs(rng.normal(size=(2, 10**6)))}
    for values, pair in drawn.items():
        law = VALUES[values]
        moments = (pair.min(0) ** 2).mean(), pair.mean(), (pair**2).mean()
        assert moments == pytest.approx((law.least, law.mean, law.square), rel=0.01)
