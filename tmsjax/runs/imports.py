"""The files that a run's spec imports: records their SHA-256, refuses changed files, then executes them.

Only training uses this module. Opening, mapping and plotting a run execute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import REGISTRIES, Imported, execute, located
from tmsjax.runs.directory import RunDirectory
from tmsjax.spec import Spec, difference, load_spec

ADVICE = "a run continues only with its original files: restore them, or choose another --out or --fresh"


def recorded(spec: Spec) -> dict:
    """Entries for run.json: the spec's `imports`, and the `folder` from which relative paths start."""
    found = located(spec.imports, spec.folder)
    return {"imports": [asdict(one) for one in found], "folder": spec.folder} if found else {}


def with_imports(
    spec: Spec,
    source: Spec | Mapping | str | PathLike,
    overrides: Sequence[str] = (),
    run: RunDirectory | None = None,
    tell: Callable[[Imported], None] = lambda one: None,
    worker: bool = False,
) -> Spec:
    """Executes the files that `spec` imports, then loads `source` again with the entries that they add.

    `spec`: `source`, loaded before its imports were executed. `run`: the directory to train in; if it holds a run, the
    files must match those that the run recorded. `tell`: called with each file before any is executed. `worker`: says
    that this process knows only the entries that the files add.
    Raises RunError if a file has changed or is missing, or if the run names unknown entries; SpecError for all other
    problems.
    """
    info = _info(run)
    _check_unchanged(spec, run, info)
    found = located(spec.imports, spec.folder)
    for one in found:
        tell(one)
    execute(found, REGISTRIES)
    if run is not None and info and not difference(run.spec(), spec):
        _check_known(spec, str(run.path), worker)
    return load_spec(source, overrides, imports=True)


def _info(run: RunDirectory | None) -> dict:
    """run.json; empty if it is missing or damaged, which later steps refuse or repair."""
    try:
        return run.info() if run is not None else {}
    except RunError:
        return {}


def _check_unchanged(spec: Spec, run: RunDirectory | None, info: Mapping) -> None:
    """Raises RunError if files differ from those in run.json, or are not recorded there."""
    if run is None or not info:
        return
    was, lines = recorded_digests(run.path, info), []
    for name in spec.imports:
        if name not in was:
            lines.append(f"{name}: the run was trained without it")
            continue
        try:
            now = located([name], spec.folder)[0]
        except SpecError:
            lines.append(f"{Path(spec.folder) / name}: missing (sha256 {was[name][:8]} recorded)")
            continue
        if now.sha256 != was[name]:
            lines.append(f"{now.path}: has changed (sha256 {was[name][:8]} recorded, {now.sha256[:8]} now)")
    if lines:
        raise RunError("\n  ".join([f"{run.path}: its imports have changed:", *lines, ADVICE]))


def recorded_digests(path: Path, info: Mapping) -> dict[str, str]:
    """SHA-256 by name of the files that run.json records. Raises RunError if the record has another form."""
    found = info.get("imports", [])
    good = isinstance(found, list) and all(
        isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("name", "path", "sha256"))
        for one in found
    )
    if not good:
        raise RunError(f"{path}: run.json does not say which files the run imported")
    return {one["name"]: one["sha256"] for one in found}


def _check_known(spec: Spec, path: str, worker: bool) -> None:
    """Raises RunError if the spec of the run in `path` names entries that are not registered in this process."""
    unknown = [f"{key} = {name!r} is not known here" for key, name in _named(spec) if name not in REGISTRIES[key]]
    if unknown:
        who = "none of its imports adds it" if spec.imports else "it was added in Python, and the spec imports no file"
        again = f"add it in Python again and call tmsjax.run_sweep(tmsjax.open_run({path!r}).spec, {path!r})"
        if worker:
            again = "workers need a file that adds it, named in the spec's `imports`"
        raise RunError("\n  ".join([f"{path}: cannot go on:", *unknown, f"{who}: {again}"]))


def _named(spec: Spec) -> Iterator[tuple[str, str]]:
    """(key, name) for every registry entry that the spec names."""
    for key in REGISTRIES:
        table, _, field = key.partition(".")
        value = getattr(getattr(spec, table), field)
        names = value if isinstance(value, tuple) else (value,)
        yield from ((key, name) for name in names if name is not None)
