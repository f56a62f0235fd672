"""Runs and datasets in an object store: the same as in a folder, but for locks, checkpoints and limits of space.

In memory by default; in another store, such as S3 or a local server of moto, with the client's own variables:
    TMSJAX_TEST_URL=s3://bucket AWS_ENDPOINT_URL=http://127.0.0.1:5000 python -m pytest tests/runs/test_object_stores.py
"""

import json
import os
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import small_spec

from tmsjax.errors import RunError
from tmsjax.runs import RunDirectory, RunFacts, files, provenance, run_sweep
from tmsjax.runs.files import as_path, read_dataset, read_sealed, write_dataset, write_sealed, write_whole
from tmsjax.runs.store import Store
from tmsjax.spec import Boxes, load_spec, to_toml

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as in test_store.py
URL = os.environ.get("TMSJAX_TEST_URL", "memory://tests")
AXES, GRID, PART = ("a", "init"), (5, 3), (2, 3)


@pytest.fixture
def place():
    """A new place in the store, as a path."""
    return as_path(f"{URL}/{uuid.uuid4().hex}")


def dataset() -> xr.Dataset:
    rng = np.random.default_rng(0)
    variables = {
        "W": ((*AXES, "hidden", "feature"), rng.normal(size=(*GRID, 1, 2)).astype(np.float32)),
        "status": (AXES, np.zeros(GRID, np.int8)),
        "instance_importance": ((*AXES, "feature"), np.ones((*GRID, 2), np.float32)),
    }
    coords = {"a": [0.1, 0.2, 0.3, 0.4, 0.5], "init": ["xavier", "x", "y"]}
    return xr.Dataset(variables, coords, {"spec": "name", "format": 2})


def filled(place) -> Store:
    whole = dataset()
    store = Store(place / "run" / "results", Boxes(GRID, PART), {axis: whole[axis].to_numpy() for axis in AXES})
    for unit, box in enumerate(store.boxes):
        store.write(unit, whole.isel(dict(zip(AXES, box.slices, strict=True))))
    return store


def test_joining_needs_locks(place):
    with pytest.raises(RunError, match="--join needs locks, which object stores do not have"):
        run_sweep(small_spec(), place, join=True)
    assert not (place / "run.json").exists()


def test_what_is_local_and_what_is_not(tmp_path):
    assert as_path("runs/one") == as_path(Path("runs/one")) == Path("runs/one")
    assert as_path(f"file://{tmp_path}/run") == tmp_path / "run"
    assert as_path(as_path("memory://bucket/run")) == as_path("memory://bucket/run")
    assert str(as_path("memory://bucket/run") / "results" / "00000.nc") == "memory://bucket/run/results/00000.nc"
    assert [files.is_local(as_path(path)) for path in ("run", "file:///run", "memory://run")] == [True, True, False]


def test_what_is_not_installed_is_one_error(monkeypatch):
    with pytest.raises(RunError, match=r"nonsense://x/y: .*nonsense.*tmsjax\[cloud\]"):
        as_path("nonsense://x/y")
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(RunError, match=r"s3://bucket/run: .*upath.*; URLs need `pip install tmsjax\[cloud\]`.*s3fs"):
        RunDirectory("s3://bucket/run")
    assert RunDirectory("runs/one").path == Path("runs/one")


def test_files_are_whole_and_verified(place):
    write_sealed(place / "value.json", {"x": 1})
    assert read_sealed(place / "value.json") == ({"x": 1}, True)
    write_dataset(place / "data.nc", dataset())
    xr.testing.assert_identical(read_dataset(place / "data.nc"), dataset())

    def fails(path):
        path.write_text("half")
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        write_whole(place / "value.json", fails)
    assert read_sealed(place / "value.json") == ({"x": 1}, True)
    assert {p.name for p in place.iterdir()} == {"value.json", "data.nc"}
    assert files.free_space(place) is None
    files.check_space(place, 10**18)
    assert files.space_line(place, 2_000_000) == "needs 2.0 MB"


def test_a_store_round_trip(place):
    store = filled(place)
    assert store.done() == {0, 1, 2}
    assert store.bytes == sum(p.stat().st_size for p in store.folder.iterdir())
    xr.testing.assert_identical(store.read(1), dataset().isel(a=slice(2, 4)))
    xr.testing.assert_identical(store.open().load(), dataset())
    for selection in ({"a": slice(None, None, -2)}, {"a": [4, 0], "init": 1}, {"a": 3, "feature": [1, 0]}):
        lazy = store.open()
        for _ in range(2):  # the second time from files that are verified
            xr.testing.assert_identical(lazy.isel(selection).load(), dataset().isel(selection))
    store.write(1, dataset().isel(a=slice(2, 4)), {"seconds": 1.5})
    assert store.facts(1) == {"seconds": 1.5}
    assert store.facts(2) == {}


def test_damage_and_loss_are_noticed(place):
    store = filled(place)
    lazy, path = store.open(), store.path(1)
    content = path.read_bytes()
    _ = lazy["W"].values
    changed = bytearray(content)
    changed[content.index(dataset()["W"][2:4].to_numpy().tobytes())] ^= 1
    for damaged in (bytes(changed), content[:1000], b""):
        path.write_bytes(damaged)
        for use in (lambda: store.read(1), lazy["W"].load):
            with pytest.raises(
                RunError, match=r"run/results/00001\.nc: damaged or out of reach .*; `tmsjax resume .*/run`"
            ):
                use()
    aside = store.set_aside(1)
    assert aside.name == "damaged-00001.nc-0"
    assert store.done() == {0, 2}
    for use in (store.open, lambda: store.read(1), lazy["W"].load):
        with pytest.raises(RunError, match=r"00001\.nc.*`tmsjax resume .*/run` makes it again"):
            use()
    path.write_bytes(content)
    xr.testing.assert_identical(lazy.load(), dataset())


def test_another_process_sees_what_is_written(place):
    store = filled(place)
    other = Store(str(store.folder), store.boxes, {axis: dataset()[axis].to_numpy() for axis in AXES})
    assert other.done() == {0, 1, 2}
    store.path(2).unlink()
    assert other.done() == {0, 1}
    store.write(2, dataset().isel(a=slice(4, 5)))
    assert other.done() == {0, 1, 2}


def test_a_folder_is_renamed_with_all_its_objects(place, tmp_path):
    for top in (place, tmp_path):
        for name in ("run.json", "results/00000.nc", "results/00001.nc"):
            write_whole(top / "run" / name, lambda p, name=name: p.write_text(name))
        files.rename(top / "run", top / "run.old-0")
        assert not RunDirectory(top / "run").exists()
        assert (top / "run.old-0" / "results" / "00001.nc").read_text() == "results/00001.nc"
        assert len([p for p in (top / "run.old-0").rglob("*") if p.is_file()]) == 3


def test_a_run_directory(place):
    directory, spec = RunDirectory(str(place / "run")), load_spec(small_spec())
    assert not directory.exists()
    with pytest.raises(RunError, match=r"not a run directory"):
        directory.info()
    directory.check_free()
    directory.create()
    with directory.lock(), directory.lock(), directory.begin_lock():
        directory.clean()
        directory.write(RunFacts(to_toml(spec), provenance()["versions"]))
        directory.log("start", step=0)
        directory.log("complete", step=30)
    assert directory.exists()
    assert RunDirectory(directory.path).spec() == spec
    assert directory.info().state == "running"
    assert {p.name for p in directory.path.iterdir()} == {"run.json", "spec.toml", "log.jsonl"}
    lines = (directory.path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start", "complete"]
    assert (directory.local, directory.held()) == (False, 0)
    (directory.path / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json: damaged"):
        directory.info()


def test_a_place_that_holds_something_else_is_refused(place):
    (place / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"mine: not empty, and not a run .*thesis\.tex"):
        RunDirectory(place / "mine").check_free()


def test_a_place_that_cannot_be_written_is_refused(place, monkeypatch):
    def refuses(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(files, "_upload", refuses)
    with pytest.raises(RunError, match=r"run: cannot be written: Access Denied"):
        RunDirectory(place / "run").create()
