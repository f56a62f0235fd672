"""Counter-based random numbers and the identities that they are computed from."""

import jax
import jax.numpy as jnp
import numpy as np
from conftest import bound, small_spec
from jax.extend.random import threefry_2x32
from scipy import stats

from tmsjax.engine import threefry, train
from tmsjax.engine.streams import Shared
from tmsjax.models.instances import identities, instances
from tmsjax.spec import load_spec


def key_of(seed: int, purpose: int, step: int):
    return threefry.purpose_key(Shared.of(seed, 0).seed, purpose, step)


def test_threefry_is_jaxs():
    key = np.array([0x12345678, 0x9ABCDEF0], np.uint32)
    counters = np.arange(20, dtype=np.uint32) * np.uint32(7919)
    ours = threefry.threefry((key[0], key[1]), (counters[:10], counters[10:]))
    np.testing.assert_array_equal(np.concatenate(ours), threefry_2x32(key, counters))


def test_own_bits_are_the_same_one_by_one_and_however_the_rounds_are_computed():
    key, identity, shared = (
        key_of(3, threefry.OFFSET, 17),
        jnp.array([123, 456], jnp.uint32),
        Shared.of(3, 9, apart=True),
    )
    one_by_one = np.array(threefry.own_words(key, tuple(identity), 5))
    for rounds in (threefry.threefry, threefry.looped, shared.rounds):
        np.testing.assert_array_equal(threefry.own_bits(key, identity, 5, rounds), one_by_one)
        np.testing.assert_array_equal(threefry.purpose_key(shared.seed, threefry.OFFSET, 17, rounds), key)


def test_purposes_steps_seeds_and_identities_draw_different_bits():
    draws = [
        tuple(np.asarray(threefry.own_bits(key_of(seed, purpose, step), jnp.uint32([identity, 1]), 4)))
        for seed in (0, 1, 2**33)
        for purpose in (threefry.INIT, threefry.OFFSET)
        for step in (0, 1)
        for identity in (5, 6)
    ]
    assert len({word for draw in draws for word in draw}) == 4 * len(draws)


def test_normal_follows_the_normal_distribution():
    bits = threefry.shared_bits(key_of(0, threefry.INIT, 0), 50_000, 4)
    assert stats.kstest(np.asarray(threefry.normal(bits)).reshape(-1), "norm").pvalue > 1e-3


def test_shared_columns_are_those_of_the_shared_bits():
    key = key_of(0, threefry.STREAM, 3)
    together = threefry.shared_bits(key, 10, 5)
    assert len({*np.asarray(together).reshape(-1).tolist()}) == 50
    np.testing.assert_array_equal(np.stack(threefry.shared_columns(key, 10, 5), axis=1), together)


def test_identity_ignores_other_cells_and_the_order_of_axes():
    base = load_spec(small_spec())
    grown = small_spec()
    grown["axes"] = {
        "replica": {"count": 5},
        "extra_importance": {"values": [3.0, 10.0, 0.1]},
        "feature_probability": {"values": [1.0, 0.5, 0.1]},
    }
    grown = load_spec(grown)
    ours = identities(base).reshape(base.shape)
    theirs = identities(grown).reshape(grown.shape)
    # base: p in (1, .1), r in (.1, 1, 10), 2 replicas
    np.testing.assert_array_equal(ours[0, 2, :2], theirs[:2, 1, 0])
    np.testing.assert_array_equal(ours[1, 0, :2], theirs[:2, 2, 2])
    assert len(np.unique(theirs)) == theirs.size


def test_identity_is_of_the_value_not_of_how_it_is_written():
    counted, listed = small_spec(), small_spec()
    listed["axes"]["replica"] = {"values": [1.0, 0.0]}
    ours, theirs = (identities(load_spec(raw)).reshape(2, 3, 2) for raw in (counted, listed))
    np.testing.assert_array_equal(ours, theirs[:, :, ::-1])


def test_rows_of_the_table_follow_c_order_and_replicas_share_the_cell_identity_only():
    table = instances(load_spec(small_spec()))
    assert len(np.unique(table.cell, axis=0)) == 6
    assert len(np.unique(table.identity, axis=0)) == 12
    np.testing.assert_array_equal(table.cell[0], table.cell[1])
    np.testing.assert_allclose(table.feature_probability[:, 0], [1.0] * 6 + [0.1] * 6, rtol=1e-6)
    np.testing.assert_allclose(table.importance[:6, 1], [0.1, 0.1, 1, 1, 10, 10], rtol=1e-6)
    np.testing.assert_array_equal(table.importance[:, 0], 1)


def test_init_scale_does_not_depend_on_how_many_models_run():
    raw = small_spec(instance={"init_scale": 1.5}, init={"bias_scale": 0.5})
    raw["axes"]["replica"] = {"count": 3000}
    problem, _, shared = bound(raw)
    table = jax.tree.map(jnp.asarray, instances(load_spec(raw)))
    state = jax.vmap(lambda row: train.init(row, shared, problem))(table)
    W, b = np.asarray(state.params["W"]).reshape(-1), np.asarray(state.params["b"]).reshape(-1)
    assert abs(W.std() - 1.5) < 0.02
    assert abs(b.std() - 0.5) < 0.007
    assert abs(np.corrcoef(W[::2], W[1::2])[0, 1]) < 0.03
