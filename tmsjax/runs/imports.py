"""The files that a run's spec imports: recorded by SHA-256, refused when they have changed.

The checks execute nothing; `loaded_to_resume` executes the files, after them. No jax.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tmsjax.errors import RunError
from tmsjax.kinds import REGISTRIES, Imported, execute, located
from tmsjax.runs.store import RunDirectory
from tmsjax.spec import Spec, load_spec

ADVICE = "a run goes on with the files that it began with: put them back, or choose another --out or --fresh"


def recorded(spec: Spec) -> dict:
    """What run.json says of them: `imports`, and the `folder` that relative names start from."""
    found = located(spec.imports, spec.folder)
    return {"imports": [asdict(one) for one in found], "folder": spec.folder} if found else {}


def check_unchanged(run: Path, info: Mapping, present: Sequence[Imported] | None = None) -> None:
    """Raises RunError if a file differs from the one that run.json (`info`) recorded, or is missing.

    `present`: the files to be used now; by default those at the recorded paths.
    """
    lines = []
    for one in info.get("imports", ()):
        path, found = _now(one, present)
        if found is None:
            lines.append(f"{path}: missing (sha256 {one['sha256'][:8]} recorded)")
        elif found != one["sha256"]:
            lines.append(f"{path}: has changed (sha256 {one['sha256'][:8]} recorded, {found[:8]} now)")
    if lines:
        raise RunError("\n  ".join([f"{run}: its imports are not what they were:", *lines, ADVICE]))


def _now(one: Mapping, present: Sequence[Imported] | None) -> tuple[str, str | None]:
    """(path, SHA-256 or None) of a recorded file today."""
    for other in present or ():
        if other.name == one["name"]:
            return other.path, other.sha256
    try:
        return one["path"], hashlib.sha256(Path(one["path"]).read_bytes()).hexdigest()
    except OSError:
        return one["path"], None


def loaded_to_resume(directory: RunDirectory, overrides: Sequence[str] = ()) -> Spec:
    """The spec of a stored run, to go on with: executes its imports.

    Raises RunError if they have changed (see `check_unchanged`), or the spec names entries that nobody added here.
    """
    spec = directory.spec()
    check_unchanged(directory.path, directory.info())
    execute(located(spec.imports, spec.folder), REGISTRIES)
    unknown = [f"{key} = {name!r} is not known here" for key, name in _named(spec) if name not in REGISTRIES[key]]
    if unknown:
        who = (
            "no file that the spec imports adds it" if spec.imports else "Python added it, and the spec imports no file"
        )
        path = str(directory.path)
        again = f"add it in Python again and call tmsjax.run_sweep(tmsjax.open_run({path!r}).spec, {path!r})"
        raise RunError("\n  ".join([f"{path}: cannot go on:", *unknown, f"{who}: {again}"]))
    return load_spec(spec, overrides, imports=True)


def _named(spec: Spec) -> Iterator[tuple[str, str]]:
    """(key, name) of every entry that the spec names."""
    for key in REGISTRIES:
        table, _, field = key.partition(".")
        value = getattr(getattr(spec, table), field)
        names = value if isinstance(value, tuple) else (value,)
        yield from ((key, name) for name in names if name is not None)
