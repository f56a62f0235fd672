"""Reproduces docs/gallery.md: trains its sweeps, measures them, draws the figures, writes the report.

    PYTHONPATH=scripts python -m gallery OUT [--quick] [--only intro,basic] [--publish]

Writes runs/, figures/gallery/, gallery.json (all numbers) and gallery.md (the numbers filled into
docs/gallery.template.md) into OUT. A second call continues where the first stopped. `--quick`: short training, so other
numbers than in docs/. `--publish`: copies report, numbers and figures into docs/. Only `--only large` makes the section
"large".
"""

from reporting import Program

from gallery import basic, geometry, intro, large, nonuniform, rule
from gallery.report import TABLES
from gallery.study import RUNS

PROGRAM = Program(
    name="gallery",
    runs=RUNS,
    sections={
        "intro": intro,
        "basic": basic,
        "geometry": geometry,
        "large": large,
        "nonuniform": nonuniform,
        "rule": rule,
    },
    needs={
        "intro": ["intro"],
        "basic": ["basic_linear_20_5", "basic_relu_20_5", "basic_linear_80_20", "basic_relu_80_20"],
        "geometry": ["geometry"],
        "large": ["geometry_400_30_slow"],
        "nonuniform": ["nonuniform_5_2", "nonuniform_80_20"],
        "rule": ["ratios", "equal_worth", *rule.MEASURED],
    },
    tables=TABLES,
    by_request=("large",),
)

if __name__ == "__main__":
    PROGRAM.start()
