"""The units of a store are one dataset: the same values and labels as in memory, read lazily, never damaged or half."""

import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from conftest import copied, flip

from tmsjax.errors import RunError
from tmsjax.runs.faults import is_disk_full
from tmsjax.runs.store import Store
from tmsjax.spec import Boxes

# h5netcdf fails once more when it collects a file that it could not open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
COORDS = {"feature_probability": [0.1, 0.2, 0.3, 0.4, 0.5], "init": ["xavier", "a", "bb"], "replica": range(7)}
GRID, PART = (5, 3, 7), (2, 2, 7)


def whole_dataset() -> xr.Dataset:
    """What a run's dataset can hold: all dtypes, trailing dimensions with and without coordinates, partial grids."""
    rng, axes = np.random.default_rng(0), tuple(COORDS)
    W = rng.normal(size=(*GRID, 1, 2)).astype(np.float32)
    W[0, 0, 0] = np.nan
    variables = {
        "W": ((*axes, "hidden", "feature"), W),
        "loss": (axes, rng.normal(size=GRID).astype(np.float32), {"long_name": "noise-free loss"}),
        "status": (axes, rng.integers(0, 3, GRID).astype(np.int8), {"flag_values": [0, 1, 2], "flag_meanings": "a b"}),
        "history_loss": ((*axes, "step"), rng.normal(size=(*GRID, 4))),
        "inits": ((axes[0], axes[1]), rng.integers(0, 9, GRID[:2]).astype(np.int32)),
        "turned": (("feature", "replica", "init"), rng.normal(size=(2, 7, 3))),
        "same": (("feature",), np.arange(2.0)),
        "phase": (axes[:2], np.asarray(rng.choice(["none", "both"], GRID[:2]), object)),
        "ok": (axes, W[..., 0, 0] > 0),
    }
    coords = {name: (name, list(values)) for name, values in COORDS.items()}
    named = {"label": ("init", np.asarray(["one", "two", "three"], object)), "step": ("step", [0, 10, 20, 30])}
    return xr.Dataset(variables, coords | named, {"spec": 'name = "ä"\n', "format": 2})


def make(folder, dataset: xr.Dataset | None = None, **options) -> tuple[Store, xr.Dataset]:
    """A complete store of a dataset."""
    dataset = whole_dataset() if dataset is None else dataset
    store = Store(folder, Boxes(GRID, PART), COORDS, **options)
    for unit in range(len(store.boxes)):
        store.write(unit, dataset.isel(dict(zip(COORDS, store.boxes[unit].slices, strict=True))))
    return store, dataset


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Store, xr.Dataset]:
    """A complete store that no test changes."""
    return make(tmp_path_factory.mktemp("stored") / "results")


@pytest.fixture
def own(stored, tmp_path) -> tuple[Store, xr.Dataset]:
    """A copy of it that the test may change."""
    store, dataset = stored
    return Store(copied(store.folder, tmp_path / "run" / "results"), store.boxes, COORDS), dataset


def dtypes(dataset: xr.Dataset) -> dict[str, str]:
    """Texts may be Python strings or as long as the longest, as in one file."""
    return {n: "text" if v.dtype.kind in "OU" else str(v.dtype) for n, v in dataset.variables.items()}


def assert_same(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Equal values, labels, attributes and, unlike xarray's test, dtypes."""
    xr.testing.assert_identical(found.load(), expected)
    assert dtypes(found) == dtypes(expected)


def test_the_whole_is_the_dataset_that_was_divided_and_a_unit_its_part(stored):
    store, expected = stored
    assert store.done() == set(range(6))
    assert store.bytes == sum(p.stat().st_size for p in store.folder.iterdir())
    assert_same(store.open(), expected)
    assert list(store.open().dims) == list(expected.dims)
    for unit, box in enumerate(store.boxes):
        assert_same(store.read(unit), expected.isel(dict(zip(COORDS, box.slices, strict=True))))


def test_coordinates_may_be_absent_and_encodings_of_a_file_do_not_matter(tmp_path, stored):
    store, expected = stored
    again = Store(tmp_path / "again", store.boxes, COORDS)
    for unit in store.done():
        with xr.open_dataset(store.path(unit), engine="h5netcdf") as opened:
            again.write(unit, opened.load().drop_vars(list(COORDS)).assign_attrs(expected.attrs))
    assert_same(again.open(), expected)


def test_attributes_of_the_whole_replace_those_of_the_units(stored):
    store, expected = stored
    store = Store(store.folder, store.boxes, COORDS, attrs={"spec": "new", "one": [1]})
    assert_same(store.open(), expected.drop_attrs(deep=False).assign_attrs(spec="new", one=[1]))
    assert store.read(3).attrs == {"spec": "new", "one": [1]}


def test_a_grid_without_axes_is_one_unit(tmp_path):
    store, expected = Store(tmp_path, Boxes((), ()), {}), xr.Dataset({"W": (("hidden", "feature"), np.eye(2))})
    store.write(0, expected)
    assert_same(store.open(), expected)


@pytest.mark.parametrize(
    "selection",
    [
        {"feature_probability": 3, "init": -1, "replica": 0},
        {"feature_probability": slice(1, 4), "replica": slice(None, 5)},
        {"feature_probability": slice(None, None, 2), "init": slice(None, None, 2), "step": slice(1, None, 2)},
        {"feature_probability": slice(None, None, -1), "init": slice(2, 0, -1), "replica": slice(None, None, -3)},
        {"feature_probability": [4, 0, 0, -2], "init": [2, 1], "feature": [1, 0]},
        {"feature_probability": [True, False, True, False, True], "init": slice(0, 0)},
        {"feature_probability": [], "replica": [6]},
        {"feature_probability": xr.DataArray([0, 4, 2], dims="point"), "init": xr.DataArray([2, 0, 1], dims="point")},
        {"init": xr.DataArray([[0, 1], [2, 2]], dims=("a", "b")), "replica": slice(None, None, -1)},
    ],
)
def test_selections_across_the_borders_of_units(stored, selection):
    store, expected = stored
    assert_same(store.open().isel(selection), expected.isel(selection))


def test_random_selections(stored):
    store, expected = stored
    rng = np.random.default_rng(1)
    for _ in range(6):
        selection = {}
        for dim, size in expected.sizes.items():
            slices = [slice(None, None, -1), slice(1, None, 2), slice(None, None, -2), slice(1), slice(-2, None)]
            points = xr.DataArray(rng.integers(-size, size, 4), dims="point")
            numbers, some = rng.integers(-size, size, rng.integers(0, 6)), rng.random(size) < 0.5
            usual = slices[rng.integers(len(slices))]
            selection[dim] = [slice(None), int(rng.integers(size)), usual, numbers, some, points][rng.integers(6)]
        assert_same(store.open().isel(selection), expected.isel(selection))


def test_selections_of_selections_and_by_label(stored):
    store, expected = stored

    def select(dataset):
        turned = dataset.isel(feature_probability=slice(None, None, -1), init=[2, 0]).isel(feature_probability=[3, 1])
        return turned.sel(init="xavier").sel(replica=slice(2, 5)).sel(feature_probability=0.21, method="nearest")

    assert_same(select(store.open()), select(expected))


def test_the_lazy_dataset_computes_like_one_in_memory(stored):
    store, expected = stored
    lazy = store.open()
    found, known = (d["loss"].where(d["status"] == 0).min("replica") + d["inits"] for d in (lazy, expected))
    xr.testing.assert_identical(found, known)
    lazy["loss"][0, 0, 0] = 7.0  # in memory, not in the file
    assert float(lazy["loss"][0, 0, 0]) == 7.0
    assert_same(store.open(), expected)


def test_dask_where_it_is_installed(stored):
    pytest.importorskip("dask")
    store, expected = stored
    chunked = store.open().chunk(dict(zip(store.dims, store.boxes.part, strict=True)))
    assert chunked["loss"].data.npartitions == 6
    assert_same(chunked, expected)


def test_only_the_files_that_a_selection_touches_are_read(tmp_path):
    store = Store(tmp_path, Boxes((40, 50), (1, 50)), {"a": range(40), "b": range(50)})
    for unit in range(40):
        store.write(unit, xr.Dataset({"W": (("a", "b", "feature"), np.full((1, 50, 2), unit))}))
    lazy = store.open()
    for unit in set(range(40)) - {0, 17, 18}:
        store.path(unit).write_bytes(b"damaged")
    part = lazy.isel(a=slice(17, 19), b=slice(3, 5)).load()
    np.testing.assert_array_equal(part["W"][:, 0, 0], [17, 18])
    with pytest.raises(RunError, match=r"00019\.nc: damaged"):
        lazy.isel(a=19).load()


MEMORY = """
import resource, sys
import numpy as np, xarray as xr
from tmsjax.runs.store import Store
from tmsjax.spec import Boxes
units, cells = 25, 250_000
store = Store(sys.argv[1], Boxes((units, cells), (1, cells)), {"a": range(units), "b": range(cells)})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for unit in range(units):
    store.write(unit, xr.Dataset({"W": (("a", "b", "feature"), np.full((1, cells, 4), unit, np.float32))}))
lazy = store.open()
assert float(lazy["W"].isel(b=7, feature=0).sum()) == sum(range(units))
assert "jax" not in sys.modules
print(lazy["W"].nbytes, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_memory_is_that_of_a_few_units(tmp_path):
    """Units of 4 MB; without jax."""
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    whole, used = map(int, done.stdout.split())
    assert whole == 100_000_000
    assert used < 50_000_000


def test_flipped_bits_in_any_region_of_a_file_are_noticed_or_in_no_value(own):
    store, expected = own
    store = Store(store.folder, store.boxes, COORDS, remedy="train it again")
    path, first = store.path(4), expected.isel(dict(zip(COORDS, store.boxes[4].slices, strict=True)))
    content = path.read_bytes()
    bits = np.linspace(0, 8 * len(content) - 1, 25).astype(int) + np.random.default_rng(0).integers(-7, 8, 25)
    messages = []
    for bit in np.clip(bits, 0, 8 * len(content) - 1):
        flip(path, int(bit))
        try:
            found = store.read(4)
        except RunError as error:
            messages.append(str(error))
        else:
            assert_same(found, first)
        path.write_bytes(content)
    assert len(messages) >= 2
    assert all(m.startswith(f"{path}: ") and m.endswith("; train it again") for m in messages)


def test_every_flipped_bit_of_a_value_is_noticed_lazily_too(own):
    store, expected = own
    path, W = store.path(4), expected["W"].isel(dict(zip(COORDS, store.boxes[4].slices, strict=True))).to_numpy()
    content, lazy = path.read_bytes(), store.open()
    start, length = content.index(W.tobytes()), W.nbytes
    for byte in np.random.default_rng(0).integers(start, start + length, 8):
        flip(path, 8 * int(byte) + 3)
        with pytest.raises(RunError, match=r"results/00004\.nc: damaged .*; `tmsjax resume .*/run` makes it again"):
            lazy["loss"].load()
        path.write_bytes(content)
    assert_same(lazy, expected)


def test_a_file_that_changes_after_it_was_verified_is_verified_again(own):
    store, expected = own
    lazy = store.open()
    xr.testing.assert_identical(lazy["W"].isel(replica=0).load(), expected["W"].isel(replica=0))
    content = store.path(2).read_bytes()
    time.sleep(0.01)  # the clock of a file system may tick that slowly
    flip(store.path(2), 8 * content.index(store.read(2)["W"].to_numpy().tobytes()))
    with pytest.raises(RunError, match=r"00002\.nc: damaged \(its checksum does not match\)"):
        lazy["W"].isel(replica=1).load()


@pytest.mark.parametrize("damage", ["truncate", "empty", "text"])
def test_what_is_no_dataset_is_refused(own, damage):
    store, _ = own
    lazy, content = store.open(), store.path(3).read_bytes()
    store.path(3).write_bytes({"truncate": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    for use in (lambda: store.read(3), lazy.load):
        with pytest.raises(RunError, match=r"00003\.nc: damaged .*; `tmsjax resume"):
            use()


def test_missing_units_are_named(own, tmp_path):
    store, _ = own
    lazy = store.open()
    for unit in (1, 4):
        store.path(unit).unlink()
    assert store.done() == {0, 2, 3, 5}
    with pytest.raises(RunError, match=r"results: 2 of 6 units are missing \(00001\.nc, 00004\.nc\); `tmsjax resume"):
        store.open()
    for use in (lambda: store.read(1), lazy.load):
        with pytest.raises(RunError, match=r"00001\.nc: missing; `tmsjax resume"):
            use()
    empty = Store(tmp_path / "none", store.boxes, COORDS)
    assert empty.done() == set()
    assert empty.bytes == 0
    with pytest.raises(RunError, match=r"6 of 6 units are missing \(00000.*, \.\.\.\)"):
        empty.open()


def test_files_of_another_unit_or_sweep_are_refused(tmp_path):
    store, _ = make(tmp_path / "results", sweep="abc")
    other, _ = make(tmp_path / "other", sweep="abd")
    shutil.copy(other.path(1), store.path(1))
    shutil.copy(store.path(2), store.path(3))
    for unit in (1, 3):
        with pytest.raises(RunError, match=rf"0000{unit}\.nc: not the unit {unit} of 6 of sweep abc; `tmsjax"):
            store.read(unit)
    shifted = Store(tmp_path / "results", store.boxes, COORDS | {"replica": range(1, 8)}, sweep="abc")
    with pytest.raises(RunError, match=r"00000\.nc: not the unit 0"):
        shifted.open()


def test_writing_refuses_what_is_not_the_unit(tmp_path):
    store, expected = Store(tmp_path / "results", Boxes(GRID, PART), COORDS), whole_dataset()
    for part in (slice(0, 3), slice(1, 3)):  # too long; of other coordinates
        with pytest.raises(ValueError, match="unit 0 spans"):
            store.write(0, expected.isel(feature_probability=part, init=slice(0, 2)))
    assert store.done() == set()


def test_a_damaged_unit_is_set_aside_and_written_again(own):
    store, expected = own
    for count in (1, 2):
        store.path(2).write_bytes(b"damaged")
        aside = store.set_aside(2)
        assert aside.read_bytes() == b"damaged"
        assert store.done() == {0, 1, 3, 4, 5}
        store.write(2, expected.isel(dict(zip(COORDS, store.boxes[2].slices, strict=True))))
        assert len(list(store.folder.iterdir())) == 6 + count
        assert_same(store.open(), expected)


ENDLESS = """
import sys
import numpy as np, xarray as xr
from tmsjax.runs.store import Store
from tmsjax.spec import Boxes
store = Store(sys.argv[1], Boxes((4, 1_000_000), (1, 1_000_000)), {"a": range(4), "b": range(1_000_000)})
for k in range(1, 10**6):
    store.write(k % 4, xr.Dataset({"W": (("a", "b", "feature"), np.full((1, 1_000_000, 4), k, np.float32))}))
"""


def test_a_writer_that_is_killed_leaves_whole_units_and_the_next_one_cleans_up(tmp_path):
    store = Store(tmp_path / "s", Boxes((4, 1_000_000), (1, 1_000_000)), {"a": range(4), "b": range(1_000_000)})
    rng, halves = np.random.default_rng(0), 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", ENDLESS, store.folder])
        while len(store.done()) < 4 and process.poll() is None:
            time.sleep(0.01)
        began, delay = time.monotonic(), rng.uniform(0, 0.3)
        while time.monotonic() - began < delay or not (list(store.folder.glob(".*")) or process.poll() is not None):
            time.sleep(0.0005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        halves += len(list(store.folder.glob(".*")))
        for unit in store.done():
            W = store.read(unit)["W"].to_numpy()
            assert W[0, 0, 0] % 4 == unit
            assert np.ptp(W) == 0
    assert halves > 0, "no kill was within a write"
    for unit in range(4):
        store.write(unit, xr.Dataset({"W": (("a", "b"), np.zeros((1, 1_000_000), np.float32))}))
    assert {p.name for p in store.folder.iterdir()} == {f"0000{unit}.nc" for unit in range(4)}


def test_a_full_disk_leaves_the_old_unit(own):
    """Files may not exceed 20 kB here; a disk without space fails in the same call."""
    store, expected = own
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    big = xr.Dataset({"W": ((*COORDS, "feature"), np.zeros((2, 2, 7, 1000)))})
    try:
        with pytest.raises(OSError, match="File too large") as failure:
            store.write(0, big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_disk_full(failure.value)
    assert len(list(store.folder.iterdir())) == 6
    assert_same(store.open(), expected)


def test_only_units_of_several_are_compressed_and_only_the_given_quantities(tmp_path):
    W, given = np.random.default_rng(0).normal(size=(4, 100_000)), np.full((4, 100_000), 0.3)
    dataset = xr.Dataset({"W": (("a", "feature"), W), "instance_importance": (("a", "feature"), given)})
    several = Store(tmp_path / "several", Boxes((4,), (2,)), {"a": range(4)})
    for unit in (0, 1):
        several.write(unit, dataset.isel(a=slice(2 * unit, 2 * unit + 2)))
    assert W.nbytes < several.bytes < 1.1 * W.nbytes
    single = Store(tmp_path / "single", Boxes((4,), (4,)), {"a": range(4)})
    single.write(0, dataset)
    assert single.path(0) == tmp_path / "single.nc"
    assert single.bytes > 2 * W.nbytes
    for store in (several, single):
        assert_same(store.open(), dataset.assign_coords(a=range(4)))
        np.testing.assert_array_equal(store.open()["instance_importance"][1:3, 50_000:50_002], 0.3)


def test_facts_are_stored_beside_a_unit(own):
    store, expected = own
    part = expected.isel(dict(zip(COORDS, store.boxes[5].slices, strict=True)))
    store.write(5, part, {"seconds": 1.5, "device": "cpu"})
    assert store.facts(5) == {"seconds": 1.5, "device": "cpu"}
    assert store.facts(0) == {}
    assert_same(store.read(5), part)
    assert store.attributes(5)["spec"] == expected.attrs["spec"]
    store.remove(5)
    assert 5 not in store.done()
    with pytest.raises(RunError, match=r"00005\.nc"):
        store.facts(5)
