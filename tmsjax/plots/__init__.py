"""Plots: figures from a Dataset, arrays or a Run. The only matplotlib; returns Figures and never shows them.

`figures` draws the study that a run's spec names, or those that suit its shape (studies.py). maps.py, features.py,
curves.py, bars.py, dynamics.py and reports.py draw; series.py prepares data for curves and cells.py for
panels; animation.py holds results that move; notebook.py shows figures in a notebook; style.py holds shared colours and
labels; explorer/ makes the HTML page of a run. Does not import jax, so that a run can be drawn anywhere. Imports kinds,
spec, theory, runs and analysis.

Examples:
    >>> figure = tmsjax.plots.phase_map(tmsjax.phase_map(run))
    >>> figure.axes[0].get_ylabel()
    'feature probability'
"""

from tmsjax.plots import bars, dynamics, features, reports
from tmsjax.plots.explorer import explore
from tmsjax.plots.maps import agreement, facets, failures, models, panels, phase_map, run_figures
from tmsjax.plots.studies import figures
from tmsjax.plots.style import colours, label, named, save

__all__ = [
    "agreement",
    "bars",
    "colours",
    "dynamics",
    "explore",
    "facets",
    "failures",
    "features",
    "figures",
    "label",
    "models",
    "named",
    "panels",
    "phase_map",
    "reports",
    "run_figures",
    "save",
]
