"""The files that a run's spec imports: records their SHA-256, refuses changed files, then executes them.

Only training uses this module. Opening, mapping and plotting a run execute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike

from tmsjax.errors import RunError, Unreadable
from tmsjax.kinds import REGISTRIES, Imported, execute, located
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.facts import RunFacts
from tmsjax.spec import Spec, difference, load_spec


def recorded(spec: Spec) -> dict:
    """Entries for run.json: the spec's `imports`, and the `folder` from which relative paths start."""
    found = located(spec.imports, spec.folder)
    return {"imports": tuple(asdict(one) for one in found), "folder": spec.folder} if found else {}


def with_imports(
    spec: Spec,
    source: Spec | Mapping | str | PathLike,
    overrides: Sequence[str] = (),
    run: RunDirectory | None = None,
    tell: Callable[[Imported], None] = lambda one: None,
    worker: bool = False,
) -> Spec:
    """Executes the files that `spec` imports, then loads `source` again with the entries that they add.

    Args:
        spec: `source`, loaded before its imports were executed
        source: what to load again
        overrides: changes of the spec
        run: the directory to train in; if it holds a run, the files must be those that the run recorded
        tell: called with each file before any is executed
        worker: whether this process knows only the entries that the files add

    Raises RunError if a file has changed or the run names unknown entries; SpecError for all other problems.
    """
    found = located(spec.imports, spec.folder)
    try:
        facts = None if run is None else run.info()
    except Unreadable:
        raise
    except RunError:  # there is none, or it is damaged, which later steps refuse or repair
        facts = None
    if run is not None and facts is not None:
        _check_unchanged(found, facts, run)
    for one in found:
        tell(one)
    execute(found, REGISTRIES)
    if run is not None and facts is not None and not difference(run.spec(), spec):
        _check_known(spec, str(run.path), worker)
    return load_spec(source, overrides, imports=True)


def _check_unchanged(found: Sequence[Imported], facts: RunFacts, run: RunDirectory) -> None:
    try:
        was = {one["name"]: one["sha256"][:64] for one in facts.imports}
    except (KeyError, TypeError):  # somebody wrote this run.json by hand
        was = {}
    changed = [
        f"{one.path}: has changed (sha256 {was.get(one.name, 'not')[:8]} recorded, {one.sha256[:8]} now)"
        for one in found
        if was.get(one.name) != one.sha256
    ]
    if changed:
        advice = "a run continues only with its original files: restore them, or choose another --out or --fresh"
        raise RunError("\n  ".join([f"{run.path}: its imports have changed:", *changed, advice]))


def _check_known(spec: Spec, path: str, worker: bool) -> None:
    """Raises RunError if the spec of the run in `path` names entries that are not registered in this process."""
    unknown = []
    for key, registry in REGISTRIES.items():
        table, _, field = key.partition(".")
        value = getattr(getattr(spec, table), field)
        for name in value if isinstance(value, tuple) else (value,):
            if name is not None and name not in registry:
                unknown.append(f"{key} = {name!r} is not known here")
    if unknown:
        again = f"add it in Python again and call tmsjax.run_sweep(tmsjax.open_run({path!r}).spec, {path!r})"
        if worker:
            again = "workers need a file that adds it, named in the spec's `imports`"
        raise RunError("\n  ".join([f"{path}: cannot go on:", *unknown, f"no file that it imports adds it: {again}"]))
