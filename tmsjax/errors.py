"""Exceptions that any room may raise. Imports nothing from the package."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """`text` with non-printable characters escaped, so that input cannot control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The type and first line of an error, for a message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


class SpecError(ValueError):
    """An invalid spec.

    `source`: the file, or where else the spec comes from. `problems`: every (key, message) pair; the exception's text
    lists them all.

    Examples:
        >>> try:
        ...     tmsjax.load_spec(spec, overrides=["train.stepz=9"])
        ... except tmsjax.SpecError as error:
        ...     print(error.problems[0][0])
        train.stepz
    """

    def __init__(self, source: str, problems: Sequence[tuple[str, str]]):
        self.source = source
        problems = self.problems = tuple((printable(path), printable(message)) for path, message in problems)
        lines = [f"{printable(source)}: {len(self.problems)} problem{'s' * (len(self.problems) != 1)}"]
        lines += [f"  {path}: {message}" if path else f"  {message}" for path, message in problems]
        super().__init__("\n".join(lines))


class RegistryError(ValueError):
    """An entry that cannot be added to a registry. The message names it, the fault and what is allowed."""


class RunError(RuntimeError):
    """A run, or its results, that cannot be used as requested. The message gives the reason.

    Examples:
        >>> try:
        ...     tmsjax.open_run(folder)
        ... except tmsjax.RunError as error:
        ...     print(error)
        /...: not a run directory (it has no run.json)
    """


class Unreadable(RunError):
    """A file that cannot be read now, for lack of permission or because a disk or network fails.

    It may be intact, so nothing may replace it.
    """


class RunFailed(RuntimeError):
    """A run that started and could not continue. Everything saved before the failure stays valid."""


class CheckpointError(RunFailed):
    """A missing or damaged checkpoint. The message names it and the fault."""


class Interrupted(Exception):
    """Training stopped on request, after saving the current segment."""


class Diverged(UserWarning):
    """A finished sweep has diverged models: says how many."""
