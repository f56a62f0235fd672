"""Theory: exact losses, and the solutions that training should find. Which function to call for which models:

==============================  =======================  ====================================  ======================
models                          exact loss               optimum                               cost
==============================  =======================  ====================================  ======================
the paper's, weights 0 and ±1   `candidate_losses`       `candidate_weights`,                  numpy, any map
                                                         `candidate_boundary`
pairs and dedicated features,   `best_assignment`        `best_assignment`                     SciPy, a cell at a time
any n and m
ReLU, n = 2 or 3, many cells    `tmsjax.exact_loss`      `exact_optimum`: the global one       jax, seconds for a map
ReLU, (2, 1), curves            `tmsjax.exact_loss`      `jump`; `onset`, by second order      jax; SciPy
ReLU, n up to 8, one cell       `exact_losses`           `minima`: those that random starts    jax, grows as 2^n
                                                         find; `follow`: one, cell by cell
linear, any n and m             `models.linear_loss`     the m features of largest I v(p),     numpy
                                                         v(p) their `variance`
==============================  =======================  ====================================  ======================

ReLU models are tied and have a bias, values are uniform, and features independent or active together in a way of
`kinds.ACTIVITIES`. What needs jax computes in float64 and returns the gradient that is left. `tmsjax.exact_loss` (n up
to 5) is vectorized over models and runs in numpy and in jax. Other models' theory stands beside the study that asks
for it, in scripts/studies. Imports kinds, models and engine; does not know about runs.

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
