"""What docs/atlas.md says of the winners with equal importances; the largest transitions again, by other means."""

import json
from itertools import pairwise, product

import numpy as np
import pytest
from atlas import who_wins
from conftest import ROOT

from tmsjax import theory
from tmsjax.models import expected

FOUND = json.loads((ROOT / "docs" / "atlas.json").read_text())["who-wins"]
SIZES = FOUND["sizes"]


def polygon(count: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)])


def cell_of(n: int):
    return lambda p: (np.ones(n), np.full(n, p))


def transition(size: str, before: str, after: str) -> dict:
    changes = [c for c in SIZES[size]["transitions"] if (c["before"]["name"], c["after"]["name"]) == (before, after)]
    assert len(changes) == 1
    return changes[0]


def test_phases_cover_the_range_and_meet_at_the_transitions():
    for one in SIZES.values():
        borders = [phase["from"] for phase in one["phases"]] + [one["phases"][-1]["to"]]
        assert borders == sorted(borders)
        assert (borders[0], borders[-1]) == (0.001, 1.0)
        assert borders[1:-1] == [change["p"] for change in one["transitions"]]


def test_first_order_transitions_join_two_minima_and_continuous_ones_do_not_jump():
    for one in SIZES.values():
        for change in one["transitions"]:
            assert change["gap"] < 1e-6
            if change["order"] == "first":
                assert min(change["curvature"]) > 0
                assert change["jump"] > 0.05
            else:
                assert change["jump"] < 0.05
                assert change["before"]["symmetries"] != change["after"]["symmetries"]


@pytest.mark.parametrize("size", ["2_1", "3_1", "3_2", "4_2", "4_3"])
def test_losses_agree_at_transitions_by_quadrature(size):
    """By the integration of models/expected.py, which shares no code with the search."""
    n = int(size[0])
    for change in SIZES[size]["transitions"]:
        models = [[np.array(change[side][part]) for part in ("W", "b")] for side in ("before", "after")]
        losses = [float(expected.relu_loss(W, b, np.ones(n), np.full(n, change["p"]))) for W, b in models]
        assert losses[0] == pytest.approx(losses[1], rel=5e-5)


def test_the_certificate_holds():
    found = FOUND["certificate"]
    assert found["lower_by"] < 1e-9
    assert found["gradient"] < 5e-6
    assert found["curvature"] > -1e-8
    assert found["transitions"] == found["first_order"] + found["continuous"]
    assert found["checks"] == 4 * len(SIZES)


def test_the_two_feature_transition_is_that_of_the_phase_changes():
    jump = json.loads((ROOT / "docs" / "phase_changes.json").read_text())["exact"]["jump"]
    at_one = jump["probability"][jump["ratio"].index(1.0)]
    assert transition("2_1", "digon", "uneven digon")["p"] == pytest.approx(at_one, abs=2e-4)


@pytest.mark.parametrize(
    ("size", "before", "after", "low", "high"),
    [("3_2", "digon + dedicated", "triangle", 0.505, 0.535), ("4_3", "digon + 2 dedicated", "tetrahedron", 0.47, 0.52)],
)
def test_a_simplex_replaces_a_digon_and_dedicated_dimensions(size, before, after, low, high):
    n = int(size[0])
    digon = np.column_stack([np.eye(n - 1), -np.eye(n - 1)[0]])
    simplex = np.linalg.svd(np.eye(n) - 1 / n)[2][: n - 1]
    crossing = theory.crossing((digon, np.zeros(n)), (simplex, np.full(n, 0.2)), cell_of(n), low, high)
    assert transition(size, before, after)["p"] == pytest.approx(crossing, abs=5e-4)


@pytest.mark.slow
def test_four_features_in_a_plane_are_two_digons_then_a_triangle_without_the_fourth():
    digons = np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]]), np.zeros(4)
    triangle = np.column_stack([0.87 * polygon(3), [0, 0]]), np.array([0.33, 0.33, 0.33, 0.35])
    crossing = theory.crossing(digons, triangle, cell_of(4), 0.637, 0.651)
    assert transition("4_2", "2 digons", "triangle, 1 absent")["p"] == pytest.approx(crossing, abs=5e-4)


@pytest.mark.slow
def test_rare_features_in_a_plane_are_polygons():
    five, six = SIZES["5_2"]["phases"], SIZES["6_2"]["phases"]
    assert [phase["name"] for phase in five[:2]] == ["pentagon", "2 digons, 1 absent"]
    names = ["hexagon", "pentagon, 1 weak", "pentagon, 1 absent", "2 digons, 2 absent"]
    assert [phase["name"] for phase in six[:4]] == names
    hexagon = 1.2 * polygon(6), np.full(6, -0.4)
    pentagon = np.column_stack([1.1 * polygon(5), [0.28, 0]]), np.array([-0.2] * 5 + [0.05])
    crossing = theory.crossing(hexagon, pentagon, cell_of(6), 0.064, 0.073)
    assert transition("6_2", "hexagon", "pentagon, 1 weak")["p"] == pytest.approx(crossing, abs=5e-4)


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
    assert who_wins.symmetry(polygon(5), np.zeros(5)) == (10, (5,))
    assert who_wins.symmetry(polygon(3), np.array([0.0, 0, 0.1])) == (2, (2, 1))
    assert who_wins.symmetry(np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]]), np.zeros(4)) == (8, (4,))


def test_names_of_known_models():
    assert who_wins.named(np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]])) == "2 digons"
    assert who_wins.named(np.array([[1.0, -0.4, 0.2, 0]])) == "uneven digon, 1 weak, 1 absent"
    assert who_wins.named(np.array([[1.0, -1, 0.4]])) == "line 2:1"
    assert who_wins.named(polygon(3) * np.array([1, 1, -1])) == "triangle (1 reversed)"
    assert who_wins.named(polygon(6)) == "hexagon"
    assert who_wins.named(np.array([[1.0, 0.8, 0.1, -0.5], [0, 0.6, 0.9, 0.8]])) == "irregular 4 in 2D"


def test_digons_win_at_two_features_per_dimension():
    for size, name, last in (
        ("2_1", "digon", "pair"),
        ("4_2", "2 digons", "two_digons"),
        ("6_3", "3 digons", "three_digons"),
    ):
        first = SIZES[size]["phases"][0]
        assert (first["name"], first["to"]) == (name, FOUND["told"][last])
        assert first["to"] > 0.6


def test_all_transitions_that_the_text_mentions_were_found():
    assert set(FOUND["told"]) == set(who_wins.TOLD)


def test_equal_parts_have_equal_transitions():
    told = FOUND["told"]
    assert told["bipyramid"] == pytest.approx(told["triangle"], rel=1e-4)
    assert transition("6_2", "pentagon, 1 absent", "2 digons, 2 absent")["p"] == pytest.approx(
        told["pentagon"], rel=1e-4
    )


@pytest.mark.slow
def test_a_search_finds_the_transition_of_two_features():
    winners = [who_wins.searched(2, 1, p, 12) for p in (0.66, 0.74)]
    changes = [change for one, other in pairwise(winners) for change in who_wins.between(one, other, 8)]
    assert [change["order"] for change in changes] == ["first"]
    assert changes[0]["p"] == pytest.approx(0.7064, abs=2e-4)
    assert all(one.gradient < 1e-10 and one.curvature > 0 for one in winners)


@pytest.mark.slow
def test_a_search_finds_a_bifurcation_of_four_features():
    """A fourth feature appears beside the triangle, from norm 0."""
    low, high = (who_wins.moved(who_wins.Winner(p, *triangle(), 0, 0, 0), p) for p in (0.9, 0.93))
    changes = who_wins.between(low, high, 4)
    assert [change["order"] for change in changes] == ["continuous"]
    assert changes[0]["p"] == pytest.approx(transition("4_2", "triangle, 1 absent", "triangle, 1 weak")["p"], abs=5e-4)


def triangle() -> tuple[np.ndarray, np.ndarray]:
    return np.column_stack([0.84 * polygon(3), [0.001, 0]]), np.array([0.43, 0.43, 0.43, 0.45])
