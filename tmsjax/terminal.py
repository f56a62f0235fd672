"""The terminal: progress, signals, warnings, and errors as one message with an exit code.

Exit codes: 0 done, 1 a run or a check failed, 2 bad input (nothing was started), 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from tmsjax.errors import RegistryError, RunError, RunFailed, SpecError

if TYPE_CHECKING:
    from tmsjax.runs import Progress
    from tmsjax.spec import Spec


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """A list that receives the first SIGINT or SIGTERM; the second one acts at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        received.append(number)
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        typer.echo("stopping after this segment ...", err=True)

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def progress_bar(spec: Spec) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, else a plain line every ten seconds: time left, models and samples/s, mean loss."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    unit = "samples/s" if spec.train.loss == "sampled" else "model-steps/s"

    def text(p: Progress) -> str:
        loss = f" mean loss {p.mean_loss:.3g}" if math.isfinite(p.mean_loss) else ""  # none was recorded yet
        models = f"{p.models_per_second:,.0f}" if p.models_per_second >= 10 else f"{p.models_per_second:.2g}"
        return f"{models} models/s {p.samples_per_second:.1e} {unit}{loss}"

    if not sys.stdout.isatty():
        told = [0.0]

        def plain(p: Progress) -> None:
            if p.step == p.steps or p.seconds - told[0] >= 10:
                told[0] = p.seconds
                left = spec.instances * (1 - p.step / p.steps) / p.models_per_second
                typer.echo(f"step {p.step}/{p.steps}  {left:.0f} s left  {text(p)}")

        yield plain
        return
    # all of it fits a terminal of 80 columns
    columns = (BarColumn(10), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
    with Bar(*columns) as bar:
        task = bar.add_task("", total=spec.train.steps, text="compiling")
        yield lambda p: bar.update(task, completed=p.step, text=text(p))


def show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    typer.echo(f"warning: {message}", err=True)


def guarded(program: Callable[[], Any]) -> None:
    """Calls `program`; errors of ours become one message and an exit code."""
    try:
        program()
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(code) from None


def _exit_code(error: Exception) -> int | None:
    """2 for bad input, 1 for a failed run, None for what we did not foresee."""
    if isinstance(error, (SpecError, RegistryError, RunError)):
        return 2
    return 1 if isinstance(error, (RunFailed, OSError)) else None
