"""Reads what a spec's [data] names: the rows of a file, or the models of runs, whose hidden layers are the data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import ACTIVITIES, FAMILIES, REPLICA, SAMPLERS, VALUES
from tmsjax.runs.dataset import STATUS, best_of_cells
from tmsjax.runs.facts import RunFacts
from tmsjax.runs.run import Run, open_run
from tmsjax.spec import (
    Axis,
    Box,
    Data,
    Rows,
    Source,
    Spec,
    Stored,
    axes_used,
    option_quantities,
    per_feature,
    shown,
    static,
    suggest,
)

KEY = "data.run"
NEAR = 1e-9  # relative difference up to which values of two axes are the same
MOST_NUMBERS = 2**26  # of a file
Report = Callable[[str, str], None]


def with_source(spec: Spec) -> Spec:
    """The spec with the rows or models that its [data] names; specs that name none as they are.

    Of each cell of a run, it takes the replica of lowest loss. Axes of the spec that the run has too choose the model;
    the run may have no other axis with several values. Raises SpecError if a file or a run is missing, unfinished or
    does not fit.
    """
    if spec.data.sampler == "file":
        return replace(spec, source=_rows(spec))
    if spec.data.sampler != "run":
        return spec
    problems: list[tuple[str, str]] = []

    def report(key: str, message: str) -> None:
        problems.append((key, message))

    runs = [_opened(spec, path) for path in spec.data.files]
    for run in runs:
        _check_known(run.spec, report)
    _check_alike(runs, report)
    cells = [] if problems else [_best(run, report) for run in runs]
    if cells and not problems:
        _check_sizes(spec, sum(each.sizes["hidden"] for each in cells), report)
    axes = {axis.name: axis for run in runs for axis in run.spec.axes if axis.name != REPLICA}
    positions = [_positions(spec, run, report) for run in runs]
    _check_axes(spec, list(axes), report)
    if problems:
        raise SpecError(spec.name, problems)
    parts = tuple(Stored(_arrays(run, best), at) for run, best, at in zip(runs, cells, positions, strict=True))
    _check_probabilities(spec, parts)
    facts = {
        "path": ", ".join(str(run.directory.path) for run in runs),  # type: ignore[union-attr]
        "spec_hash": ", ".join(run.spec_hash for run in runs),
        "sha256": _digest([part.arrays for part in parts]),
    }
    data = replace(runs[0].spec.data, samples=Data.samples)
    if data.sampler == "shared-masks":
        data = replace(data, sampler="features", options=tuple(o for o in data.options if o[0] != "masks"))
    return replace(spec, source=Source(data, parts, FAMILIES[runs[0].spec.model.family].neurons, facts))


def _rows(spec: Spec) -> Rows:
    """The rows of the file, float32."""
    path = os.path.normpath(os.path.join(spec.folder, spec.data.files[0]))

    def refused(why: str) -> SpecError:
        return SpecError(spec.name, [("data.file", f"{path}: {why}")])

    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            found = np.load(file)  # which refuses arrays of objects
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(". ")[0]
        raise refused(f"no array of numpy (numpy.save) can be read: {reason}") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiub" or not found.size:
        is_ = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "an archive"
        raise refused(f"needs numbers of shape (rows, inputs), not {is_}")
    if found.size > MOST_NUMBERS:
        raise refused(f"has {found.size:,} numbers; at most {MOST_NUMBERS:,}")
    with np.errstate(over="ignore"):
        array = found.astype(np.float32)
    if not np.isfinite(array).all():
        raise refused(f"{int((~np.isfinite(array)).sum()):,} of its numbers are not finite in float32")
    if dict(spec.data.options).get("epochs") and len(array) < spec.train.batch:
        raise refused(
            f"an epoch of {len(array):,} rows is shorter than train.batch = {spec.train.batch:,}; use a smaller batch"
        )
    return Rows(array, {"path": path, "sha256": digest})


def recorded(spec: Spec) -> dict[str, Any]:
    """Entries for run.json: what was read, and the `folder` from which relative paths start."""
    return {} if spec.source is None else {"source": dict(spec.source.facts), "folder": spec.folder}


def check_unchanged(spec: Spec, found: RunFacts | None, path: Any) -> None:
    """Raises RunError if the models that a run recorded are not those that were read now."""
    if spec.source is None or found is None or found.source is None:
        return
    was, now = str(found.source.get("sha256")), spec.source.facts["sha256"]
    if was != now:
        there = spec.source.facts["path"]
        raise RunError(
            f"{path}: [data]: {there} has changed (sha256 {was[:8]} recorded, {now[:8]} now); restore it, or choose "
            "another --out or --fresh"
        )


def _opened(spec: Spec, path: str) -> Run:
    """A run, which is finished. A relative path starts at the spec's folder."""
    path = os.path.normpath(os.path.join(spec.folder, path))
    try:
        run = open_run(path)
        _ = run.dataset
    except RunError as error:
        raise SpecError(spec.name, [(KEY, str(error))]) from error
    if run.spec.data.sampler in ("run", "file"):
        what = {"run": "the hidden layer of a run", "file": "the rows of a file"}[run.spec.data.sampler]
        raise SpecError(spec.name, [(KEY, f"{path}: is itself trained on {what}; its samples have no features")])
    return run


def _check_known(stored: Spec, report: Report) -> None:
    """How a stored model draws features must be known in this process."""
    for what, name, registry in (
        ("family", stored.model.family, FAMILIES),
        ("activity", stored.data.activity, ACTIVITIES),
        ("values", stored.data.values, VALUES),
        ("sampler", stored.data.sampler, SAMPLERS),
    ):
        if name not in registry:
            report(KEY, f"its {what} {name!r} is not known here; import the file that adds it")


def _check_alike(runs: list[Run], report: Report) -> None:
    """All runs draw the same features, and read their hidden layers alike."""
    first = runs[0].spec
    for run in runs[1:]:
        other = run.spec
        same = (other.data, other.model.features) == (first.data, first.model.features)
        families = [FAMILIES.get(each.model.family) for each in (first, other)]
        if not same or len({family.neurons for family in families if family is not None}) > 1:
            report(KEY, "the runs differ in [data], model.features or whether their hidden dimensions are neurons")


def _check_probabilities(spec: Spec, parts: tuple[Stored, ...]) -> None:
    """The models of several runs that are data together were trained on the same features."""
    chosen = {position for part in parts for position, _ in part.positions}
    box = Box(tuple(range(len(axis) if k in chosen else 1) for k, axis in enumerate(spec.axes)))
    found = [{name: value for name, value in part.of(box).items() if name != "W"} for part in parts]
    if any(not np.array_equal(other[name], value) for other in found for name, value in found[0].items()):
        raise SpecError(spec.name, [(KEY, "the runs' models were trained with different feature probabilities")])


def _best(run: Run, report: Report) -> xr.Dataset:
    """The best replica of every cell."""
    dataset = run.dataset
    if not dataset.attrs.get("directions"):
        report(KEY, f"its models have no directions W: the family is {run.spec.model.family!r}")
        return dataset
    dataset = dataset[[name for name in dataset if not str(name).startswith("history_")]].load()
    if dataset.attrs.get("keep") != "best":
        dataset = best_of_cells(dataset)
    if (dataset["status"] != STATUS["ok"]).any():
        report(KEY, "in some of its cells every model diverged")
    return dataset


def _check_sizes(spec: Spec, hidden: int, report: Report) -> None:
    if spec.model.features != hidden:
        needs = f"must be {hidden}, the hidden dimensions of the models of data.run"
        report("model.features", f"{needs}, not {spec.model.features}")


def _arrays(run: Run, cells: xr.Dataset) -> dict[str, np.ndarray]:
    """What a sample depends on, over the cells."""
    names = [axis.name for axis in run.spec.axes if axis.name != REPLICA]
    return {
        "W": cells["W"].transpose(*names, "hidden", "feature").to_numpy().astype(np.float32),
        "feature_probability": cells["instance_feature_probability"].transpose(*names, "feature").to_numpy(),
    } | _options(run.spec, cells)


def _positions(spec: Spec, run: Run, report: Report) -> tuple[tuple[int | None, np.ndarray], ...]:
    return tuple(_position(spec, axis, report) for axis in run.spec.axes if axis.name != REPLICA)


def _position(spec: Spec, axis: Axis, report: Report) -> tuple[int | None, np.ndarray]:
    """Of one axis of the run: the position of the spec's axis of that name, and the index for each of its values."""
    if axis.name not in spec.axis:
        if len(axis) > 1:
            report(KEY, f"has {len(axis)} values of {axis.name}: add an axis of this name, which chooses among them")
        return None, np.zeros(1, int)
    own = spec.axis[axis.name]
    index = [_find(axis.values, value) for value in own.values]
    for value, found in zip(own.values, index, strict=True):
        if found is None:
            known = ", ".join(shown(v) for v in axis.values[:12])
            report(f"axes.{axis.name}", f"the run of data.run has no {shown(value)}; it has {known}")
            break
    return list(spec.axis).index(axis.name), np.array([k or 0 for k in index])


def _find(values: Any, wanted: Any) -> int | None:
    for k, value in enumerate(values):
        if value == wanted or (isinstance(wanted, float) and abs(value - wanted) <= NEAR * abs(wanted)):
            return k
    return None


def _check_axes(spec: Spec, names: list[str], report: Report) -> None:
    """Every axis is named by a quantity or an axis of the run."""
    tables = (spec.instance, spec.init, spec.train)
    values = [v for table in tables for v in vars(table).values()] + [*option_quantities(spec).values()]
    used = {name for value in values for name in axes_used(value)} | {*names, REPLICA}
    for name in sorted(spec.axis.keys() - used):
        message = f"no quantity names this axis, and the run of data.run has none of this name{suggest(name, names)}"
        report(f"axes.{name}", message)


def _options(stored: Spec, cells: xr.Dataset) -> dict[str, np.ndarray]:
    """The options of [data] that are quantities, over the cells, by "data.key"."""
    found = {}
    for key, _ in stored.data.options:
        if key in dict(static(stored.data.options)):
            continue
        values = stored.evaluate(f"data.{key}")
        if stored.replica_axis is not None:
            values = np.take(values, 0, axis=stored.replica_axis)
        shape = [cells.sizes[axis.name] for axis in stored.axes if axis.name != REPLICA]
        wide = per_feature(stored, f"data.{key}")
        values = np.broadcast_to(values, (*shape, stored.model.features if wide else values.shape[-1]))
        found[f"data.{key}"] = (values if wide else values[..., 0]).astype(np.float32)
    return found


def _digest(parts: list[Mapping[str, np.ndarray]]) -> str:
    """SHA-256 of everything that is read."""
    digest = hashlib.sha256()
    for arrays in parts:
        for name in sorted(arrays):
            digest.update(f"{name}{arrays[name].shape}".encode())
            digest.update(np.ascontiguousarray(arrays[name], "<f4").tobytes())
    return digest.hexdigest()
