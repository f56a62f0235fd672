"""Plots: figures from a Dataset, arrays or a Run. The only matplotlib; returns Figures and never shows them.

`figures` draws the study that a run's spec names, or those that suit its shape (studies.py). maps.py, features.py,
curves.py and dynamics.py draw; series.py prepares data for curves and cells.py for panels; animation.py holds results
that move; notebook.py shows figures in a notebook; style.py holds shared colours and labels. When imported, registers
with kinds the functions that draw the built-in studies. Does not import jax, so that a run can be drawn anywhere.

Examples:
    >>> figure = tmsjax.plots.phase_map(tmsjax.phase_map(run))
    >>> figure.axes[0].get_ylabel()
    'feature probability'
"""

from tmsjax.plots import dynamics, features, style
from tmsjax.plots.maps import agreement, models, panels, phase_map, run_figures
from tmsjax.plots.studies import figures, thumbnail
from tmsjax.plots.style import save

__all__ = [
    "agreement",
    "dynamics",
    "features",
    "figures",
    "models",
    "panels",
    "phase_map",
    "run_figures",
    "save",
    "style",
    "thumbnail",
]
