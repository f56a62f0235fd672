"""Plots: what it looks like. The only matplotlib: Dataset, arrays or Run -> Figure; nothing is shown on a screen.

`figures` draws the study that a run names, or those that suit its shape (studies.py); maps.py, features.py, curves.py,
speed.py and reports.py draw; series.py prepares what curves show; style.py holds the colours and words that they share.
Without jax, so that a run can be drawn anywhere. Knows kinds, spec, theory, runs and analysis.
"""

from tmsjax.plots import features, reports
from tmsjax.plots.maps import agreement, facets, failures, models, panels, phase_map, run_figures
from tmsjax.plots.speed import stream_noise, throughput
from tmsjax.plots.studies import figures
from tmsjax.plots.style import STYLE, colour_key, colours, label, legend_below, named, outer_labels, save, tick, wrapped

__all__ = [
    "STYLE",
    "agreement",
    "colour_key",
    "colours",
    "facets",
    "failures",
    "features",
    "figures",
    "label",
    "legend_below",
    "models",
    "named",
    "outer_labels",
    "panels",
    "phase_map",
    "reports",
    "run_figures",
    "save",
    "stream_noise",
    "throughput",
    "tick",
    "wrapped",
]
