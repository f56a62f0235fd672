"""Theory: the solutions that training should find.

The paper's candidate solutions (candidates.py), their generalisation to any n and m (pairs.py) and optima of attention
heads (heads.py) need only numpy and SciPy. Exact optima (optimum.py) and the points where they jump (boundary.py) need
jax, in float64. Imports kinds, models and engine; does not know about runs.
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
from tmsjax.theory.heads import (
    HeadOptimum,
    linear_loss,
    linear_optimum,
    rank_one_loss,
    rank_one_optimum,
    target_square,
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
    "HeadOptimum",
    "Jump",
    "Optimum",
    "best_assignment",
    "candidate_boundary",
    "candidate_losses",
    "candidate_weights",
    "candidates",
    "exact_optimum",
    "jump",
    "linear_loss",
    "linear_optimum",
    "onset",
    "pair_costs",
    "rank_one_loss",
    "rank_one_optimum",
    "target_square",
    "variance",
]
