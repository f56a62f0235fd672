"""tmsjax: sweeps over millions of toy models of superposition in JAX, compared with exact theory.

In a notebook: `run = tmsjax.run_sweep("sweeps/one_neuron_relu.toml")`, `tmsjax.phase_map(run)`, `tmsjax.compare(run)`,
`tmsjax.figures(run)`, `run.explore()`. Names are imported on first use, so that reading a run does not import jax.

The packages ("rooms"), each of which imports only from those before it: kinds, spec, models, engine, theory, runs,
analysis, plots. The command line (cli.py) and this module import from all of them.

Examples:
    >>> run.dataset["W"].dims
    ('feature_probability', 'extra_importance', 'replica', 'hidden', 'feature')
    >>> tmsjax.phase_map(run)["phase"].shape
    (3, 3)
"""

from typing import TYPE_CHECKING

from tmsjax.lazy import attach, names

if TYPE_CHECKING:
    from tmsjax import plots as plots
    from tmsjax import theory as theory
    from tmsjax.analysis import best, measures, phase_map
    from tmsjax.analysis import compare_run as compare
    from tmsjax.engine import training_set
    from tmsjax.errors import RunError, SpecError
    from tmsjax.kinds import (
        Option,
        add_activation,
        add_activity,
        add_family,
        add_measure,
        add_study,
        add_values,
        elementwise,
    )
    from tmsjax.models import relu_loss as exact_loss
    from tmsjax.plots import explore, figures
    from tmsjax.runs import Run, open_run, run_sweep
    from tmsjax.spec import Spec, load_spec
    from tmsjax.theory import exact_optimum

_PLACES = {
    "Option": "kinds",
    "Run": "runs",
    "RunError": "errors",
    "Spec": "spec",
    "SpecError": "errors",
    "add_activation": "kinds",
    "add_activity": "kinds",
    "add_family": "kinds",
    "add_measure": "kinds",
    "add_study": "kinds",
    "add_values": "kinds",
    "best": "analysis",
    "compare": "analysis:compare_run",
    "elementwise": "kinds",
    "exact_loss": "models:relu_loss",
    "exact_optimum": "theory",
    "explore": "plots",
    "figures": "plots",
    "load_spec": "spec",
    "measures": "analysis",
    "open_run": "runs",
    "phase_map": "analysis",
    "plots": "plots:",
    "run_sweep": "runs",
    "theory": "theory:",
    "training_set": "engine",
}
__getattr__, __dir__ = attach(__name__, _PLACES), names(_PLACES)
__all__ = [  # the keys of _PLACES
    "Option",
    "Run",
    "RunError",
    "Spec",
    "SpecError",
    "add_activation",
    "add_activity",
    "add_family",
    "add_measure",
    "add_study",
    "add_values",
    "best",
    "compare",
    "elementwise",
    "exact_loss",
    "exact_optimum",
    "explore",
    "figures",
    "load_spec",
    "measures",
    "open_run",
    "phase_map",
    "plots",
    "run_sweep",
    "theory",
    "training_set",
]
