"""Reproduces docs/phase_changes.md: trains its sweeps, computes its tables, draws its figures, writes the report.

    PYTHONPATH=scripts python -m phase_changes OUT [--quick] [--only three,budget] [--publish]

Writes runs/, figures/phase_changes/, phase_changes.json (all numbers) and phase_changes.md (the numbers filled into
docs/phase_changes.template.md) into OUT. A second call continues where the first stopped. `--quick`: coarse grids and
short training, so other numbers than in docs/. `--publish`: copies report, numbers and figures into docs/.
"""

from reporting import Program

from phase_changes import activations, budget, exact, selection, three, zroe1
from phase_changes.report import TABLES
from phase_changes.study import RUNS

PROGRAM = Program(
    name="phase_changes",
    runs=RUNS,
    sections={
        "exact": exact,
        "three": three,
        "selection": selection,
        "zroe1": zroe1,
        "budget": budget,
        "activations": activations,
    },
    needs={
        "exact": ["no-bias"],
        "three": ["three-features"],
        "selection": ["selection", "selection-stratified", "init-scale"],
        "zroe1": ["zroe1-relu", "zroe1-relu-tied", "zroe1-linear", "zroe1-linear-tied"],
        "budget": [],
        "activations": ["selection", "constant", "half-normal", "gelu"],
    },
    tables=TABLES,
)

if __name__ == "__main__":
    PROGRAM.start()
