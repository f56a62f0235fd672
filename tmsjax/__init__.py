"""tmsjax: sweeps over millions of toy models of superposition in JAX, beside exact theory.

Notebook: `run = tmsjax.run_sweep("sweeps/one_neuron_relu.toml")`, `tmsjax.phase_map(run.dataset)`,
`tmsjax.compare(run)`, `tmsjax.plots.phase_map(...)`. Names are imported when first used, so that reading a run
needs no jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tmsjax import pairs as pairs
    from tmsjax import plots as plots
    from tmsjax import polytopes as polytopes
    from tmsjax import theory as theory
    from tmsjax.analysis import phase_map as phase_map
    from tmsjax.comparison import compare_run as compare
    from tmsjax.expected import relu_loss as exact_loss
    from tmsjax.features import best as best
    from tmsjax.features import measures as measures
    from tmsjax.loader import load_spec as load_spec
    from tmsjax.optimum import exact_optimum as exact_optimum
    from tmsjax.run import open_run as open_run
    from tmsjax.studies import figures as figures
    from tmsjax.sweep import run_sweep as run_sweep

_FACE = {
    "load_spec": ("loader", "load_spec"),
    "run_sweep": ("sweep", "run_sweep"),
    "open_run": ("run", "open_run"),
    "phase_map": ("analysis", "phase_map"),
    "figures": ("studies", "figures"),
    "measures": ("features", "measures"),
    "best": ("features", "best"),
    "compare": ("comparison", "compare_run"),
    "exact_loss": ("expected", "relu_loss"),
    "exact_optimum": ("optimum", "exact_optimum"),
    "theory": ("theory", None),
    "pairs": ("pairs", None),
    "polytopes": ("polytopes", None),
    "plots": ("plots", None),
}
__all__ = [  # the keys of _FACE
    "best",
    "compare",
    "exact_loss",
    "exact_optimum",
    "figures",
    "load_spec",
    "measures",
    "open_run",
    "pairs",
    "phase_map",
    "plots",
    "polytopes",
    "run_sweep",
    "theory",
]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'tmsjax' has no attribute {name!r}")
    module, attribute = _FACE[name]
    loaded = import_module(f"tmsjax.{module}")
    value = loaded if attribute is None else getattr(loaded, attribute)
    globals()[name] = value
    return value
