"""The errors that every room may raise, beneath all of them."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """`text` with what a terminal would obey, such as escape characters, written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SpecError(ValueError):
    """A spec that cannot run. `problems` lists every (key, what is wrong); the text shows them all."""

    def __init__(self, source: str, problems: Sequence[tuple[str, str]]):
        self.source = source
        problems = self.problems = tuple((printable(path), printable(message)) for path, message in problems)
        lines = [f"{printable(source)}: {len(self.problems)} problem{'s' * (len(self.problems) != 1)}"]
        lines += [f"  {path}: {message}" if path else f"  {message}" for path, message in problems]
        super().__init__("\n".join(lines))


class RegistryError(ValueError):
    """Something that cannot be added to a registry: says which, what is wrong with it and what is allowed."""


class RunError(RuntimeError):
    """A run directory that cannot be used: says which and why."""


class RunFailed(RuntimeError):
    """A run that began and could not go on: says where and why. What was saved before stays good."""


class CheckpointError(RunFailed):
    """A checkpoint that is missing or damaged: says which, and what is wrong with it."""


class Interrupted(Exception):
    """Training stopped on request, after the current segment was saved."""


class Diverged(UserWarning):
    """Models of a sweep that is finished have diverged: says how many."""
