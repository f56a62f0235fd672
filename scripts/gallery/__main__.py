"""Reproduces docs/gallery.md: trains its sweeps, measures them, draws the figures, writes the report.

    PYTHONPATH=scripts python -m gallery OUT [--quick] [--only intro,basic] [--publish]

Writes runs/, figures/gallery/, gallery.json (all numbers) and gallery.md (the numbers filled into
docs/gallery.template.md) into OUT. A second call continues where the first stopped. `--quick`: short training, so other
numbers than in docs/. `--publish`: copies report, numbers and figures into docs/. Only `--only large` makes the section
"large".
"""

from reporting import Program, Tables

from gallery import (
    adversarial,
    basic,
    collapse,
    correlated,
    dynamics,
    geometry,
    heads,
    intro,
    large,
    neurons,
    nonuniform,
    perturb,
    rule,
)
from gallery.report import TABLES

SECTIONS = {
    "intro": intro,
    "basic": basic,
    "geometry": geometry,
    "large": large,
    "nonuniform": nonuniform,
    "rule": rule,
    "perturb": perturb,
    "correlated": correlated,
    "collapse": collapse,
    "dynamics": dynamics,
    "adversarial": adversarial,
    "neurons": neurons,
    "heads": heads,
}


def tables() -> Tables:
    """The tables of all sections by name; those of sections 1 to 5 are in report.py."""
    own = [getattr(section, "TABLES", {}) for section in SECTIONS.values()]
    return {name: table for some in (TABLES, *own) for name, table in some.items()}


PROGRAM = Program(
    name="gallery",
    runs={name: run for section in SECTIONS.values() for name, run in section.RUNS.items()},
    sections=SECTIONS,
    needs={name: list(section.RUNS) for name, section in SECTIONS.items()},
    tables=tables(),
    by_request=("large",),
)

if __name__ == "__main__":
    PROGRAM.start()
