"""Progress of a training run, shown as a bar in terminals and notebooks, otherwise as plain lines. No jax."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from tmsjax.spec import Spec

PLAIN_SECONDS = 10.0  # between plain lines


@dataclass(frozen=True)
class Progress:
    """A progress report, made between segments of a unit's training."""

    step: int
    steps: int
    seconds: float  # since training began in this call
    models_per_second: float  # complete trainings, at the current speed
    samples_per_second: float
    mean_loss: float  # noise-free, over finite instances; NaN if not computed yet
    models: int  # in the unit that is trained
    units_done: int = 0
    units: int = 1  # to train in this call
    workers: int = 0  # whose steps and speeds are added up; 0: this process trains

    @property
    def share(self) -> float:
        """The share of the work that is done."""
        return (self.units_done + self.step / self.steps) / self.units

    @property
    def seconds_left(self) -> float:
        """The time that the rest takes at the current speed, assuming units of equal size."""
        return self.models * self.units * (1 - self.share) / self.models_per_second


Listener = Callable[[Progress], None]


@contextmanager
def progress_bar(spec: Spec, plain: bool = False) -> Iterator[Listener | None]:
    """A listener that shows remaining time, speed and mean loss, as a bar in terminals and notebooks.

    Elsewhere it prints a line every ten seconds if `plain`, and is None otherwise.
    """
    from rich.console import Console

    notebook = Console().is_jupyter
    if sys.stdout.isatty() or (notebook and find_spec("ipywidgets") is not None):  # which rich needs in notebooks
        with _bar(spec) as listen:
            yield listen
    else:
        yield _plain_lines(spec) if plain or notebook else None


@contextmanager
def _bar(spec: Spec) -> Iterator[Listener]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # fits in 80 columns
    columns = (BarColumn(10), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
    with Bar(*columns) as bar:
        task = bar.add_task("", total=spec.train.steps, text="compiling")
        yield lambda p: bar.update(
            task, completed=p.units_done * p.steps + p.step, total=p.units * p.steps, text=_words(p, spec)
        )


def _plain_lines(spec: Spec) -> Listener:
    told = 0.0

    def listen(p: Progress) -> None:
        nonlocal told
        if p.share == 1 or p.seconds - told >= PLAIN_SECONDS:
            told = p.seconds
            unit = f"unit {p.units_done + 1}/{p.units}  " if p.units > 1 else ""
            place = f"{unit}step {p.step}/{p.steps}"
            if p.workers:
                place = f"{p.units_done}/{p.units} units  {p.workers} worker{'s' * (p.workers > 1)}"
            print(f"{place}  {p.seconds_left:.0f} s left  {_words(p, spec)}", flush=True)

    return listen


def rate_unit(spec: Spec) -> str:
    """The unit of training rates: the exact loss has no samples."""
    return "samples/s" if spec.train.loss == "sampled" else "model-steps/s"


def _words(p: Progress, spec: Spec) -> str:
    """Speed and mean loss."""
    loss = f" mean loss {p.mean_loss:.3g}" if math.isfinite(p.mean_loss) else ""
    models = f"{p.models_per_second:,.0f}" if p.models_per_second >= 10 else f"{p.models_per_second:.2g}"
    return f"{models} models/s {p.samples_per_second:.1e} {rate_unit(spec)}{loss}"
