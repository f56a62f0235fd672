"""Terminal handling: warnings, interrupts, and errors as one message with an exit code.

Exit codes: 0 success, 1 a run or a check failed, 2 bad input (nothing was started), 129, 130 and 143 stopped by
a signal.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tmsjax.errors import RegistryError, RunError, RunFailed, SpecError
from tmsjax.printing import say


class Commands(TyperGroup):
    """Commands of which an interrupt makes one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted", err=True)
            raise typer.Exit(128 + signal.SIGINT) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"tmsjax {version('tmsjax')}")
        raise typer.Exit


def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train sweeps of millions of toy models of superposition and compare them with exact theory."""


@contextmanager
def without_lines(*patterns: str) -> Iterator[None]:
    """Drops lines that match a pattern from standard error, also those that libraries in C++ write."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            for line in kept.read().decode(errors="replace").splitlines():
                if not any(re.search(pattern, line) for pattern in patterns):
                    say(line, err=True)


def show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    say(f"warning: {message}", err=True)


def guarded(program: Callable[[], Any]) -> None:
    """Calls `program`; tmsjax errors are printed as one message and give an exit code."""
    try:
        program()
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        say(f"error: {error}", err=True)
        raise SystemExit(code) from None


def _exit_code(error: Exception) -> int | None:
    """2 for bad input, 1 for a failed run, None for unexpected errors."""
    if isinstance(error, (SpecError, RegistryError, RunError)):
        return 2
    return 1 if isinstance(error, (RunFailed, OSError)) else None


def make_folder(path: Path) -> None:
    """Creates a folder. Raises RunError if it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error


def check_known(option: str, given: str, allowed: Iterable[str]) -> None:
    """Raises SpecError, which names the nearest allowed value, if an option's value is not allowed."""
    from tmsjax.errors import SpecError
    from tmsjax.spec import suggest

    if given not in allowed:
        raise SpecError(option, [("", f"{given!r} is not known{suggest(given, list(allowed))}")])


def warn_of_unused_gpu(backend: str) -> None:
    """Warns if the machine has an NVIDIA GPU that jax does not use."""
    if backend != "cpu" or shutil.which("nvidia-smi") is None:
        return
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False)
    if done.returncode == 0 and b"GPU" in done.stdout:
        say("warning: a GPU is present but jax sees none; install tmsjax[cuda13] or tmsjax[cuda12]", err=True)
