"""Theory: the solutions that training should find.

The paper's candidate solutions (candidates.py) and their generalisation to any n and m (pairs.py) need only numpy and
SciPy. Exact optima of 2 or 3 features (optimum.py), the points where they jump (boundary.py), and all local minima of
up to 8 features (landscape.py) need jax, in float64. Imports kinds, models and engine; does not know about runs.

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
from tmsjax.theory.pairs import INTERFERENCE, Assignment, best_assignment, pair_costs

if TYPE_CHECKING:
    from tmsjax.theory.boundary import Jump, jump
    from tmsjax.theory.landscape import Branch, Minima, crossing, exact_losses, follow, minima
    from tmsjax.theory.optimum import Optimum, exact_optimum

_PLACES = {
    "Branch": "landscape",
    "Jump": "boundary",
    "Minima": "landscape",
    "Optimum": "optimum",
    "crossing": "landscape",
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
    "Jump",
    "Minima",
    "Optimum",
    "best_assignment",
    "candidate_boundary",
    "candidate_losses",
    "candidate_weights",
    "candidates",
    "crossing",
    "exact_losses",
    "exact_optimum",
    "follow",
    "jump",
    "minima",
    "onset",
    "pair_costs",
    "variance",
]
