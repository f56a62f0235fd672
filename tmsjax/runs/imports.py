"""The files that a run's spec imports: recorded by SHA-256, refused where they have changed, then executed.

Only runs that train come here: opening, mapping and plotting a run executes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from os import PathLike

from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import REGISTRIES, Imported, execute, located
from tmsjax.runs import processes
from tmsjax.runs.store import RunDirectory
from tmsjax.spec import Spec, difference, load_spec

ADVICE = "a run goes on with the files that it began with: put them back, or choose another --out or --fresh"


def recorded(spec: Spec) -> dict:
    """What run.json says of them: `imports`, and the `folder` that relative names start from."""
    found = located(spec.imports, spec.folder)
    return {"imports": [asdict(one) for one in found], "folder": spec.folder} if found else {}


def with_imports(
    spec: Spec,
    source: Spec | Mapping | str | PathLike,
    overrides: Sequence[str] = (),
    run: RunDirectory | None = None,
    tell: Callable[[Imported], None] = lambda one: None,
) -> Spec:
    """The spec in `source`, read again after the files that it imports were executed; `spec` as it was read without.

    `run`: where it is trained; if a run is there, its files must be the same. `tell`: the first process calls it with
    each file before any is executed. All processes call this, and stop together. Raises RunError if a file has changed,
    is missing, or differs between processes, and if the run names entries that are not known here; SpecError for the
    rest.
    """
    info = _info(run)
    with processes.agreeing():
        _check_unchanged(spec, run, info)
        found = located(spec.imports, spec.folder)
    digests = {one.name: one.sha256 for one in found}
    first = processes.from_first(lambda: digests)
    with processes.agreeing():
        other = [name for name, digest in digests.items() if first.get(name) != digest]
        if other:
            raise RunError(f"imports: {', '.join(other)} on this machine is not the file of the first process")
        for one in found if processes.index() == 0 else ():
            tell(one)
        execute(found, REGISTRIES)
        if run is not None and info and not difference(run.spec(), spec):
            _check_known(spec, str(run.path))
        return load_spec(source, overrides, imports=True)


def _info(run: RunDirectory | None) -> dict:
    """run.json; empty if there is none, or it is damaged: then what follows refuses it or makes it again."""
    try:
        return run.info() if run is not None else {}
    except RunError:
        return {}


def _check_unchanged(spec: Spec, run: RunDirectory | None, info: Mapping) -> None:
    """Refuses files that differ from those that run.json recorded. Other names are another sweep (see opening.py)."""
    lines = []
    for one in info.get("imports", ()):
        if one["name"] not in spec.imports:
            continue
        was = one["sha256"]
        try:
            now = located([one["name"]], spec.folder)[0]
        except SpecError:
            lines.append(f"{one['path']}: missing (sha256 {was[:8]} recorded)")
            continue
        if now.sha256 != was:
            lines.append(f"{now.path}: has changed (sha256 {was[:8]} recorded, {now.sha256[:8]} now)")
    if lines and run is not None:
        raise RunError("\n  ".join([f"{run.path}: its imports are not what they were:", *lines, ADVICE]))


def _check_known(spec: Spec, path: str) -> None:
    """Refuses to go on with the run in `path` if its spec names entries that nobody added in this process."""
    unknown = [f"{key} = {name!r} is not known here" for key, name in _named(spec) if name not in REGISTRIES[key]]
    if unknown:
        who = "none of its imports adds it" if spec.imports else "it was added in Python, and the spec imports no file"
        again = f"add it in Python again and call tmsjax.run_sweep(tmsjax.open_run({path!r}).spec, {path!r})"
        raise RunError("\n  ".join([f"{path}: cannot go on:", *unknown, f"{who}: {again}"]))


def _named(spec: Spec) -> Iterator[tuple[str, str]]:
    """(key, name) of every entry that the spec names."""
    for key in REGISTRIES:
        table, _, field = key.partition(".")
        value = getattr(getattr(spec, table), field)
        names = value if isinstance(value, tuple) else (value,)
        yield from ((key, name) for name in names if name is not None)
