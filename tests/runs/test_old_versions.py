"""Runs that earlier versions made since format 3 open in this one; unfinished ones resume (docs/compatibility.md).

`tests/data/runs/VERSION.tar.xz` has the sweep, a complete run and one stopped after 6 of 12 steps, each also in units.
"""

import gc
import re
import tarfile

import numpy as np
import pytest
from conftest import ROOT, digest, run_command

import tmsjax
from tmsjax.analysis import compare
from tmsjax.errors import RunError
from tmsjax.runs import open_run, run_sweep
from tmsjax.runs.files import read_sealed, write_json, write_sealed
from tmsjax.spec import Spec, difference, load_spec

ARCHIVES = ROOT / "tests" / "data" / "runs"
VERSIONS = ("0.7.0", "0.8.0", "0.9.0", "0.10.0", "0.11.0")
ROUNDING = 1e-5  # absolute, of weights after 12 steps
RARELY = ["checkpoint.every_seconds=60"]  # instead of after each segment


@pytest.fixture(autouse=True)
def _collect_what_orbax_leaves():
    yield
    gc.collect()


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def unpacked(tmp_path, version):
    """The folder of a version's runs."""
    with tarfile.open(ARCHIVES / f"{version}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


def weights(run):
    return run.dataset["W"].to_numpy()


def test_every_version_since_format_3_is_there():
    assert {path.name for path in ARCHIVES.iterdir()} == {f"{version}.tar.xz" for version in VERSIONS}
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (0\.(?:[7-9]|\d\d+)\.\d+|[1-9]\d*\.\d+\.\d+)\b", changes, re.MULTILINE)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(VERSIONS) <= set(released)
    assert set(released) - set(VERSIONS) <= set(re.findall(r'^version = "(.*)"', project, re.MULTILINE))


@pytest.mark.smoke
def test_a_complete_run_opens_restores_maps_and_compares(unpacked, version):
    folder = unpacked / "complete"
    before = files(folder)
    run = open_run(folder)
    facts = run.directory.info()
    assert (facts.format, facts.versions["tmsjax"]) == (3, version)
    assert weights(run).shape == (2, 2, 2, 1, 2)
    np.testing.assert_array_equal(run.restore()["state.params.W"].reshape(weights(run).shape), weights(run))
    assert tmsjax.phase_map(run)["phase"].dims == ("feature_probability", "extra_importance")
    assert files(folder) == before
    assert 0 < compare(run)["exact"]["agreement"] <= 1
    assert (folder / "report.md").exists()
    again = run_sweep(run.spec, folder, progress=False)
    assert again.trained == 0
    assert digest(again.dataset) == digest(run.dataset)
    spec = load_spec(unpacked / "sweep.toml")
    assert not difference(run.spec, spec)
    assert spec.hash == facts.spec_hash


@pytest.mark.filterwarnings("ignore:resumed with other versions")
def test_unfinished_runs_resume_whole_and_in_units(unpacked):
    whole, run = open_run(unpacked / "complete"), open_run(unpacked / "unfinished")
    with pytest.raises(RunError, match="no results yet"):
        _ = run.dataset
    assert run.steps() == [6]
    again = run_sweep(run.spec, unpacked / "unfinished", overrides=RARELY, progress=False)
    np.testing.assert_allclose(weights(again), weights(whole), rtol=0, atol=ROUNDING)

    units = open_run(unpacked / "units")
    assert len(units.units) == 4
    np.testing.assert_array_equal(weights(units), weights(whole))
    assert tmsjax.phase_map(units)["phase"].equals(tmsjax.phase_map(whole)["phase"])
    half = open_run(unpacked / "units-unfinished")
    assert half.units_done == 1
    again = run_sweep(half.spec, unpacked / "units-unfinished", overrides=RARELY, progress=False)
    assert again.trained == 3
    np.testing.assert_allclose(weights(again), weights(whole), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("version", VERSIONS[-1:])
@pytest.mark.filterwarnings("ignore:resumed with other versions")
def test_a_later_hash_of_the_same_spec_costs_no_training(unpacked, monkeypatch):
    monkeypatch.setattr(Spec, "hash", property(lambda spec: "0" * 64))
    for name, trained in (("complete", 0), ("units", 0), ("units-unfinished", 3)):
        run = run_sweep(open_run(unpacked / name).spec, unpacked / name, progress=False)
        assert run.trained == trained, name
        assert not list((unpacked / name).rglob("damaged-*"))
        assert tmsjax.phase_map(run)["phase"].shape == (2, 2)
        assert run.directory.info().spec_hash != "0" * 64


@pytest.mark.parametrize("version", VERSIONS[:1])
@pytest.mark.parametrize("format_", [1, 2])
def test_formats_1_and_2_name_the_last_version_that_reads_them(unpacked, format_):
    """Format 1 had no checksums and no spec in run.json; format 2 had both."""
    run = unpacked / "complete"
    info, _ = read_sealed(run / "run.json")
    info["format"] = format_
    if format_ == 1:
        del info["spec"]
    (write_json if format_ == 1 else write_sealed)(run / "run.json", info)
    before = files(run)
    why = rf"{run}: run format {format_}; tmsjax 0\.11\.0 is the last version that reads it: open it"
    uses = {
        "open_run": lambda: open_run(run),
        "phase_map": lambda: tmsjax.phase_map(run),
        "run_sweep": lambda: run_sweep(unpacked / "sweep.toml", run),
    }
    for name, use in uses.items():
        with pytest.raises(RunError, match=why) as caught:
            use()
        assert len(str(caught.value).splitlines()) == 1, name
    done = run_command("resume", run)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert re.search(why, done.stderr)
    assert files(run) == before

    (run / "run.json").unlink()  # a copy of a manifest is no way around it
    manifest, _ = read_sealed(run / "checkpoints" / "12" / "manifest.json")
    manifest["run"]["format"] = format_
    write_sealed(run / "checkpoints" / "12" / "manifest.json", manifest)
    with pytest.raises(RunError, match=why):
        run_sweep(unpacked / "sweep.toml", run)
