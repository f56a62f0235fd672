"""tmsjax: sweeps over millions of toy models of superposition in JAX, compared with exact theory.

In a notebook: `run = tmsjax.run_sweep("sweeps/one_neuron_relu.toml")`, `tmsjax.phase_map(run)`, `tmsjax.compare(run)`,
`tmsjax.figures(run)`, `run.explore()`. Names are imported on first use, so that reading a run does not import jax.

The packages ("rooms"), each of which imports only from those before it: kinds, spec, models, engine, theory, runs,
analysis, plots, explorer. The command line (cli.py) and this module import from all of them.

Examples:
    >>> run.dataset["W"].dims
    ('feature_probability', 'extra_importance', 'replica', 'hidden', 'feature')
    >>> tmsjax.phase_map(run)["phase"].shape
    (3, 3)
"""

from typing import TYPE_CHECKING

from tmsjax.lazy import attach

if TYPE_CHECKING:  # imported when they are first used
    from tmsjax import plots as plots
    from tmsjax import theory as theory
    from tmsjax.analysis import best as best
    from tmsjax.analysis import compare as compare
    from tmsjax.analysis import measures as measures
    from tmsjax.analysis import phase_map as phase_map
    from tmsjax.engine import training_set as training_set
    from tmsjax.errors import RunError as RunError
    from tmsjax.errors import SpecError as SpecError
    from tmsjax.explorer import explore as explore
    from tmsjax.kinds import Option as Option
    from tmsjax.kinds import add_activation as add_activation
    from tmsjax.kinds import add_activity as add_activity
    from tmsjax.kinds import add_family as add_family
    from tmsjax.kinds import add_init as add_init
    from tmsjax.kinds import add_loss as add_loss
    from tmsjax.kinds import add_measure as add_measure
    from tmsjax.kinds import add_optimizer as add_optimizer
    from tmsjax.kinds import add_sampler as add_sampler
    from tmsjax.kinds import add_schedule as add_schedule
    from tmsjax.kinds import add_study as add_study
    from tmsjax.kinds import add_values as add_values
    from tmsjax.kinds import elementwise as elementwise
    from tmsjax.models import exact_loss as exact_loss
    from tmsjax.models import moments as moments
    from tmsjax.plots import figures as figures
    from tmsjax.runs import Run as Run
    from tmsjax.runs import open_run as open_run
    from tmsjax.runs import run_sweep as run_sweep
    from tmsjax.spec import Spec as Spec
    from tmsjax.spec import load_spec as load_spec
    from tmsjax.theory import exact_optimum as exact_optimum

__getattr__, __dir__, __all__ = attach(__name__)
