"""Plain functions on separate scalars: the numbers, types and gradients of arrays, and what cannot run on scalars."""

from functools import reduce
from itertools import accumulate

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import held
from jax import lax

from tmsjax.engine.scalars import NeedsArrays, joined, on_scalars, reason_for_arrays

QUICKLY = {"xla_backend_optimization_level": 0}
FEW, TWICE = np.array([2, 0]), np.array([3, 3, 1])


@jax.custom_jvp
def odd(v, factor):
    return v * factor


@odd.defjvp
def _(primals, tangents):
    return odd(*primals), 7 * tangents[0] + primals[0] * tangents[1]


def normed(v):
    return (v - v.mean()) / jnp.sqrt(v.var() + 1e-5)


FUNCTIONS = {  # of x (3, 4) and v (4,)
    "arithmetic": lambda x, v: -x * v[None] + 2 - v[None] / (x * x + 1) + abs(v[None]) ** 1.5,
    "functions": lambda x, v: jnp.exp(-v) + jnp.tanh(v) * jnp.sin(v) + jnp.log1p(v * v) + jnp.sqrt(v * v + 1),
    "integers": lambda x, v: (jnp.arange(4, dtype=jnp.uint32) * 7 + 1) % 5 ^ (v > 0).astype(jnp.uint32) << 3,
    "rounding": lambda x, v: (jnp.floor(v) % 2, jnp.round(3 * v), jnp.sign(v), v.astype(jnp.int32)),
    "comparisons": lambda x, v: (v[None] < x) & (x != 1) | ~(v >= 0)[None],
    "where": lambda x, v: jnp.where(v > 0, v * v, 3.0) + jnp.clip(v, -0.5, 0.5) + jnp.maximum(v, 0.2),
    "sums": lambda x, v: (x.sum(), x.sum(0), x.mean(1), v.var(), x.std(0), v.prod(), jnp.linalg.norm(x, axis=0)),
    "extremes": lambda x, v: (x.max(), x.min(1), (x > 0).any(0), (x > -1).all(), jnp.ptp(x, 1)),
    "argmax": lambda x, v: (jnp.argmax(x), jnp.argmax(x, 1), jnp.argmin(v), jnp.argmax(x > 0, 0)),
    "dot": lambda x, v: (x @ v, v @ v, x @ x.T, v @ x.T, jnp.outer(v, v), jnp.tensordot(x, x, 2)),
    "einsum": lambda x, v: (jnp.einsum("ij,kj,j->ik", x, x, v), jnp.einsum("bi,bi->b", x, x), jnp.einsum("ij->ji", x)),
    "broadcasting": lambda x, v: x[:, None, :] * jnp.broadcast_to(v, (1, 2, 4)) + jnp.ones((3, 1, 1)),
    "reshape": lambda x, v: (x.reshape(2, -1), x.T, jnp.ravel(x), x[None, :, None], jnp.moveaxis(x, 0, 1)),
    "slices": lambda x, v: (x[1:, ::2], x[-1], v[::-1], x[1, 2], lax.dynamic_slice(x, (1, 0), (2, 3))),
    "concatenation": lambda x, v: (jnp.concatenate([v[2:], v, x[0]]), jnp.stack([v, x[1]], 1), jnp.tile(v, (2, 2))),
    "rearranged": lambda x, v: (jnp.roll(v, 1), jnp.pad(v, (1, 2), constant_values=5), jnp.split(v, 2), jnp.kron(v, v)),
    "triangles": lambda x, v: (jnp.tril(jnp.outer(v, v)), jnp.diag(v), jnp.trace(x[:, :3]), jnp.repeat(v, 2)),
    "scan": lambda x, v: (
        lax.scan(lambda c, row: (c * row + v[0], (c.sum(), row)), x[0], x),
        lax.scan(lambda c, k: (c - k * v, c), v, jnp.arange(3.0), reverse=True),
    ),
    "cumsum": lambda x, v: (jnp.cumsum(v), jnp.cumsum(x[::-1], 0), jnp.cumprod(x, 1), lax.cummax(v, reverse=True)),
    "stopped": lambda x, v: lax.stop_gradient(v) * v + lax.stop_gradient(x @ v).sum(),
    "jit and vmap": lambda x, v: jax.jit(lambda a, b: jax.vmap(jax.jit(jnp.sin))(a @ b) * b.sum())(x, v),
    "grad": lambda x, v: jax.grad(lambda v: (jnp.tanh(x @ v) ** 2).sum())(v),
    "custom_jvp": lambda x, v: odd(v, 3.0) + odd(2.0, v) + odd(v, v),
    "relu at 0": lambda x, v: jax.nn.relu(v - v[1]) * 2 + jax.nn.relu6(v - v[2]),
    "activations": lambda x, v: jax.nn.gelu(v) + jax.nn.silu(v) + jax.nn.softplus(v) + jax.nn.celu(v) + jax.nn.selu(v),
    "softmax": lambda x, v: (jax.nn.softmax(x @ v), jax.nn.log_softmax(x, 0), jax.nn.logsumexp(x, 1), jax.nn.glu(v)),
    "layer norm": lambda x, v: normed(x @ v) * 2 + 1,
    "gather": lambda x, v: (x[FEW, FEW], x[:, TWICE], v[TWICE], jnp.take(v, np.array([1, 7]), mode="fill")),
    "scatter": lambda x, v: v.at[1].set(2.0).at[FEW].set(x[:2, 1]),
    "at argmax": lambda x, v: x[jnp.argmax(x.sum(1))] * v[jnp.argmin(v)] + jax.nn.one_hot(jnp.argmax(v), 4),
    "constants": lambda x, v: (jnp.arange(4)[np.array([3, 2, 1, 0])] * v, jnp.zeros(2), jnp.float32(3)),
}  # fmt: skip


def total(tree) -> jax.Array:
    """A number that depends on every element of the floating-point leaves, on each by another factor."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return 0.0 + sum((leaf * np.cos(np.arange(leaf.size)).reshape(leaf.shape).astype("f4")).sum() for leaf in floats)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_scalars_is_that_of_arrays(name):
    function = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    x, v = (jnp.asarray(rng.standard_normal((6, *shape)), jnp.float32) for shape in ((3, 4), (4,)))
    assert reason_for_arrays(function, x[0], v[0]) is None

    def on_separate(x, v):
        return joined(on_scalars(function, *held((x, v))))

    def both(x, v):
        return [(f(x, v), jax.grad(lambda *a: total(f(*a)), (0, 1))(x, v)) for f in (function, on_separate)]  # noqa: B023

    expected, found = jax.jit(jax.vmap(both), compiler_options=QUICKLY)(x, v)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_sums_add_from_the_first_element_on():
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((3, 5)) * 10.0 ** rng.integers(-4, 4, (3, 5))).astype(np.float32)

    def folded(values):
        return reduce(np.add, values)

    sums = on_scalars(lambda x: (x.sum(), x.sum(0), x @ x[0], jnp.cumsum(x[1])), held(jnp.asarray(x)))
    expected = folded(x.reshape(-1)), [folded(c) for c in x.T], [folded(r * x[0]) for r in x], [*accumulate(x[1])]
    for ours, theirs in zip(map(joined, sums), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def ranked(x):
    return jnp.sort(x * 2)


REFUSED = {
    "sort": ranked,
    "scatter at positions that data decide": lambda x: x.at[x.argmax()].set(0.0),
    "scan of 65 steps": lambda x: lax.scan(lambda c, _: (c + x, c), x, length=65)[1],
    "while": lambda x: lax.while_loop(lambda x: x.max() > 1, lambda x: x / 2, x),
    "cond": lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
    "broadcast_in_dim, of more than 65,536 elements": lambda x: jnp.ones((300, 300)) * x.sum(),
}


@pytest.mark.parametrize("operation", REFUSED)
def test_what_needs_arrays_is_told_with_its_function_file_and_line(operation):
    function, x = REFUSED[operation], jnp.arange(4.0)
    line = function.__code__.co_firstlineno + (function is ranked)
    reason = f"{operation} in {function.__name__} ({__file__}, line {line})"
    assert reason_for_arrays(lambda x: jax.jit(function)(x) + 1, x) == reason
    with pytest.raises(NeedsArrays) as caught:
        on_scalars(function, held(x))
    assert str(caught.value) == reason
