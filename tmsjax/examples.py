"""The example sweeps that come with the package: lists them and copies one. No jax.

A wheel has them in `tmsjax/sweeps`, a checkout (also one installed with `pip install -e`) in `sweeps` at its top.
A sweep names the files that it needs: `imports` files beside it, and `data.run` the run of another sweep.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Annotated

import typer

from tmsjax.errors import RunError, SpecError
from tmsjax.printing import say
from tmsjax.spec import Spec, load_spec
from tmsjax.terminal import make_folder

PACKAGE = Path(__file__).parent
FOLDERS = (PACKAGE / "sweeps", PACKAGE.parent / "sweeps")  # of a wheel, of a checkout
CITATION = re.compile(r"\s*\([^()]*(?:\b\d{4}\b|docs/)[^()]*\)")
SIZE = re.compile(r"[\d,]+ .* = [\d,]+ ")  # the header's line that counts models


@dataclass(frozen=True)
class Example:
    """One sweep: its file, its spec, and the sentence that its header begins with."""

    path: Path
    spec: Spec
    sentence: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def imports(self) -> list[Path]:
        """Files beside the sweep that it imports."""
        return [self.path.parent / name for name in self.spec.imports if name.endswith(".py")]

    @property
    def needs(self) -> str | None:
        """The name of the sweep on whose run this one trains, or None."""
        return Path(self.spec.data.files[0]).name if self.spec.data.sampler == "run" else None


def folder() -> Path:
    """The folder of the example sweeps. Raises RunError if this installation has none."""
    for found in FOLDERS:
        if any(found.glob("*.toml")):
            return found
    raise RunError(f"this installation has no example sweeps: neither {FOLDERS[0]} nor {FOLDERS[1]}")


def names() -> list[str]:
    """The names of all examples, sorted."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def example(name: str) -> Example:
    """The example of this name, with or without ".toml". Raises SpecError, which names the nearest."""
    wanted, known = name.removesuffix(".toml"), names()
    if wanted not in known:
        close = get_close_matches(wanted.replace("-", "_"), known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ";"
        raise SpecError("examples", [("", f"no example is named {name!r}{hint} `tmsjax examples` lists all")])
    path = folder() / f"{wanted}.toml"
    return Example(path, load_spec(path), sentence(path.read_text(encoding="utf-8")))


def sentence(text: str) -> str:
    """The first sentence of a sweep's header, without the sources that it cites in brackets."""
    lines: list[str] = []
    for line in text.splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words or (lines and SIZE.match(words)):
            break
        lines.append(words)
    whole = CITATION.sub("", " ".join(lines))
    return re.split(r"(?<=[.?])\s+(?=[A-Z\d])", whole)[0].rstrip(".:")


def copy(one: Example, to: Path) -> Iterator[tuple[Path, bool]]:
    """Copies a sweep, the files that it imports and the sweep that it needs into the folder `to`.

    Yields each path, and whether it was written: False if the same file is there already. Raises RunError, before
    anything is written, if another file has its name.
    """
    sources = [one.path, *one.imports]
    if one.needs is not None:
        sources.append(example(one.needs).path)
    targets = {source: to / source.name for source in sources}
    there = {source for source, target in targets.items() if os.path.lexists(target)}
    other = [str(targets[s]) for s in sources if s in there and not _same(s, targets[s])]
    if other:
        raise RunError(f"{', '.join(other)}: another file of this name is there; remove it or choose another --to")
    make_folder(to)
    for source, target in targets.items():
        if source not in there:
            with open(target, "xb") as file:
                file.write(source.read_bytes())
        yield target, source not in there


def _same(source: Path, target: Path) -> bool:
    try:
        return target.read_bytes() == source.read_bytes()
    except OSError:
        return False


def examples(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The sweep to copy. Default: list all.")] = None,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The folder to copy it into.")] = Path("sweeps"),
) -> None:
    """List the example sweeps that come with tmsjax, or copy one, with the files that it imports.

    An existing file is never overwritten.
    """
    if name is None:
        for each in names():
            _tell(example(each))
        say("tmsjax examples NAME copies one into the folder sweeps (or --to DIR)")
        return
    one = example(name)
    for path, written in copy(one, to):
        say(f"{path}{'' if written else ' (the same file was there)'}")
    if one.needs is not None:
        first = os.path.normpath(to / one.spec.data.files[0])
        say(f"first: tmsjax run {to / one.needs}.toml --out {first}")
    say(f"to train its {one.spec.instances:,} models: tmsjax run {to / one.path.name}")


def _tell(one: Example) -> None:
    """Prints one example's name, number of models and sentence, and what it needs."""
    line = f"{one.name:24s} {one.spec.instances:>13,} models  {one.sentence}"
    say(line if not sys.stdout.isatty() else shorten(line, shutil.get_terminal_size().columns - 1))
    more = [f"imports {path.name}" for path in one.imports]
    if one.needs is not None:
        more.append(f"needs the run of {one.needs}")
    if more:
        say(f"{'':46s}{'; '.join(more)}")
