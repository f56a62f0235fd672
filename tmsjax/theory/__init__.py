"""Theory: the solutions that training should find.

The paper's candidate solutions (candidates.py) and their generalisation to any n and m (pairs.py) need only numpy and
SciPy. Exact optima (optimum.py) and the points where they jump (boundary.py) need jax, in float64. Imports kinds,
models and engine; does not know about runs.
"""

from typing import TYPE_CHECKING

from tmsjax.lazy import attach
from tmsjax.theory.candidates import (
    candidate_boundary,
    candidate_losses,
    candidate_weights,
    candidates,
    onset,
    variance,
)
from tmsjax.theory.pairs import INTERFERENCE, Assignment, best_assignment, pair_costs

if TYPE_CHECKING:
    from tmsjax.theory.boundary import Jump, jump
    from tmsjax.theory.optimum import Optimum, exact_optimum

__getattr__ = attach(
    __name__, {"Jump": "boundary", "jump": "boundary", "Optimum": "optimum", "exact_optimum": "optimum"}
)
__all__ = [
    "INTERFERENCE",
    "Assignment",
    "Jump",
    "Optimum",
    "best_assignment",
    "candidate_boundary",
    "candidate_losses",
    "candidate_weights",
    "candidates",
    "exact_optimum",
    "jump",
    "onset",
    "pair_costs",
    "variance",
]
