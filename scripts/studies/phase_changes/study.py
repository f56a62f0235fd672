"""Phase changes: the phase diagram of the paper and its neighbours, beside exact theory."""

from __future__ import annotations

from studies.phase_changes import activations, budget, exact, selection, three, zroe1
from studies.phase_changes.budget import COARSE, FEWEST
from studies.phase_changes.tables import TABLES
from studies.reporting import Report, Runs, Study, Sweep

TIED = ["data.activity=tied", "data.sampler=shared-masks", "data.masks=2"]
RUNS: Runs = {
    "no-bias": Sweep("one_neuron_no_bias.toml", [], COARSE, FEWEST),
    "three-features": Sweep("sweeps/three_features.toml", [], [*COARSE, "axes.replica.count=10"], FEWEST),
    "selection": Sweep("selection_rules.toml", [], COARSE, FEWEST),
    "selection-stratified": Sweep("selection_rules.toml", ["init.rule=stratified"], COARSE, "selection"),
    "init-scale": Sweep("init_scale.toml", [], COARSE, FEWEST),
    "zroe1-linear": Sweep("zroe1_linear.toml", [], COARSE, "zroe1-relu"),
    "zroe1-linear-tied": Sweep("zroe1_linear.toml", TIED, COARSE, "zroe1-relu"),
    "zroe1-relu": Sweep("zroe1_relu.toml", [], COARSE, FEWEST),
    "zroe1-relu-tied": Sweep("zroe1_relu.toml", TIED, COARSE, "zroe1-relu"),
    "constant": Sweep("one_neuron_constant.toml", [], COARSE, "selection"),
    "half-normal": Sweep("one_neuron_half_normal.toml", [], COARSE, "selection"),
    "gelu": Sweep("sweeps/one_neuron_gelu.toml", [], COARSE, "selection"),
}


SECTIONS = {
    "exact": exact,
    "three": three,
    "selection": selection,
    "zroe1": zroe1,
    "budget": budget,
    "activations": activations,
}


def make(report: Report) -> dict:
    """The numbers of each section by its name."""
    numbers = {}
    for name, section in SECTIONS.items():
        print(f"  {section.__doc__}", flush=True)
        numbers[name] = section.make(report)
    return numbers | {"seconds_of_training": numbers["budget"]["seconds_of_training"]}


STUDY = Study("phase_changes", make, RUNS, TABLES)
