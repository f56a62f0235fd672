"""Theory: the solutions that training should find.

The paper's candidate solutions (candidates.py), their generalisation to any n and m (pairs.py), optima of attention
heads (heads.py), of the quadratic model of capacity (quadratic.py) and of one-hot data (one_hot.py) need only numpy
and SciPy. Exact optima of 2 or 3 features (optimum.py), the points where they jump (boundary.py), and all local minima
of up to 8 features (landscape.py) need jax, in float64. Imports kinds, models and engine; does not know about runs.

Examples:
    >>> W = tmsjax.theory.candidates(2)  # drop feature 2, drop feature 1, or an antipodal pair
    >>> tmsjax.theory.candidate_losses(np.array([1.0, 0.5]), np.array([0.1, 0.1])).round(4)  # the pair wins
    array([0.0154, 0.0308, 0.0025])
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
    head_linear_loss,
    head_linear_optimum,
    rank_one_loss,
    rank_one_optimum,
    target_square,
)
from tmsjax.theory.pairs import INTERFERENCE, Assignment, best_assignment, pair_costs

if TYPE_CHECKING:
    from tmsjax.theory.boundary import Jump, jump
    from tmsjax.theory.landscape import Branch, Minima, branch_end, crossing, exact_losses, follow, minima
    from tmsjax.theory.optimum import Optimum, exact_optimum

_PLACES = {
    "Branch": "landscape",
    "Jump": "boundary",
    "Minima": "landscape",
    "Optimum": "optimum",
    "crossing": "landscape",
    "branch_end": "landscape",
    "exact_optimum": "optimum",
    "follow": "landscape",
    "jump": "boundary",
    "exact_losses": "landscape",
    "minima": "landscape",
}
__getattr__ = attach(__name__, _PLACES)
__all__ = [
    "INTERFERENCE",
    "Assignment",
    "Branch",
    "HeadOptimum",
    "Jump",
    "Minima",
    "Optimum",
    "best_assignment",
    "branch_end",
    "candidate_boundary",
    "candidate_losses",
    "candidate_weights",
    "candidates",
    "crossing",
    "exact_losses",
    "exact_optimum",
    "follow",
    "head_linear_loss",
    "head_linear_optimum",
    "jump",
    "minima",
    "onset",
    "pair_costs",
    "rank_one_loss",
    "rank_one_optimum",
    "target_square",
    "variance",
]
