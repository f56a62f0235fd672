"""Theory: exact losses, and the solutions that training should find.

Which function to call for which models:

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
from tmsjax.theory.candidates import candidate_boundary as candidate_boundary
from tmsjax.theory.candidates import candidate_losses as candidate_losses
from tmsjax.theory.candidates import candidate_weights as candidate_weights
from tmsjax.theory.candidates import candidates as candidates
from tmsjax.theory.candidates import onset as onset
from tmsjax.theory.candidates import variance as variance

if TYPE_CHECKING:  # imported when they are first used
    from tmsjax.theory.boundary import jump as jump
    from tmsjax.theory.landscape import Branch as Branch
    from tmsjax.theory.landscape import crossing as crossing
    from tmsjax.theory.landscape import exact_losses as exact_losses
    from tmsjax.theory.landscape import follow as follow
    from tmsjax.theory.landscape import minima as minima
    from tmsjax.theory.optimum import exact_optimum as exact_optimum
    from tmsjax.theory.pairs import INTERFERENCE as INTERFERENCE
    from tmsjax.theory.pairs import best_assignment as best_assignment

__getattr__, __dir__, __all__ = attach(__name__)
