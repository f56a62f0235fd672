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
from tmsjax.theory.candidates import candidate_boundary as candidate_boundary
from tmsjax.theory.candidates import candidate_losses as candidate_losses
from tmsjax.theory.candidates import candidate_weights as candidate_weights
from tmsjax.theory.candidates import candidates as candidates
from tmsjax.theory.candidates import onset as onset
from tmsjax.theory.candidates import variance as variance

if TYPE_CHECKING:  # imported when they are first used
    from tmsjax.theory.boundary import jump as jump
    from tmsjax.theory.curvature import Stationary as Stationary
    from tmsjax.theory.curvature import stationary as stationary
    from tmsjax.theory.heads import HeadOptimum as HeadOptimum
    from tmsjax.theory.heads import head_linear_loss as head_linear_loss
    from tmsjax.theory.heads import head_linear_optimum as head_linear_optimum
    from tmsjax.theory.heads import rank_one_loss as rank_one_loss
    from tmsjax.theory.heads import rank_one_optimum as rank_one_optimum
    from tmsjax.theory.heads import target_square as target_square
    from tmsjax.theory.landscape import Branch as Branch
    from tmsjax.theory.landscape import branch_end as branch_end
    from tmsjax.theory.landscape import crossing as crossing
    from tmsjax.theory.landscape import exact_losses as exact_losses
    from tmsjax.theory.landscape import follow as follow
    from tmsjax.theory.landscape import minima as minima
    from tmsjax.theory.one_hot import KGon as KGon
    from tmsjax.theory.one_hot import OneHotMinima as OneHotMinima
    from tmsjax.theory.one_hot import k_gon as k_gon
    from tmsjax.theory.one_hot import one_hot_curvature as one_hot_curvature
    from tmsjax.theory.one_hot import one_hot_gradient as one_hot_gradient
    from tmsjax.theory.one_hot import one_hot_loss as one_hot_loss
    from tmsjax.theory.one_hot import one_hot_minima as one_hot_minima
    from tmsjax.theory.one_neuron import LocalMinima as LocalMinima
    from tmsjax.theory.one_neuron import Onset as Onset
    from tmsjax.theory.one_neuron import one_neuron_loss as one_neuron_loss
    from tmsjax.theory.one_neuron import one_neuron_minima as one_neuron_minima
    from tmsjax.theory.one_neuron import one_neuron_onset as one_neuron_onset
    from tmsjax.theory.optimum import exact_optimum as exact_optimum
    from tmsjax.theory.pairs import INTERFERENCE as INTERFERENCE
    from tmsjax.theory.pairs import best_assignment as best_assignment
    from tmsjax.theory.quadratic import Allocation as Allocation
    from tmsjax.theory.quadratic import Descents as Descents
    from tmsjax.theory.quadratic import allocation as allocation
    from tmsjax.theory.quadratic import marginal_benefit as marginal_benefit
    from tmsjax.theory.quadratic import quadratic_descents as quadratic_descents
    from tmsjax.theory.quadratic import quadratic_loss as quadratic_loss

__getattr__, __dir__, __all__ = attach(__name__)
