"""Rules for data that public code has (occhio, SAELens), as built-in entries or a few lines, against numpy.

Each reference samples its rule directly, sample by sample as the public code describes it.
"""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec

import tmsjax
from tmsjax.engine.plan import why_arrays
from tmsjax.models import bind
from tmsjax.spec import load_spec

pytestmark = pytest.mark.usefixtures("registries")
P = [0.7, 0.5, 0.6, 0.4, 0.8, 0.9]
TREE = [[0, 1], [0, 2], [1, 3], [1, 4], [2, 5]]
DAG = [[0, 2], [1, 2], [1, 3], [2, 4], [3, 4], [3, 5]]
PAIRS = [[0, 1], [2, 3], [4, 5]]
ABOVE = [[], [], [0, 1], [1], [2, 3], [3]]  # DAG, as lists of parents
MEANS = [1.0, 0.5, 2.0, 1.0, 0.3, 1.5]
CORRELATION = np.eye(6)
CORRELATION[:3, :3] += 0.5 * (1 - np.eye(3))
CORRELATION[4, 5] = CORRELATION[5, 4] = -0.4
ROTATION = np.linalg.qr(np.random.default_rng(7).normal(size=(6, 6)))[0].astype(np.float32)


# what users add


def noisy_or(u, p):
    x = []
    for j, above in enumerate(ABOVE):
        chance = 1 - math.prod(1 - x[k] for k in above) if above else p[j]
        x.append(jnp.where(u[j] < chance, u[6 + j], 0.0))
    return jnp.stack(x)


def walk_to_root(u, p):
    share = np.array([[k in above for k in range(6)] for above in ABOVE]) / [[max(1, len(a))] for a in ABOVE]
    low, high = np.cumsum(share, 1) - share, np.cumsum(share, 1)
    ends = jnp.cumsum(p / p.sum())
    place, x = ((ends - p / p.sum() <= u[0]) & (u[0] < ends)) * u[1], 0.0
    for step in range(3):
        x, place = x + place, place @ ((low <= u[2 + step]) & (u[2 + step] < high)).astype(np.float32)
    return x


def both_of(u, p, pair):
    return (u[:6] < p) & (u[6:] < pair).repeat(2)


def rotated(u, p):
    return jnp.where(u[:6] < p, u[6:12], 0) + jnp.where(u[12:18] < p, u[18:], 0) @ ROTATION


def first_alone(u, p):
    return (u < p) & ~((u[:1] < p[:1]) & (np.arange(6) > 0) & (np.arange(6) < 3))


def coupled(u, p, beta):
    first = jnp.where(u[:3] < p[::2], u[6:9], 0)
    second = jnp.where(u[3:6] < p[1::2], first * (beta + (1 - beta) * u[9:]), 0)
    return jnp.stack([first, second], 1).reshape(6)


def add_all():
    tmsjax.add_sampler("noisy-or", columns=lambda n: 2 * n, sample=noisy_or)
    tmsjax.add_sampler("walk-to-root", columns=lambda n: 5, sample=walk_to_root)
    pair = tmsjax.Option("quantity", default=0.5)
    tmsjax.add_activity("pairs", columns=lambda n: n + n // 2, active=both_of, options={"pair": pair})
    tmsjax.add_sampler("relational", columns=lambda n: 4 * n, sample=rotated)
    tmsjax.add_activity("suppressed", columns=lambda n: n, active=first_alone)
    tmsjax.add_sampler("coupled-pairs", columns=lambda n: 2 * n, sample=coupled, options={"beta": pair})
    tmsjax.add_values("exponential", lambda u: -jnp.log(1 - u * (1 - 1e-6)), mean=1, square=2)


# references


def uniforms(rng, count):
    return rng.random((count, 6))


def of_parents(rng, count, fires):
    """Activity where feature j with parents also needs `fires(active, its parents)`."""
    active = uniforms(rng, count) < P
    for j, above in enumerate(ABOVE):
        if above:
            active[:, j] &= fires(active[:, above])
    return active


def tree(rng, count):
    active = uniforms(rng, count) < P
    for parent, child in TREE:
        active[:, child] &= active[:, parent]
    return active


def normals(rng, count):
    return rng.multivariate_normal(np.zeros(6), CORRELATION, count, method="cholesky")


def bayesian(rng, count):
    x = np.zeros((count, 6))
    for j, above in enumerate(ABOVE):
        chance = 1 - np.prod(1 - x[:, above], axis=1) if above else P[j]
        x[:, j] = (rng.random(count) < chance) * rng.random(count)
    return x


def walks(rng, count):
    x, place, value = np.zeros((count, 6)), rng.choice(6, count, p=np.array(P) / sum(P)), rng.random(count)
    walking = np.ones(count, bool)
    for _ in range(6):
        x[walking, place[walking]] = value[walking]
        walking &= np.array([bool(a) for a in ABOVE])[place]
        choice = rng.random(count)
        place = np.array(
            [ABOVE[k][int(c * len(ABOVE[k]))] if ABOVE[k] else k for k, c in zip(place, choice, strict=True)]
        )
    return x


def scaled_pairs(rng, count, share=None):
    first = (rng.random((count, 3)) < P[::2]) * rng.random((count, 3))
    scale = rng.random((count, 3)) if share is None else share + (1 - share) * rng.random((count, 3))
    second = (rng.random((count, 3)) < P[1::2]) * scale * first
    return np.stack([first, second], 2).reshape(count, 6)


def one_of_pairs(rng, count):
    pair, which = rng.random((count, 3)) < P[0], rng.random((count, 3)) < 0.5
    return np.stack([pair & which, pair & ~which], 2).reshape(count, 6)


def magnitudes(rng, count, deviation=0.5):
    return (uniforms(rng, count) < P) * np.maximum(np.array(MEANS) + deviation * rng.normal(size=(count, 6)), 0)


def relations(rng, count):
    first, second = ((uniforms(rng, count) < P) * uniforms(rng, count) for _ in range(2))
    return first + second @ ROTATION


def scaled_graph(rng, count):
    x = (uniforms(rng, count) < P) * uniforms(rng, count) * MEANS
    for j, above in enumerate(ABOVE):
        x[:, j] *= np.prod(x[:, above], axis=1)
    return x


def suppressed(rng, count):
    active = uniforms(rng, count) < P
    active[active[:, 0], 1:3] = False
    return active


def valued(active):
    return lambda rng, count: active(rng, count) * uniforms(rng, count)


RULES = {  # (the [data] table, probabilities, reference), by the name of the rule in public code
    "occhio SparseUniform": ({}, P, valued(lambda rng, count: uniforms(rng, count) < P)),
    "occhio SparseExponential": (
        {"values": "exponential"},
        P,
        lambda rng, count: (uniforms(rng, count) < P) * rng.exponential(size=(count, 6)),
    ),
    "occhio HierarchicalPairs": (
        {"activity": "hierarchy", "edges": PAIRS},
        P,
        valued(lambda rng, count: scaled_pairs(rng, count) > 0),
    ),
    "occhio HierarchicalPairs, beta": (
        {"sampler": "coupled-pairs", "beta": 0.3},
        P,
        lambda rng, count: scaled_pairs(rng, count, 0.3),
    ),
    "occhio ScaledHierarchicalPairs": ({"sampler": "scaled", "edges": PAIRS}, P, scaled_pairs),
    "occhio CorrelatedPairs": (
        {"activity": "pairs", "pair": 0.4},
        P,
        valued(lambda rng, count: (uniforms(rng, count) < P) & (rng.random((count, 3)) < 0.4).repeat(2, axis=1)),
    ),
    "occhio AnticorrelatedPairs": ({"activity": "exclusive"}, P[0], valued(one_of_pairs)),
    "occhio HierarchicalSparse": ({"activity": "hierarchy", "edges": TREE}, P, valued(tree)),
    "occhio DAGDistribution": (
        {"activity": "some-parents", "edges": DAG},
        P,
        valued(lambda rng, count: of_parents(rng, count, lambda a: a.any(1))),
    ),
    "occhio DAGBayesianPropagation": ({"sampler": "noisy-or"}, P, bayesian),
    "occhio DAGRandomWalkToRoot": ({"sampler": "walk-to-root"}, P, walks),
    "occhio RelationalSimple": ({"sampler": "relational"}, P, relations),
    "hierarchy of a graph": (
        {"activity": "hierarchy", "edges": DAG},
        P,
        valued(lambda rng, count: of_parents(rng, count, lambda a: a.all(1))),
    ),
    "SAELens correlation_matrix": (
        {"activity": "copula", "correlation": CORRELATION.tolist()},
        [0.3, 0.2, 0.1, 0.5, 0.05, 0.4],
        valued(lambda rng, count: normals(rng, count) > [0.524401, 0.841621, 1.281552, 0, 1.644854, 0.253347]),
    ),
    "SAELens firing magnitudes": ({"sampler": "gaussian", "mean": MEANS, "deviation": 0.5}, P, magnitudes),
    "SAELens scale_children_by_parent": (
        {"sampler": "gaussian", "mean": 1.0, "deviation": 0.15, "activity": "hierarchy", "edges": TREE},
        P,
        lambda rng, count: scaled_tree(rng, count),
    ),
    "children of several parents": ({"sampler": "scaled", "edges": DAG, "magnitude": MEANS}, P, scaled_graph),
    "SAELens suppress_features": ({"activity": "suppressed"}, P, valued(suppressed)),
}


def scaled_tree(rng, count):
    x = tree(rng, count) * np.maximum(1 + 0.15 * rng.normal(size=(count, 6)), 0)
    for parent, child in TREE:
        x[:, child] *= x[:, parent]
    return x


def spec_of(name):
    data, p, _ = RULES[name]
    return load_spec(plain_spec(6, 3, probability=p, data=data))


def second_moments(x):
    return x.T @ x / len(x), np.sqrt(np.maximum((x**2).T @ x**2 / len(x) - (x.T @ x / len(x)) ** 2, 0) / len(x))


def difference(name, count):
    """How far mean and second moments are from the reference: in standard errors, and over the root mean squares."""
    found = tmsjax.moments(spec_of(name), count)
    x = np.asarray(RULES[name][2](np.random.default_rng(1), count), np.float64)
    square, error = second_moments(x)
    mean, mean_error = x.mean(0), x.std(0) / np.sqrt(count)
    far = [
        abs(found.mean - mean) / (np.hypot(found.mean_error, mean_error) + 1e-9),
        abs(found.covariance + np.outer(found.mean, found.mean) - square)
        / (np.hypot(found.covariance_error, error) + 1e-9),
    ]
    root = np.sqrt(np.diagonal(square))
    off = [
        abs(found.mean - mean) / root,
        abs(found.covariance + np.outer(found.mean, found.mean) - square) / np.outer(root, root),
    ]
    return max(each.max() for each in far), max(each.max() for each in off)


@pytest.fixture(autouse=True)
def added(registries):
    add_all()


@pytest.mark.parametrize("name", RULES)
def test_first_two_moments_are_those_of_the_rule(name):
    errors, _ = difference(name, 2**14)
    assert errors < 6
    assert why_arrays(bind(spec_of(name))) is None, "on the fast path"


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_first_two_moments_are_within_one_percent(name):
    errors, off = difference(name, 4 * 10**6)
    assert errors < 6
    assert off < 0.01


def test_rare_features_of_a_copula_are_as_frequent_as_stated():
    raw = plain_spec(2, 1, probability=1e-4, data={"activity": "copula", "correlation": [[1, 0.9], [0.9, 1]]})
    found = tmsjax.moments(load_spec(raw), 2**21)
    np.testing.assert_allclose(np.diagonal(found.joint), 1e-4, atol=5 * np.sqrt(1e-4 / 2**21))
    assert found.joint[0, 1] > 0.3e-4, "correlated far in the tail"


def test_a_copula_of_one_factor_is_that_of_its_matrix():
    for raw in ({"activity": "one-factor", "correlation": 0.6}, {"activity": "copula", "correlation": _equal(0.6)}):
        found = tmsjax.moments(load_spec(plain_spec(3, 2, probability=[0.2, 0.5, 1.0], data=raw)))
        np.testing.assert_allclose(found.joint, [[0.2, 0.16789, 0.2], [0.16789, 0.5, 0.5], [0.2, 0.5, 1]], atol=0.008)


def _equal(correlation):
    return (np.eye(3) * (1 - correlation) + correlation).tolist()


def test_power_laws_of_frequency_are_curves():
    raw = plain_spec(5, 2, probability={"sum": 0.5, "power": 1.1}, data={"values": "constant"})
    p = np.arange(1, 6.0) ** -1.1
    np.testing.assert_allclose(load_spec(raw).evaluate("feature_probability")[0], 0.5 * p / p.sum(), rtol=1e-12)
