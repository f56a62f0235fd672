"""The best assignment of features to dimensions, against all assignments and against theory's candidates."""

import numpy as np
import pytest

from tmsjax import theory
from tmsjax.theory import pairs


def every_matching(features: list[int]):
    """All ways to leave some features out, keep some alone and put some in pairs: lists of 1- and 2-tuples."""
    if not features:
        yield []
        return
    first, *rest = features
    for others in every_matching(rest):
        yield others
        yield [(first,), *others]
    for k, second in enumerate(rest):
        for others in every_matching(rest[:k] + rest[k + 1 :]):
            yield [(first, second), *others]


def cost(matching: list, importance, probability, joint) -> float:
    held = {i for group in matching for i in group}
    dropped = sum(importance[i] * (p / 3 - p**2 / 4) for i, p in enumerate(probability) if i not in held)
    shared = [group for group in matching if len(group) == 2]
    return dropped + sum((importance[i] + importance[j]) * joint(probability[i], probability[j]) / 6 for i, j in shared)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_nothing_is_better_than_the_best_assignment(hidden, tied):
    rng = np.random.default_rng(hidden)
    joint = min if tied else lambda p, q: p * q
    for _ in range(6):
        importance, probability = rng.uniform(0.1, 2, 6), rng.uniform(0.02, 1, 6)
        found = pairs.best_assignment(importance, probability, hidden, activity="tied" if tied else "independent")
        every = [m for m in every_matching(list(range(6))) if len(m) <= hidden]
        losses = [cost(m, importance, probability, joint) for m in every]
        best = every[int(np.argmin(losses))]
        assert found.loss == pytest.approx(min(losses), rel=1e-9)
        assert {frozenset(p) for p in found.pairs.tolist()} == {frozenset(g) for g in best if len(g) == 2}
        alone = {g[0] for g in best if len(g) == 1}
        assert set(np.flatnonzero(found.classes == pairs.DEDICATED)) == alone


@pytest.mark.parametrize("values", ["uniform", "constant"])
def test_one_dimension_too_few_gives_the_candidates_of_the_phase_diagram(values):
    rng = np.random.default_rng(0)
    for n in (2, 3, 4):
        importance, probability = rng.uniform(0.1, 2, n), rng.uniform(0.02, 0.9, n)
        found = pairs.best_assignment(importance, probability, n - 1, values=values)
        assert found.loss == pytest.approx(theory.candidate_losses(importance, probability, values).min())


def test_below_four_sevenths_equal_features_pair_up_and_above_they_do_not():
    for p, expected in ((0.55, [pairs.SHARED] * 6), (0.59, [pairs.DEDICATED] * 3 + [pairs.ABSENT] * 3)):
        found = pairs.best_assignment(np.ones(6), np.full(6, p), 3)
        assert sorted(found.classes, key=lambda c: (c == pairs.ABSENT, c)) == expected


def test_what_costs_nothing_is_dropped_and_what_fits_is_dedicated():
    free = pairs.best_assignment(np.zeros(3), np.full(3, 0.5), 2)
    assert (free.classes == pairs.ABSENT).all()
    assert free.loss == 0
    room = pairs.best_assignment(np.ones(3), np.full(3, 0.01), 3)
    assert (room.classes == pairs.DEDICATED).all()
    assert room.loss == pytest.approx(0, abs=1e-15)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        pairs.best_assignment(np.ones((2, 2)), np.ones(2), 1)
    for hidden in (0, 1.5):
        with pytest.raises(ValueError, match="hidden must be a whole number of at least 1"):
            pairs.best_assignment(np.ones(2), np.ones(2), hidden)
    for importance, probability in (([-1, 1], [0.5, 0.5]), ([1, 1], [0.5, 1.5]), ([np.nan, 1], [0.5, 0.5])):
        with pytest.raises(ValueError, match=r"probability in \[0, 1\]"):
            pairs.best_assignment(importance, probability, 1)
    with pytest.raises(ValueError, match="half-normal"):
        pairs.best_assignment([1.0], [0.5], 1, values="gauss")


def test_losses_of_very_different_importances_keep_their_digits():
    found = pairs.best_assignment([1e-12, 1.0, 1e12], [0.1, 0.1, 0.1], 1)
    assert found.loss == pytest.approx((1 + 1e-12) * theory.variance(0.1), rel=1e-12)
