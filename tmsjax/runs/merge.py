"""Merges shards of one sweep, trained independently, into the run that a single machine would have produced."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
import xarray as xr

from tmsjax.errors import RunError
from tmsjax.runs.capacity import record_bytes
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.dataset import on_grid
from tmsjax.runs.directory import RunDirectory
from tmsjax.runs.files import check_space
from tmsjax.runs.run import Run, open_run
from tmsjax.runs.shard import Shard
from tmsjax.spec import difference, to_toml

SAME = ("plan", "versions", "format")  # keys of run.json that must agree; bits depend on the first two


def merge_shards(shards: Sequence[str | PathLike], out: str | PathLike) -> Run:
    """Merges the finished runs of all shards of one sweep into a run in `out`: results and newest checkpoint.

    Raises RunError, and writes nothing, if a shard is missing, given twice, unfinished, damaged or from another sweep,
    plan or version, or if `out` is not empty.
    """
    runs = _in_order([open_run(path) for path in shards])
    datasets = [run.dataset for run in runs]
    spec = runs[0].spec
    arrays = [run.restore(spec.train.steps) for run in runs]
    infos = [_directory(run).info() for run in runs]
    dataset = datasets[0] if len(runs) == 1 else _joined(runs, datasets)
    whole = {
        name: np.concatenate([a[name] for a in arrays]) if _by_instance(name, first) else first
        for name, first in arrays[0].items()
    }
    directory = RunDirectory(out)
    if directory.exists():
        raise RunError(f"{directory.path}: holds a run already; choose another --out")
    directory.check_free()
    check_space(directory.path, 2 * (sum(a.nbytes for a in whole.values()) + record_bytes(spec) + dataset.nbytes))
    info = {k: v for k, v in infos[0].items() if k != "shard"}
    for key in ("seconds_of_training", "seconds_of_compiling", "seconds_of_results", "diverged_models"):
        info[key] = sum(i[key] for i in infos)
    info["models"] = spec.instances
    info["merged_from"] = [str(_directory(run).path) for run in runs]
    directory.create()
    with directory.lock():
        Checkpoints(directory.checkpoints, 1).save(info["steps_done"], whole, info | {"spec": to_toml(spec)})
        directory.write_results(dataset)
        directory.write(info, spec)
        directory.log("merged", shards=info["merged_from"])
    return Run(spec, directory, dataset)


def _joined(runs: Sequence[Run], datasets: Sequence[xr.Dataset]) -> xr.Dataset:
    """The dataset of all instances. Raises RunError if results do not match their shard or recorded steps differ."""
    begin = 0
    for run, dataset in zip(runs, datasets, strict=True):
        path, rows = _directory(run).path, dataset["instance"].to_numpy()
        if rows[0] != begin or np.any(np.diff(rows) != 1):
            raise RunError(f"{path}: its results are not of shard {_shard(run)}")
        begin = rows[-1] + 1
        here, there = (list(d.coords.get("step", ())) for d in (dataset, datasets[0]))
        if here != there:
            raise RunError(f"{path}: records of other steps than {_directory(runs[0]).path}: one of them grew later")
    return on_grid(xr.concat(datasets, "instance", data_vars="minimal", join="exact"), runs[0].spec)


def _by_instance(name: str, array: np.ndarray) -> bool:
    """Whether an array in a checkpoint has a leading instance axis."""
    return array.ndim > 0 and name != "recorded"


def _directory(run: Run) -> RunDirectory:
    assert run.directory is not None
    return run.directory


def _in_order(runs: Sequence[Run]) -> list[Run]:
    """The runs, sorted by shard. Raises RunError unless they are all shards of one sweep, each given once."""
    if not runs:
        raise RunError("no shard is given")
    first = _directory(runs[0]).info()
    found: dict[int, Run] = {}
    count = _shard(runs[0]).count
    for run in runs:
        path, info, shard = _directory(run).path, _directory(run).info(), _shard(run)
        foreign = difference(runs[0].spec, run.spec)
        foreign += [f"{k}: {first.get(k)} -> {info.get(k)}" for k in SAME if info.get(k) != first.get(k)]
        foreign += _other_imports(first, info)
        if shard.count != count:
            foreign.append(f"shards: {count} -> {shard.count}")
        if foreign:
            lines = "\n".join(f"  {line}" for line in foreign)
            raise RunError(
                f"{path} is not a shard of the same sweep as {_directory(runs[0]).path} (there -> here):\n{lines}"
            )
        if shard.index in found:
            raise RunError(f"shard {shard} is given twice: {_directory(found[shard.index]).path} and {path}")
        found[shard.index] = run
    missing = [f"{k}/{count}" for k in range(1, count + 1) if k not in found]
    if missing:
        raise RunError(f"missing shards: {', '.join(missing)}")
    return [found[k] for k in sorted(found)]


def _other_imports(first: dict, other: dict) -> list[str]:
    """A line for every imported file whose SHA-256 differs, whatever its path."""
    there, here = ({i["name"]: i["sha256"][:8] for i in info.get("imports", ())} for info in (first, other))
    return [
        f"imports, {name}: sha256 {there[name]} -> {here.get(name)}" for name in there if there[name] != here.get(name)
    ]


def _shard(run: Run) -> Shard:
    shard = Shard.parse(_directory(run).info().get("shard"))
    if shard is None:
        raise RunError(f"{_directory(run).path} is not a shard: it was run without --shard")
    return shard
