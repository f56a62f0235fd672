"""Progress of a training run, shown as a bar in terminals and notebooks, otherwise as plain lines. No jax."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from tmsjax.printing import safe, say
from tmsjax.spec import Spec

PLAIN_SECONDS = 10.0  # between plain lines
COMPILING = "compiling ..."
WAITING = "waiting for other processes"


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
    units_done: int = 0  # by all processes
    units: int = 1
    others: float = 0.0  # models per second that other processes train
    compiling: bool = False  # whether a program is being compiled; then speeds are NaN
    waiting: bool = False  # whether all units left are trained by other processes; then speeds are NaN

    @classmethod
    def of_compiling(cls, spec: Spec) -> Progress:
        """A report that a program is being compiled."""
        return cls(0, spec.train.steps, 0.0, math.nan, math.nan, math.nan, spec.instances, compiling=True)

    @classmethod
    def of_waiting(cls, spec: Spec) -> Progress:
        """A report that other processes train all units that are left."""
        return cls(0, spec.train.steps, 0.0, math.nan, math.nan, math.nan, spec.instances, waiting=True)

    @property
    def share(self) -> float:
        """The share of the work that is done."""
        return (self.units_done + self.step / self.steps) / self.units

    @property
    def seconds_left(self) -> float:
        """The time that the rest takes at the current speed, assuming units of equal size."""
        return self.models * self.units * (1 - self.share) / (self.models_per_second + self.others)


Listener = Callable[[Progress], None]


@contextmanager
def progress_bar(spec: Spec, plain: bool = False) -> Iterator[Listener | None]:
    """A listener that shows remaining time, speed and mean loss, as a bar in terminals and notebooks.

    Elsewhere it prints a line every ten seconds if `plain`, and is None otherwise.
    """
    bar, notebook = _place()
    if bar:
        with _bar(spec) as listen:
            yield listen
    else:
        yield _plain_lines(spec) if plain or notebook else None


def counted(units: Sequence[int], text: str) -> Iterator[int]:
    """Yields the units of a run, and shows how many are done.

    In terminals and notebooks as a bar, elsewhere as a line every ten seconds. Shows nothing for a single unit.
    `text`: what is done, such as "map".
    """
    if len(units) < 2:
        yield from units
    elif _place()[0]:
        from rich.console import Console
        from rich.progress import track

        yield from track(units, text, console=Console(file=safe(sys.stdout)))
    else:
        began = told = time.monotonic()
        for done, unit in enumerate(units):
            if (now := time.monotonic()) - told >= PLAIN_SECONDS:
                told = now
                left = (now - began) / max(done, 1) * (len(units) - done)
                say(f"{text}: {done} of {len(units)} units  {left:.0f} s left")
            yield unit


def _place() -> tuple[bool, bool]:
    """Whether the output shows bars, and whether it is a notebook."""
    from rich.console import Console

    notebook = Console().is_jupyter
    return safe(sys.stdout).isatty() or (notebook and find_spec("ipywidgets") is not None), notebook  # which rich needs


@contextmanager
def _bar(spec: Spec) -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # fits in 80 columns
    columns = (BarColumn(10), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
    with Bar(*columns, console=Console(file=safe(sys.stdout))) as bar:
        task = bar.add_task("", total=spec.train.steps, text="")

        def listen(p: Progress) -> None:
            if p.compiling or p.waiting:
                bar.update(task, text=COMPILING if p.compiling else f"{p.units_done}/{p.units} units {WAITING}")
            else:
                done, total = p.units_done * p.steps + p.step, p.units * p.steps
                bar.update(task, completed=done, total=total, text=_words(p, spec))

        yield listen


def _plain_lines(spec: Spec) -> Listener:
    told, compiled = 0.0, False

    def listen(p: Progress) -> None:
        nonlocal told, compiled
        if p.compiling:
            if not compiled:
                say(COMPILING)
            compiled = True
        elif p.share == 1 or p.seconds - told >= PLAIN_SECONDS:
            told = p.seconds
            units = f"{p.units_done}/{p.units} units  " if p.units > 1 else ""
            if p.waiting:
                say(f"{units}{WAITING}")
            else:
                say(f"{units}step {p.step}/{p.steps}  {p.seconds_left:.0f} s left  {_words(p, spec)}")

    return listen


def rate_unit(spec: Spec) -> str:
    """The unit of training rates: the exact loss has no samples."""
    return "samples/s" if spec.train.loss == "sampled" else "model-steps/s"


def _words(p: Progress, spec: Spec) -> str:
    """Speed and mean loss."""
    loss = f" mean loss {p.mean_loss:.3g}" if math.isfinite(p.mean_loss) else ""
    models = f"{p.models_per_second:,.0f}" if p.models_per_second >= 10 else f"{p.models_per_second:.2g}"
    return f"{models} models/s {p.samples_per_second:.1e} {rate_unit(spec)}{loss}"
