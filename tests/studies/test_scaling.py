"""Scaling: its fits and measures against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from conftest import POLYTOPES
from studies.scaling import study as scaling

from tmsjax.spec import load_spec

M = np.array(scaling.SIZES, float)


@pytest.mark.parametrize("k", [0.1, 0.7, 2.0])
def test_a_power_law_has_its_exponent_and_no_interval(k):
    values = 3 * M[:, None] ** -k * np.array([0.5, 1.0, 2.0])
    found = scaling.fit(scaling.SIZES, values)
    assert found["value"] == pytest.approx(k, abs=1e-12)
    assert found["half"] == pytest.approx(0, abs=1e-6)
    assert found["squared"] == pytest.approx(1)


def test_nineteen_of_twenty_intervals_contain_the_exponent():
    rng = np.random.default_rng(0)
    noise = np.exp(0.05 * rng.normal(size=(400, len(M), 3)))
    found = [scaling.fit(scaling.SIZES, one / M[:, None]) for one in noise]
    inside = np.mean([abs(one["value"] - 1) <= one["half"] for one in found])
    assert 0.92 < inside < 0.98


def test_a_diverged_seed_is_left_out():
    values = np.repeat(M[:, None] ** -1.5, 3, 1)
    values[2, 1] = np.nan
    assert scaling.fit(scaling.SIZES, values)["value"] == pytest.approx(1.5)


@pytest.mark.parametrize("name", ["triangle", "tetrahedron", "pentagon", "square antiprism", "orthogonal"])
def test_regular_polytopes_have_the_least_overlap(name):
    W = POLYTOPES[name][0].T * np.linspace(0.6, 2, len(POLYTOPES[name][0]))
    n, m = W.shape[1], W.shape[0]
    unit = W / np.linalg.norm(W, axis=0)
    pairs = [(unit[:, i] @ unit[:, j]) ** 2 for i in range(n) for j in range(n) if i != j]
    assert scaling.mean_overlap(W) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert scaling.mean_overlap(W) == pytest.approx(scaling.welch(n, m), abs=1e-12)


def test_random_directions_overlap_by_one_over_m():
    W = np.random.default_rng(0).normal(size=(20, 2000))
    assert scaling.mean_overlap(W) == pytest.approx(1 / 20, rel=0.01)
    assert np.isnan(scaling.mean_overlap(W[:, :1]))
    assert scaling.welch(20, 20) == scaling.welch(3, 20) == 0


def test_ignored_features_cost_their_variance_and_all_of_them_everything_but_their_means():
    p = np.array([0.5, 0.25, 0.25])
    lost = p / 3 - p**2 / 4
    assert scaling.ignored(p) == pytest.approx(lost.sum() * 3)
    assert scaling.ignored(p, slice(2, None)) == pytest.approx(lost[2] * 3)
    assert scaling.ignored(p, np.array([True, False, True])) == pytest.approx((lost[0] + lost[2]) * 3)
    assert scaling.ignored(p, slice(3, None)) == 0


def test_measures_of_known_models():
    """Two models, an ideal weak one and a diverged one; probabilities add up to 1."""
    W = np.zeros((1, 1, 2, 3, 5))
    W[0, 0, 0, :, :3] = np.eye(3)
    coords = ("exponent", "weight_decay", "replica")
    data = xr.Dataset(
        {
            "W": ((*coords, "hidden", "feature"), W),
            "loss": (coords, np.full((1, 1, 2), 0.1)),
            "status": (coords, np.array([[[0, 1]]])),
        }
    )
    p = np.full((1, 5), 0.2)
    found = scaling.of_models(SimpleNamespace(dataset=data), p)
    assert found["loss"][0, 0, 0] == pytest.approx(0.3)
    assert found["share"][0, 0, 0] == 0.6
    assert found["unlearned"][0, 0, 0] == pytest.approx(2 * 0.2 - 0.75 * 2 * 0.04)
    assert found["overlap"][0, 0, 0] == found["welch"][0, 0, 0] == 0
    assert all(np.isnan(values[0, 0, 1]) for values in found.values())


def test_sizes_go_where_they_belong():
    one = {"loss": np.arange(6.0).reshape(2, 3, 1)}  # (exponent, weight decay, replica)
    found = scaling.by_size([one, {"loss": 10 * one["loss"]}])["loss"]
    assert found.shape == (3, 2, 2, 1)
    assert found[2, 1, 1, 0] == 50


def test_probabilities_fall_by_their_exponent_and_init_scales_by_the_root_of_the_size():
    spec = load_spec(scaling.STUDY.sweep("scaling.toml"))
    p = spec.evaluate("feature_probability").reshape(5, -1)
    np.testing.assert_allclose(p.sum(-1), 1)
    np.testing.assert_allclose(p[:, 0] / p[:, 9], 10.0 ** np.array(spec.axis["exponent"].values))
    assert spec.evaluate("init_scale").item() == pytest.approx(spec.model.hidden**-0.5)
    for name, sweep in scaling.RUNS.items():
        changed = load_spec(scaling.STUDY.sweep("scaling.toml"), sweep.changes)
        assert changed.model.hidden == int(name.removeprefix("scaling_"))
        assert changed.evaluate("init_scale").item() == pytest.approx(changed.model.hidden**-0.5, rel=1e-3)
