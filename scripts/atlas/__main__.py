"""Reproduces docs/atlas.md: trains its sweeps, computes theory, draws the figures, writes the report.

    PYTHONPATH=scripts python -m atlas OUT [--quick] [--only corner,who-wins] [--publish]

Writes runs/, figures/atlas/, atlas.json (all numbers) and atlas.md (the numbers filled into docs/atlas.template.md)
into OUT. A second call continues where the first stopped. `--quick`: coarse grids and short training, so other numbers
than in docs/. `--publish`: copies report, numbers and figures into docs/.
"""

from typing import Any

from reporting import Program

from atlas import autoencoders, capacity, corner, kgons, memorization, scaling, size, training, who_wins

SECTIONS: dict[str, Any] = {
    "who-wins": who_wins,
    "corner": corner,
    "capacity": capacity,
    "kgons": kgons,
    "scaling": scaling,
    "memorization": memorization,
    "autoencoders": autoencoders,
    "training": training,
    "size": size,
}
PROGRAM = Program(
    name="atlas",
    runs={name: run for section in SECTIONS.values() for name, run in section.RUNS.items()},
    sections=SECTIONS,
    needs={name: list(section.RUNS) for name, section in SECTIONS.items()},
    tables={name: table for section in SECTIONS.values() for name, table in section.TABLES.items()},
)

if __name__ == "__main__":
    PROGRAM.start()
