"""Makes studies: trains their sweeps, computes numbers and figures, and writes their texts.

    PYTHONPATH=scripts python -m studies [NAME ...] [--quick | --smallest] [--out DIR] [--publish]

Writes DIR/runs, and DIR/NAME with numbers.json, text.md and figures. A second call continues where the first stopped.
Without a NAME it makes all studies but those made only by request.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from studies.adversarial.study import STUDY as ADVERSARIAL
from studies.autoencoders.study import STUDY as AUTOENCODERS
from studies.basic.study import STUDY as BASIC
from studies.capacity.study import STUDY as CAPACITY
from studies.collapse.study import STUDY as COLLAPSE
from studies.corner.study import STUDY as CORNER
from studies.correlated.study import STUDY as CORRELATED
from studies.dynamics.study import STUDY as DYNAMICS
from studies.geometry.study import STUDY as GEOMETRY
from studies.geometry_large.study import STUDY as GEOMETRY_LARGE
from studies.heads.study import STUDY as HEADS
from studies.intro.study import STUDY as INTRO
from studies.kgons.study import STUDY as KGONS
from studies.memorization.study import STUDY as MEMORIZATION
from studies.neurons.study import STUDY as NEURONS
from studies.nonuniform.study import STUDY as NONUNIFORM
from studies.perturb.study import STUDY as PERTURB
from studies.phase_changes.study import STUDY as PHASE_CHANGES
from studies.reporting import Report, Size
from studies.rule.study import STUDY as RULE
from studies.scaling.study import STUDY as SCALING
from studies.size.study import STUDY as SIZE
from studies.training.study import STUDY as TRAINING
from studies.who_wins.study import STUDY as WHO_WINS
from tmsjax.terminal import guarded

STUDIES = (  # in the order of the pages
    PHASE_CHANGES,
    INTRO,
    BASIC,
    GEOMETRY,
    GEOMETRY_LARGE,
    NONUNIFORM,
    RULE,
    PERTURB,
    CORRELATED,
    COLLAPSE,
    DYNAMICS,
    ADVERSARIAL,
    NEURONS,
    HEADS,
    WHO_WINS,
    CORNER,
    CAPACITY,
    KGONS,
    SCALING,
    MEMORIZATION,
    AUTOENCODERS,
    TRAINING,
    SIZE,
)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Studies; default: all.", metavar="[NAME ...]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Coarse grids, short training; minutes.")] = False,
    smallest: Annotated[bool, typer.Option("--smallest", help="Only to see that everything runs; seconds.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for runs, numbers, figures and texts.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Copy the results into scripts/studies.")] = False,
) -> None:
    """Makes studies. A second call continues where the first stopped."""
    known = {study.name: study for study in STUDIES}
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise typer.BadParameter(f"the studies are {', '.join(known)}; unknown: {', '.join(unknown)}")
    if quick + smallest + publish > 1:
        raise typer.BadParameter("use one of --quick, --smallest and --publish")
    size: Size = "smallest" if smallest else "quick" if quick else "full"
    folder = out or Path("runs") / ("studies" if size == "full" else f"studies-{size}")
    chosen = [known[name] for name in names] if names else [study for study in STUDIES if not study.by_request]
    reports = [Report(study, folder, size) for study in chosen]
    for report in reports:
        _ = report.numbers  # damaged numbers end the call before any work
    if smallest:  # most of it is compiling, which uses one core
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            list(pool.map(Report.make, reports))
        return
    for report in reports:
        report.make()
        if publish:
            report.publish()


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)  # `guarded` prints errors
    app.command()(main)
    guarded(app)
