"""The functions of sparse autoencoders on one sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.kinds import FAMILIES
from tmsjax.kinds.autoencoders import MOST_ACTIVE, largest, unit_columns


@pytest.mark.parametrize("count", [1, 2, 5, MOST_ACTIVE])
def test_the_largest_latents_are_kept(count):
    z = np.maximum(np.random.default_rng(0).normal(size=40), 0).astype(np.float32)
    kept = np.asarray(largest(jnp.asarray(z), np.float32(count)))
    np.testing.assert_array_equal(kept, np.where(np.isin(z, np.sort(z)[-count:]), z, 0))
    few = np.array([0, 0, 3, 1, 0], np.float32)
    np.testing.assert_array_equal(largest(jnp.asarray(few), np.float32(4)), few)


def test_gradients_pass_only_through_the_largest():
    z = jnp.asarray([0.5, 2.0, 1.0], jnp.float32)
    np.testing.assert_array_equal(jax.grad(lambda z: largest(z, np.float32(2)).sum())(z), [0, 1, 1])


def test_latents_that_are_features_reconstruct_and_pay_the_penalty():
    family = FAMILIES["sparse-autoencoder"]
    D = np.array([[2.0, 0, -1], [0, 3.0, 0]], np.float32)
    p = {"E": unit_columns(D).T, "b": np.zeros(3, np.float32), "D": D}
    x, relu = np.array([0.5, 2.0], np.float32), lambda v: jnp.maximum(v, 0)
    np.testing.assert_allclose(family.apply(p, x, relu, latents=3), x, rtol=1e-5)
    np.testing.assert_allclose(family.apply(p, x, relu, latents=1), [0.5, 0], rtol=1e-5)
    assert family.penalty(p, x, relu, latents=3, l1=0.1) == pytest.approx(0.25)
    assert family.penalty(p, x, relu, latents=1, l1=0.1) == pytest.approx(0.05)
    top = FAMILIES["top-k-autoencoder"]
    np.testing.assert_allclose(top.apply(p, x, relu, latents=3, active=1), [0, 2.0], rtol=1e-5)
