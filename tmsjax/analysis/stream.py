"""Runs of many units: their phase maps, computed and stored unit by unit, so that memory is that of one unit.

A run of one unit has its phase map in RUN/phase_map-SELECT.nc; one of several units, in the folder
RUN/phase_map-SELECT/, one file for each unit, with numbers of 4 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.analysis import phases
from tmsjax.analysis.agreement import Counts
from tmsjax.errors import RunError, Unreadable
from tmsjax.kinds import REPLICA
from tmsjax.runs import Run, Store, as_run, check_writable, counted, results_of, write_dataset
from tmsjax.spec import to_toml


def phase_map(results: Any, select: str = "best") -> xr.Dataset:
    """One phase per cell, from a run or its dataset, by the rule `select`.

    `results`: a Run, the path of its directory, or its dataset. `select`: "best" (lowest noise-free loss), "paper"
    (drop the worst, average the others), "vote" (plurality of phases) or "single" (the first that did not diverge).

    Variables over the axes other than replica: phase (int8 with flag_meanings; -1 where every replica diverged), norm
    and superposition (..., feature), loss of the best replica, success (share of inits within 1 % of it), failed
    (number of diverged replicas). For a run of several units in a directory, computes what is missing in the stored
    phase map and opens it: values are read when they are needed. Raises ValueError for an unknown rule, RunError for
    models without W or whose W has no scale, and rules other than "best" if only the best replica was kept.

    Examples:
        >>> mapped = tmsjax.phase_map(run, "best")
        >>> dict(mapped["phase"].sizes)
        {'feature_probability': 3, 'extra_importance': 3}
    """
    phases.check_selection(select)
    if not isinstance(results, xr.Dataset):
        results = as_run(results)
    if not is_divided(results) or results.directory is None:
        return phases.phase_map(results_of(results), select)
    store = map_store(results, select)
    try:
        return store.open()
    except Unreadable:
        raise
    except RunError:  # some units are missing or damaged
        write_phase_map(results, select)
        return store.open()


def write_phase_map(run: Run, select: str = "best") -> tuple[Path, Counts]:
    """Writes the phase map of a run into its directory. Keeps stored units of the same spec and rule.

    Returns the path and the counts of cells over the whole map. Raises RunError before any work if the directory
    cannot be written.
    """
    phases.check_selection(select)
    assert run.directory is not None
    check_writable(run.directory.path)
    counts = Counts(phases.layout(run.spec).phases)
    if not is_divided(run):
        mapped = phases.phase_map(run.dataset, select)
        path = run.directory.path / f"phase_map-{select}.nc"
        write_dataset(path, mapped)
        counts.add(mapped)
        return path, counts
    store = map_store(run, select)
    for unit in counted(range(len(run.cells)), "map"):
        stored = stored_unit(store, unit)
        mapped = stored if stored is not None else phases.phase_map(run.part(unit), select)
        if stored is None:
            store.write(unit, _small(mapped))
        counts.add(mapped)
    return store.folder, counts


def is_divided(results: Any) -> bool:
    """Whether these are results of several units."""
    return isinstance(results, Run) and len(results.units) > 1


def parts(run: Run, text: str, units: Sequence[int] | None = None) -> Iterator[tuple[int, xr.Dataset]]:
    """The results of each unit, with its number, one at a time. `text`: what is done, for the progress shown."""
    for unit in counted(range(len(run.cells)) if units is None else units, text):
        yield unit, run.part(unit)


def axes_only(run: Run) -> xr.Dataset:
    """A phase map of the whole run that has only axes and the spec: its phases are all 0 and take no memory."""
    axes = [a for a in run.spec.axes if a.name != REPLICA]
    phase = np.broadcast_to(np.int8(0), [len(a) for a in axes])
    return xr.Dataset(
        {"phase": ([a.name for a in axes], phase)},
        {a.name: list(a.values) for a in axes},
        {"spec": to_toml(run.spec)},
    )


def map_store(run: Run, select: str) -> Store:
    """The stored phase map of a run of several units."""
    return cell_store(run, f"phase_map-{select}", f"`tmsjax map --select {select}` makes it again")


def cell_store(run: Run, name: str, remedy: str) -> Store:
    """The folder `name` of a run of several units, for a dataset over its cells."""
    assert run.directory is not None
    coords = {a.name: a.values for a in run.spec.axes if a.name != REPLICA}
    return Store(run.directory.path / name, run.cells, coords, sweep=run.spec_hash, remedy=remedy)


def stored_unit(store: Store, unit: int) -> xr.Dataset | None:
    """A unit in a store; None if it is missing, damaged or of another spec: it can be computed again.

    Raises Unreadable.
    """
    try:
        return store.read(unit)
    except Unreadable:
        raise
    except RunError:
        return None


def _small(mapped: xr.Dataset) -> xr.Dataset:
    """The phase map with floating-point numbers and counts of 4 bytes."""
    types = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return mapped.map(lambda variable: variable.astype(types.get(variable.dtype, variable.dtype)), keep_attrs=True)
