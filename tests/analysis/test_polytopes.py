"""Exact polytopes are recognised in any rotation, order and size, and nothing else is."""

from fractions import Fraction

import numpy as np
import pytest
from conftest import POLYTOPES
from scipy.stats import ortho_group

from tmsjax.analysis import polytopes
from tmsjax.kinds import measures

NAMES = {"antipodal": "digon"} | {name: name for name in ("triangle", "tetrahedron", "pentagon", "square antiprism")}
CORNERS = {NAMES[name]: points.T for name, (points, _) in POLYTOPES.items() if name in NAMES}
CORNERS["dedicated"] = np.ones((1, 1))


def turned(corners: np.ndarray, rng: np.random.Generator, dimensions: int = 6) -> np.ndarray:
    """The corners in another order, turned (or mirrored) in a larger space."""
    frame = ortho_group.rvs(dimensions, random_state=rng)[:, : len(corners)]
    return frame @ corners[:, rng.permutation(corners.shape[1])]


def test_these_are_all_polytopes_and_their_fractions_of_a_dimension():
    assert CORNERS.keys() == polytopes.POLYTOPES.keys() == polytopes.FRACTIONS.keys()
    for name, corners in polytopes.POLYTOPES.items():
        np.testing.assert_allclose(measures.dimensionality(corners), float(Fraction(polytopes.FRACTIONS[name])))


@pytest.mark.parametrize("name", CORNERS)
def test_polytopes_are_recognised_in_any_rotation_order_and_size(name):
    rng = np.random.default_rng(0)
    for size in (0.7, 1.0, 1.3):
        W = size * turned(CORNERS[name], rng)
        assert polytopes.recognise(W) == name
        assert polytopes.recognise(W + 0.02 * rng.standard_normal(W.shape)) == name


@pytest.mark.parametrize("name", [name for name in CORNERS if name != "dedicated"])
def test_a_polytope_with_a_corner_moved_is_another_thing(name):
    W = turned(CORNERS[name], np.random.default_rng(1))
    W[:, 0] += 0.6 * np.linalg.svd(W)[0][:, -1] + 0.3 * W[:, 1]
    assert polytopes.recognise(W) == polytopes.OTHER


def test_near_relatives_are_told_apart():
    angles = 2 * np.pi * np.arange(8) / 8
    flat = np.where(np.arange(8) % 2, -1, 1) * 0.2
    others = {
        "two parallel features": np.array([[1.0, 1.0], [0.0, 0.0]]),
        "square": np.stack([np.cos(angles[::2]), np.sin(angles[::2])]),
        "hexagon": np.stack([np.cos(angles[:6] * 4 / 3), np.sin(angles[:6] * 4 / 3)]),
        "octagon, nearly": np.stack([np.cos(angles), np.sin(angles), flat]),
        "cube": np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)]).T / np.sqrt(3),
        "simplex of five": np.eye(5) - 1 / 5,
    }
    for name, W in others.items():
        assert polytopes.recognise(W) == polytopes.OTHER, name


def test_components_of_a_sum_of_polytopes_are_found_and_recognised():
    rng = np.random.default_rng(2)
    chosen = ["pentagon", "digon", "tetrahedron", "dedicated", "square antiprism", "triangle", "digon"]
    parts = [polytopes.POLYTOPES[name] for name in chosen]
    width, height = (sum(part.shape[axis] for part in parts) for axis in (1, 0))
    W, column, row, group = np.zeros((height, width + 2)), 0, 0, []
    for k, part in enumerate(parts):
        W[row : row + part.shape[0], column : column + part.shape[1]] = part
        row, column = row + part.shape[0], column + part.shape[1]
        group += [k] * part.shape[1]
    order = rng.permutation(width + 2)  # two features are not represented
    group = np.array([*group, -1, -1])[order]
    W = ortho_group.rvs(height, random_state=rng) @ W[:, order]
    found = polytopes.components(W, measures.norms(W) > 0.3)
    assert [len(part) for part in found] == [8, 5, 4, 3, 2, 2, 1]
    for part in found:
        assert len(set(group[part])) == 1
        assert polytopes.recognise(W[:, part]) == chosen[group[part[0]]]


def test_a_weak_overlap_is_no_edge():
    W = np.array([[1.0, 0.15], [0.0, 1.0]])
    every = np.ones(2, bool)
    assert [len(part) for part in polytopes.components(W, every)] == [1, 1]
    assert [len(part) for part in polytopes.components(W, every, edge=0.1)] == [2]
