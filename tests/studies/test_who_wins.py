"""The winners with equal importances: the largest transitions again, by other means."""

from itertools import pairwise, product

import numpy as np
import pytest
from studies.who_wins import winners

from tmsjax import theory


def polygon(count: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)])


def cell_of(n: int):
    return lambda p: (np.ones(n), np.full(n, p))


def test_reversing_directions_changes_no_loss_at_density_one():
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(2, 4)) * 0.6, rng.normal(size=4) * 0.2
    gram = W.T @ W
    for p, same in ((1.0, True), (0.9, False)):
        losses = []
        for rest in product((1, -1), repeat=3):
            signs = np.array([1, *rest])
            opposite = signs[:, None] != signs
            losses.append(
                theory.exact_losses((W * signs)[None], (b + (opposite * gram).sum(1))[None], *cell_of(4)(p))[0]
            )
        assert (np.ptp(losses) < 1e-9) == same


def test_symmetries_of_known_models():
    assert winners.symmetry(polygon(5), np.zeros(5)) == (10, (5,))
    assert winners.symmetry(polygon(3), np.array([0.0, 0, 0.1])) == (2, (2, 1))
    assert winners.symmetry(np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]]), np.zeros(4)) == (8, (4,))


def test_names_of_known_models():
    assert winners.named(np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]])) == "2 digons"
    assert winners.named(np.array([[1.0, -0.4, 0.2, 0]])) == "uneven digon, 1 weak, 1 absent"
    assert winners.named(np.array([[1.0, -1, 0.4]])) == "line 2:1"
    assert winners.named(polygon(3) * np.array([1, 1, -1])) == "triangle (1 reversed)"
    assert winners.named(polygon(6)) == "hexagon"
    assert winners.named(np.array([[1.0, 0.8, 0.1, -0.5], [0, 0.6, 0.9, 0.8]])) == "irregular 4 in 2D"


@pytest.mark.slow
def test_a_search_finds_the_transition_of_two_features():
    found = [winners.searched(2, 1, p, 12) for p in (0.66, 0.74)]
    changes = [change for one, other in pairwise(found) for change in winners.between(one, other, 8)]
    assert [change["order"] for change in changes] == ["first"]
    assert changes[0]["p"] == pytest.approx(0.7064, abs=2e-4)
    assert all(one.gradient < 1e-10 and one.curvature > 0 for one in found)


@pytest.mark.slow
def test_a_search_finds_a_bifurcation_of_four_features():
    """A fourth feature appears beside the triangle, from norm 0."""
    low, high = (winners.moved(winners.Winner(p, *triangle(), 0, 0, 0), p) for p in (0.9, 0.93))
    changes = winners.between(low, high, 4)
    assert [change["order"] for change in changes] == ["continuous"]
    assert changes[0]["p"] == pytest.approx(0.9182, abs=5e-4)


def triangle() -> tuple[np.ndarray, np.ndarray]:
    return np.column_stack([0.84 * polygon(3), [0.001, 0]]), np.array([0.43, 0.43, 0.43, 0.45])
