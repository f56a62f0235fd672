"""Analysis: what training found. Selection among replicas, phases, agreement with theory, polytopes.

Most functions map a Dataset to a Dataset. Those of a Run work unit by unit (stream.py), so that a map may exceed
memory. They need only results, numpy, xarray and SciPy: no jax, any machine. Imports kinds, spec, theory and runs; from
a run it reads datasets, and it writes phase maps and comparisons into it.
"""

from tmsjax.analysis import dynamics, neurons, polytopes
from tmsjax.analysis.comparison import MOST_FEATURES, exact_map, stored_exact_map, theory_phases
from tmsjax.analysis.comparison import compare_run as compare
from tmsjax.analysis.features import COMPONENTS, best, component_kinds, in_one_frame, measures
from tmsjax.analysis.outlines import boundaries
from tmsjax.analysis.phases import (
    FEATURE_CLASSES,
    MASKED,
    TWO_FEATURE_PHASES,
    Layout,
    candidate_weights,
    cell_inputs,
    classify,
    is_best_only,
    is_log,
    is_map,
    layout,
    other_axes,
    outcomes,
    phases_of,
    same_inputs,
    spec_of,
    with_replica,
)
from tmsjax.analysis.pixels import DIFFERENCES, differences, plotted
from tmsjax.analysis.regions import Region, read_region, region_box
from tmsjax.analysis.replicas import agreement_by_count, success
from tmsjax.analysis.stream import phase_map, write_phase_map

__all__ = [
    "COMPONENTS",
    "DIFFERENCES",
    "FEATURE_CLASSES",
    "MASKED",
    "MOST_FEATURES",
    "TWO_FEATURE_PHASES",
    "Layout",
    "Region",
    "agreement_by_count",
    "best",
    "boundaries",
    "candidate_weights",
    "cell_inputs",
    "classify",
    "compare",
    "component_kinds",
    "differences",
    "dynamics",
    "exact_map",
    "in_one_frame",
    "is_best_only",
    "is_log",
    "is_map",
    "layout",
    "measures",
    "neurons",
    "other_axes",
    "outcomes",
    "phase_map",
    "phases_of",
    "plotted",
    "polytopes",
    "read_region",
    "region_box",
    "same_inputs",
    "spec_of",
    "stored_exact_map",
    "success",
    "theory_phases",
    "with_replica",
    "write_phase_map",
]
