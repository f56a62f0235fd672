"""Runs that each earlier version made open in this one; unfinished ones resume. docs/compatibility.md promises it.

`tests/data/runs/VERSION.tar.xz` has the sweep, a complete run and one stopped after 6 of 12 steps; from 0.7.0 on the
same in units (format 3); in 0.6.0 one of two shards, which units replaced, and the run merged from both.
"""

import gc
import re
import tarfile

import numpy as np
import pytest
from conftest import ROOT, digest

import tmsjax
from tmsjax.analysis import compare
from tmsjax.errors import RunError
from tmsjax.runs import open_run, run_sweep
from tmsjax.spec import difference, load_spec

ARCHIVES = ROOT / "tests" / "data" / "runs"
FORMATS = {
    "0.1.0": 1,
    "0.2.0": 1,
    "0.3.0": 2,
    "0.4.0": 2,
    "0.5.0": 2,
    "0.6.0": 2,
    "0.7.0": 3,
    "0.8.0": 3,
    "0.9.0": 3,
    "0.10.0": 3,
}
IN_UNITS = [version for version, format_ in FORMATS.items() if format_ == 3]
SAME_HASH = [version for version in FORMATS if version not in ("0.1.0", "0.2.0", "0.3.0")]  # 0.4 added keys
ALWAYS = ("0.1.0", "0.3.0", "0.7.0")  # the first version of each format; the others are slow tests
ROUNDING = 1e-5  # absolute, of weights after 12 steps


@pytest.fixture(autouse=True)
def _collect_what_orbax_leaves():
    yield
    gc.collect()


@pytest.fixture
def unpacked(tmp_path, request):
    """The folder of a version's runs."""
    with tarfile.open(ARCHIVES / f"{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def versions(names, always=tuple(FORMATS)):
    marked = [pytest.param(name, marks=() if name in always else pytest.mark.slow, id=name) for name in names]
    return pytest.mark.parametrize("unpacked", marked, indirect=True)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights(run):
    return run.dataset["W"].to_numpy()


def test_every_version_is_there_and_in_the_table():
    assert {path.name.removesuffix(".tar.xz") for path in ARCHIVES.iterdir()} == FORMATS.keys()
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    written = dict(re.findall(r"^\| ([123]) \| (0\.\d+)", text, re.MULTILINE))
    first = {str(format_): version for version, format_ in reversed(FORMATS.items())}
    assert written == {format_: version.removesuffix(".0") for format_, version in first.items()}
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = set(re.findall(r"^## (\d+\.\d+\.\d+) ", changes, re.MULTILINE))
    assert released - FORMATS.keys() <= {tmsjax_version()}


def tmsjax_version() -> str:
    return re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]


@versions(FORMATS)
def test_a_complete_run_opens_restores_maps_and_compares(unpacked, request):
    folder = unpacked / "complete"
    before, version = files(folder), request.node.callspec.params["unpacked"]
    run = open_run(folder)
    info = run.directory.info()
    assert (info["format"], info["versions"]["tmsjax"]) == (FORMATS[version], version)
    assert weights(run).shape == (2, 2, 2, 1, 2)
    np.testing.assert_array_equal(run.restore()["state.params.W"].reshape(weights(run).shape), weights(run))
    assert tmsjax.phase_map(run)["phase"].dims == ("feature_probability", "extra_importance")
    assert files(folder) == before
    assert 0 < compare(run)["exact"]["agreement"] <= 1
    assert (folder / "report.md").exists()
    again = run_sweep(run.spec, folder, progress=False)
    assert again.trained == 0
    assert digest(again.dataset) == digest(run.dataset)


@versions(FORMATS)
def test_the_spec_of_an_old_version_loads_and_since_0_4_with_the_same_hash(unpacked, request):
    spec, run = load_spec(unpacked / "sweep.toml"), open_run(unpacked / "complete")
    assert not difference(run.spec, spec)
    same = spec.hash == run.directory.info()["spec_hash"]
    assert same == (request.node.callspec.params["unpacked"] in SAME_HASH)


@versions(FORMATS, ALWAYS)
@pytest.mark.filterwarnings("ignore:resumed with other versions")
def test_an_unfinished_run_resumes(unpacked):
    run = open_run(unpacked / "unfinished")
    with pytest.raises(RunError, match="no results yet"):
        _ = run.dataset
    assert run.steps() == [6]
    again = run_sweep(run.spec, unpacked / "unfinished", progress=False)
    np.testing.assert_allclose(weights(again), weights(open_run(unpacked / "complete")), rtol=0, atol=ROUNDING)


@versions(IN_UNITS, ALWAYS)
@pytest.mark.filterwarnings("ignore:resumed with other versions")
def test_runs_in_units_open_and_resume(unpacked):
    run, whole = open_run(unpacked / "units"), open_run(unpacked / "complete")
    assert len(run.units) == 4
    np.testing.assert_array_equal(weights(run), weights(whole))
    assert tmsjax.phase_map(run)["phase"].equals(tmsjax.phase_map(whole)["phase"])
    half = open_run(unpacked / "units-unfinished")
    assert half.units_done == 1
    again = run_sweep(half.spec, unpacked / "units-unfinished", progress=False)
    assert again.trained == 3
    np.testing.assert_allclose(weights(again), weights(whole), rtol=0, atol=ROUNDING)


@versions(["0.6.0"])
def test_a_merged_run_opens_and_a_single_shard_is_refused(unpacked):
    merged, whole = open_run(unpacked / "merged"), open_run(unpacked / "complete")
    np.testing.assert_allclose(weights(merged), weights(whole), rtol=0, atol=ROUNDING)
    before = files(unpacked / "shard")
    for use in (open_run, lambda path: run_sweep(unpacked / "sweep.toml", path, overrides=["engine.block=4"])):
        with pytest.raises(
            RunError, match=r"shard 1/2 of a run; units replaced shards .* `tmsjax merge` of tmsjax 0\.6"
        ):
            use(unpacked / "shard")
    assert {path: data for path, data in files(unpacked / "shard").items() if not path.name.startswith(".")} == before
