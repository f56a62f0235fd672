"""Stationary points and the eigenvalues of the Hessian there, against closed forms and second differences."""

import numpy as np
import pytest
from studies.who_wins.curvature import stationary

from tmsjax import theory

ONE, P = np.ones(3), np.full(3, 0.6)


def triangle() -> tuple[np.ndarray, np.ndarray]:
    angle = 2 * np.pi * np.arange(3) / 3
    return 0.9 * np.stack([np.cos(angle), np.sin(angle)]), np.full(3, 0.2)


@pytest.mark.slow
def test_newton_reaches_the_minimum_that_descents_find():
    found = stationary(*triangle(), ONE, P)
    best = theory.minima(ONE, P, 2, starts=12)
    assert found.gradient < 1e-12
    assert found.loss == pytest.approx(best.loss[0], rel=1e-12)
    assert found.eigenvalues.min() > 0


def test_rotations_are_left_out_of_the_eigenvalues():
    found = stationary(*triangle(), ONE, P)
    assert len(found.eigenvalues) == 2 * 3 + 3 - 1
    assert found.eigenvalues.min() > 1e-2
    line = stationary(np.array([[1.0, -1.0]]), np.zeros(2), ONE[:2], P[:2])
    assert len(line.eigenvalues) == 2 + 2


def test_eigenvalues_are_those_of_second_differences():
    W, b = np.array([[0.9, -0.7]]), np.array([0.1, 0.15])
    found = stationary(W, b, ONE[:2], P[:2])
    at, h = np.concatenate([found.W[0], found.b]), 1e-4

    def loss(theta: np.ndarray) -> float:
        return theory.exact_losses(theta[None, None, :2], theta[None, 2:], ONE[:2], P[:2])[0]

    steps = h * np.eye(4)
    hessian = [
        [(loss(at + u + v) - loss(at + u - v) - loss(at - u + v) + loss(at - u - v)) for u in steps] for v in steps
    ]
    unit = P[:2].sum() / 3
    np.testing.assert_allclose(np.linalg.eigvalsh(np.array(hessian) / (4 * h * h) / unit), found.eigenvalues, atol=1e-5)


def test_a_saddle_has_a_negative_eigenvalue():
    """One feature is represented, the other one not: at p = 0.3 the model gains by adding it as the antipode."""
    found = stationary(np.array([[1.0, 0.0]]), np.array([0.0, 0.15]), ONE[:2], np.full(2, 0.3))
    assert found.gradient < 1e-12
    assert found.W[0, 1] == pytest.approx(0, abs=1e-9)
    assert found.eigenvalues[0] < -0.01


def test_bad_shapes_are_errors():
    with pytest.raises(ValueError, match="must be"):
        stationary(np.ones((1, 3)), np.zeros(3), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="must be"):
        stationary(np.ones((1, 2)), np.zeros(3), np.ones(2), np.ones(2))
