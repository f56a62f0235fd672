"""Reads the run that a spec's `[data] run` names: the models whose hidden layers are the spec's data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import ACTIVITIES, FAMILIES, REPLICA, VALUES
from tmsjax.runs.dataset import STATUS, best_of_cells
from tmsjax.runs.facts import RunFacts
from tmsjax.runs.run import Run, open_run
from tmsjax.spec import Axis, Source, Spec, axes_used, option_quantities, shown, static, suggest

KEY = "data.run"
NEAR = 1e-9  # relative difference up to which values of two axes are the same
Report = Callable[[str, str], None]


def with_source(spec: Spec) -> Spec:
    """The spec with the models that its `data.run` names, of each cell of that run the replica of lowest loss.

    Axes of the spec that the run has too choose the model; the run may have no other axis with several values. Returns
    specs without `data.run` as they are. Raises SpecError if the run is missing, unfinished or does not fit.
    """
    if spec.data.run is None:
        return spec
    problems: list[tuple[str, str]] = []

    def report(key: str, message: str) -> None:
        problems.append((key, message))

    run = _opened(spec)
    _check_known(run.spec, report)
    cells = None if problems else _best(run, report)
    if cells is not None:
        _check_sizes(spec, cells, report)
    names = [axis.name for axis in run.spec.axes if axis.name != REPLICA]
    positions = tuple(_position(spec, run.spec.axis[name], report) for name in names)
    _check_axes(spec, names, report)
    if problems or cells is None:
        raise SpecError(spec.name, problems)
    arrays = {
        "W": cells["W"].transpose(*names, "hidden", "feature").to_numpy().astype(np.float32),
        "feature_probability": cells["instance_feature_probability"].transpose(*names, "feature").to_numpy(),
    } | _options(run.spec, cells)
    data = replace(run.spec.data, masks_per_batch=0, run=None)
    facts = {"path": str(run.directory.path), "spec_hash": run.spec_hash, "sha256": _digest(arrays)}  # type: ignore[union-attr]
    neurons = FAMILIES[run.spec.model.family].neurons
    return replace(spec, source=Source(data, arrays, positions, neurons, facts))


def recorded(spec: Spec) -> dict[str, Any]:
    """Entries for run.json: what was read, and the `folder` from which a relative path starts."""
    return {} if spec.source is None else {"source": dict(spec.source.facts), "folder": spec.folder}


def check_unchanged(spec: Spec, found: RunFacts | None, path: Any) -> None:
    """Raises RunError if the models that a run recorded are not those that were read now."""
    if spec.source is None or found is None or found.source is None:
        return
    was, now = str(found.source.get("sha256")), spec.source.facts["sha256"]
    if was != now:
        there = spec.source.facts["path"]
        raise RunError(
            f"{path}: {KEY}: the models of {there} have changed (sha256 {was[:8]} recorded, {now[:8]} now); restore "
            "them, or choose another --out or --fresh"
        )


def _opened(spec: Spec) -> Run:
    """The run, which is finished. A relative path starts at the spec's folder."""
    path = os.path.normpath(os.path.join(spec.folder, str(spec.data.run)))
    try:
        run = open_run(path)
        _ = run.dataset
    except RunError as error:
        raise SpecError(spec.name, [(KEY, str(error))]) from error
    if run.spec.data.run is not None:
        raise SpecError(spec.name, [(KEY, f"{path}: is itself trained on the hidden layer of a run")])
    return run


def _check_known(stored: Spec, report: Report) -> None:
    """How a stored model draws features must be known in this process."""
    for what, name, registry in (
        ("family", stored.model.family, FAMILIES),
        ("activity", stored.data.activity, ACTIVITIES),
        ("values", stored.data.values, VALUES),
    ):
        if name not in registry:
            report(KEY, f"its {what} {name!r} is not known here; import the file that adds it")


def _best(run: Run, report: Report) -> xr.Dataset | None:
    """The best replica of every cell."""
    dataset = run.dataset
    if not dataset.attrs.get("directions"):
        report(KEY, f"its models have no directions W: the family is {run.spec.model.family!r}")
        return None
    dataset = dataset[[name for name in dataset if not str(name).startswith("history_")]].load()
    if dataset.attrs.get("keep") != "best":
        dataset = best_of_cells(dataset)
    if (dataset["status"] != STATUS["ok"]).any():
        report(KEY, "in some of its cells every model diverged")
    return dataset


def _check_sizes(spec: Spec, cells: xr.Dataset, report: Report) -> None:
    if spec.model.features != cells.sizes["hidden"]:
        needs = f"must be {cells.sizes['hidden']}, the hidden dimensions of the models of data.run"
        report("model.features", f"{needs}, not {spec.model.features}")


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
    """The activity's options that are quantities, over the cells, by "data.key"."""
    found = {}
    for key, _ in stored.data.options:
        if key in dict(static(stored.data.options)):
            continue
        values = stored.evaluate(f"data.{key}")[..., 0]
        if stored.replica_axis is not None:
            values = np.take(values, 0, axis=stored.replica_axis)
        shape = [cells.sizes[axis.name] for axis in stored.axes if axis.name != REPLICA]
        found[f"data.{key}"] = np.broadcast_to(values, shape).astype(np.float32)
    return found


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of everything that is read."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name], "<f4").tobytes())
    return digest.hexdigest()
