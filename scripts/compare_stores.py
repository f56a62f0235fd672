"""Compares formats for the results of a sweep of several units: speed, size, and what damage and kills do.

    python scripts/compare_stores.py                                        # 3 units of 2,000,000 models, 1 GB of disk
    python scripts/compare_stores.py --models 200000 --folder /fast/disk

netCDF: one file for each unit (runs/store.py), with its variables instance_* compressed, or "plain". Zarr 3: an array
for each variable, a shard for each unit, crc32c, instance_* compressed. Icechunk: the same, in transactions. Rates are
the median over units, in MB/s of values in memory; written and synced to disk, read from the page cache. Of flipped
bits: noticed / without effect / wrong values. Of kills while a unit is written: the unit is whole / absent / in part.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tmsjax.errors import RunError
from tmsjax.runs.files import read_dataset, sync, write_dataset
from tmsjax.runs.store import Store
from tmsjax.spec import Boxes, part_shape

AXES = ("feature_probability", "extra_importance", "replica")
SMALL = 100_000  # models of a unit to damage
FLIPS, KILLS = 40, 6


def unit_shape(models: int) -> tuple[int, int, int]:
    return models // 100_000, 10_000, 10


def unit_of(unit: int, models: int) -> xr.Dataset:
    """The results of one unit of one-neuron models with two features."""
    shape, rng = unit_shape(models), np.random.default_rng(unit)

    def normal(*extra: int) -> np.ndarray:
        return rng.standard_normal((*shape, *extra), np.float32)

    def spread(values: Any) -> np.ndarray:
        return np.ascontiguousarray(np.broadcast_to(values, (*shape, 2)), np.float32)

    importance = np.stack([np.ones(shape[1]), np.geomspace(0.1, 10, shape[1])], -1)[:, None]
    probability = 0.01 * 1.001 ** (unit * shape[0] + np.arange(shape[0]))
    variables = {
        "W": ((*AXES, "hidden", "feature"), normal(1, 2)),
        "b": ((*AXES, "feature"), normal(2)),
        "loss": (AXES, normal() ** 2),
        "status": (AXES, np.zeros(shape, np.int8)),
        "instance_importance": ((*AXES, "feature"), spread(importance)),
        "instance_feature_probability": ((*AXES, "feature"), spread(probability[:, None, None, None])),
    }
    return xr.Dataset(variables, attrs={"format": 2})


class NetCDF:
    """A store of `units` units."""

    name = "netCDF"
    metadata = "*.nc"  # its first bytes; see `damage`

    def __init__(self, folder: Path, units: int, models: int):
        part = unit_shape(models)
        grid = (units * part[0], *part[1:])
        coords = {axis: range(count) for axis, count in zip(AXES, grid, strict=True)}
        self.store = Store(folder, Boxes(grid, part), coords)

    def write(self, unit: int, dataset: xr.Dataset) -> None:
        self.store.write(unit, dataset)

    def read(self, unit: int) -> xr.Dataset | None:
        """The unit in memory; None if it is known to be absent."""
        return self.store.read(unit) if unit in self.store.done() else None


class PlainNetCDF(NetCDF):
    name = "netCDF plain"

    def write(self, unit: int, dataset: xr.Dataset) -> None:
        write_dataset(self.store.path(unit), dataset)

    def read(self, unit: int) -> xr.Dataset | None:
        return read_dataset(self.store.path(unit)) if self.store.path(unit).exists() else None


class Zarr:
    name = "Zarr 3"
    metadata = "**/zarr.json"

    def __init__(self, folder: Path, units: int, models: int):
        self.folder, self.units, self.models = folder, units, models
        self.rows = unit_shape(models)[0]

    def create(self, store: Any) -> None:
        """Creates the arrays; those without a value are NaN, or -1."""
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        group = zarr.create_group(store)
        for name, variable in unit_of(0, self.models).items():
            check = [Crc32cCodec()]
            packed = [BloscCodec(cname="zstd", clevel=1), *check] if str(name).startswith("instance_") else check
            group.create_array(
                str(name),
                shape=(self.units * self.rows, *variable.shape[1:]),
                dtype=variable.dtype,
                chunks=part_shape(variable.shape, 2**18),
                shards=variable.shape,
                compressors=packed,
                fill_value=-1 if variable.dtype == np.int8 else np.nan,
                dimension_names=[str(dim) for dim in variable.dims],
            )

    def rows_of(self, unit: int) -> slice:
        return slice(unit * self.rows, (unit + 1) * self.rows)

    def put(self, store: Any, unit: int, dataset: xr.Dataset) -> None:
        import zarr

        group: Any = zarr.open_group(store, mode="r+")
        for name, variable in dataset.items():
            group[name][self.rows_of(unit)] = variable.to_numpy()

    def get(self, store: Any, unit: int) -> xr.Dataset | None:
        import zarr

        group: Any = zarr.open_group(store, mode="r")
        like = unit_of(0, SMALL)
        found = xr.Dataset({n: (like[n].dims, group[n][self.rows_of(unit)]) for n in map(str, like)})
        return None if all((v.isnull() | (v == -1)).all() for v in found.values()) else found

    def write(self, unit: int, dataset: xr.Dataset) -> None:
        if not self.folder.exists():
            self.create(str(self.folder))
        self.put(str(self.folder), unit, dataset)
        for file in self.folder.glob(f"*/c/{unit}/**/*"):
            sync(file)

    def read(self, unit: int) -> xr.Dataset | None:
        return self.get(str(self.folder), unit)


class Icechunk(Zarr):
    name = "Icechunk"
    metadata = "**/*"  # but chunks; see `damage`

    def repository(self) -> Any:
        import icechunk

        storage = icechunk.local_filesystem_storage(str(self.folder))
        if self.folder.exists():
            return icechunk.Repository.open(storage)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        made = icechunk.Repository.create(storage)
        session = made.writable_session("main")
        self.create(session.store)
        session.commit("arrays")
        return made

    def write(self, unit: int, dataset: xr.Dataset) -> None:
        before = set(self.folder.rglob("*"))
        session = self.repository().writable_session("main")
        self.put(session.store, unit, dataset)
        session.commit(f"unit {unit}")
        for file in set(self.folder.rglob("*")) - before:
            sync(file)

    def read(self, unit: int) -> xr.Dataset | None:
        return self.get(self.repository().readonly_session("main").store, unit)


FORMATS = {one.name: one for one in (NetCDF, PlainNetCDF, Zarr, Icechunk)}


def speed(kind: type, folder: Path, units: int, models: int) -> list[str]:
    """Rates of writing and reading, bytes for each model, files for each unit."""
    data, written, read = kind(folder, units, models), [], []
    for unit in range(units):
        dataset = unit_of(unit, models)
        began = time.perf_counter()
        data.write(unit, dataset)
        written.append(time.perf_counter() - began)
    for unit in range(units):
        began = time.perf_counter()
        assert data.read(unit) is not None
        read.append(time.perf_counter() - began)
    files = [p for p in folder.rglob("*") if p.is_file()]
    seconds, size = np.median(written), sum(p.stat().st_size for p in files)
    return [
        f"{dataset.nbytes / 1e6 / seconds:,.0f}",
        f"{models / 1e6 / seconds:.1f}",
        f"{dataset.nbytes / 1e6 / np.median(read):,.0f}",
        f"{size / models / units:.1f}",
        f"{len(files) / units:.0f}",
    ]


def damage(kind: type, folder: Path) -> list[str]:
    """What reads find after a bit was flipped in the data, and in the metadata; after a file of data was deleted."""
    data = kind(folder, 2, SMALL)
    for unit in (0, 1):
        data.write(unit, unit_of(unit, SMALL))
    files, rng = [p for p in folder.rglob("*") if p.is_file()], np.random.default_rng(0)
    chunks = [p for p in files if "chunks" in p.parts or "c" in p.parts or p.suffix == ".nc"]
    described = [p for p in folder.glob(kind.metadata) if p.is_file() and "chunks" not in p.parts]  # type: ignore[attr-defined]
    rows = []
    for among, most in ((chunks, None), (described, 20_000 if kind.metadata == "*.nc" else None)):  # type: ignore[attr-defined]
        weights = np.array([p.stat().st_size for p in among], float)
        counts = dict.fromkeys(("noticed", "none", "wrong"), 0)
        for _ in range(FLIPS):
            file = among[rng.choice(len(among), p=weights / weights.sum())]
            content = file.read_bytes()
            changed = bytearray(content)
            changed[rng.integers(min(len(content), most or len(content)))] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            counts[outcome(kind, folder)] += 1
            file.write_bytes(content)
        rows.append(" / ".join(map(str, counts.values())))
    max(chunks, key=lambda p: p.stat().st_size).unlink()
    return [*rows, outcome(kind, folder)]


def outcome(kind: type, folder: Path) -> str:
    """What reading both units says: an error or absence (noticed), the right values (none), or wrong ones."""
    try:
        data = kind(folder, 2, SMALL)
        found = [data.read(unit) for unit in (0, 1)]
    except Exception:
        return "noticed"
    if any(one is None for one in found):
        return "noticed"
    return "none" if all(same(one, unit_of(unit, SMALL)) for unit, one in enumerate(found)) else "wrong"


def same(found: xr.Dataset, expected: xr.Dataset) -> bool:
    return all(np.array_equal(found[name], expected[name]) for name in expected)


def kills(kind: type, folder: Path, models: int) -> str:
    """What is there of unit 1 after its writer was killed at random moments, always after unit 0 was whole."""
    rng, counts = np.random.default_rng(0), dict.fromkeys(("whole", "absent", "part"), 0)
    for k in range(KILLS):
        place = folder / str(k)
        command = [sys.executable, __file__, "--write", kind.name, str(place), "--models", str(models)]  # type: ignore[attr-defined]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        seconds = float(process.stdout.readline())  # that unit 0 took; unit 1 begins now
        time.sleep(rng.uniform(0.1, 0.9) * seconds)
        process.kill()
        process.communicate()
        try:
            found = kind(place, 2, models).read(1)
        except RunError:
            found = None
        except Exception:
            counts["part"] += 1
            continue
        counts["absent" if found is None else "whole" if same(found, unit_of(1, models)) else "part"] += 1
        shutil.rmtree(place)
    return " / ".join(map(str, counts.values()))


def write_two(kind: type, folder: Path, models: int) -> None:
    """Writes unit 0, says how long it took, and writes unit 1; see `kills`."""
    data, units = kind(folder, 2, models), [unit_of(unit, models) for unit in (0, 1)]
    began = time.perf_counter()
    data.write(0, units[0])
    print(time.perf_counter() - began, flush=True)
    data.write(1, units[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=2_000_000, help="models of a unit, in hundred thousands")
    parser.add_argument("--units", type=int, default=3)
    parser.add_argument("--folder", help="where to write; default: the folder for temporary files")
    parser.add_argument("--write", nargs=2, metavar=("FORMAT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ["ICECHUNK_LOG"] = "error"  # else it warns, to stdout, at every commit
    if given.write:
        write_two(FORMATS[given.write[0]], Path(given.write[1]), given.models)
        return
    heads = ["write MB/s", "M models/s", "read MB/s", "bytes/model", "files/unit"]
    heads += ["flips in data", "flips in metadata", "deleted file", "kills"]
    print(" | ".join([f"{'format':12s}", *heads]))
    for name, kind in FORMATS.items():
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            place = Path(folder)
            try:
                cells = speed(kind, place / "speed", given.units, given.models)
            except ImportError as error:
                print(f"{name:12s} | {error}")
                continue
            cells += [*damage(kind, place / "damage"), kills(kind, place / "kills", given.models)]
            print(
                " | ".join([f"{name:12s}", *(c.rjust(len(h)) for c, h in zip(cells, heads, strict=True))]), flush=True
            )


if __name__ == "__main__":
    main()
