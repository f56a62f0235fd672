"""No data is lost and no damage goes undetected: damaged files, full disks, changed specs, diverging models, formats.

docs/reliability.md lists the guarantee of each test. test_kills.py tests kills, signals and two writers.
"""

import errno
import gc
import hashlib
import json
import os
import re
import shutil
import subprocess
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import PATHS, copied, digest, flip, plain_spec, run_bound, slowly, small_spec, write_spec

import tmsjax
from tmsjax.errors import CheckpointError, Interrupted, RunError, RunFailed
from tmsjax.runs import RunDirectory, files, open_run, run_sweep
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.files import write_whole

# A read of damaged data leaves tasks in orbax whose event loop is closed already; Python reports them when it collects
# them, so they are collected within the test that caused them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def collected():
    yield
    gc.collect()


def content(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, str]:
    """A hash of every file below a folder."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in but]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, small_run) -> tuple[Path, dict, str]:
    """A run stopped at step 12 of 30, its two newest checkpoints kept; its spec; the digest of the whole run."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    raw = small_spec(checkpoint={"every_seconds": 0.0, "segment_seconds": 0.0})
    calls = iter([False] * 11 + [True])
    with pytest.raises(Interrupted):
        run_sweep(raw, folder, should_stop=lambda: next(calls))
    assert open_run(folder).steps() == [11, 12]
    return folder, raw, digest(open_run(small_run).dataset)


KINDS = {
    "manifest": "manifest.json",
    "orbax's metadata": "_CHECKPOINT_METADATA",
    "metadata of the tree": "state/_METADATA",
    "index": "state/manifest.ocdbt",
    "data": "state/ocdbt.process_0/d/*",
}


def damage_file(path: Path, damage: str) -> None:
    data = path.read_bytes()
    if damage == "flip":
        flip(path, 4 * len(data))
    elif damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()


@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize(
    ("kind", "trained"), [*zip(KINDS, ("flip", "truncate", "delete", "truncate", "flip"), strict=True)]
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(tmp_path, stopped, kind, trained):
    """With one kind of damage the run is trained to its end, with the others the checkpoint before is compared."""
    source, raw, reference = stopped
    before = Checkpoints(source / "checkpoints").load(11)[1]
    for damage in ("flip", "truncate", "delete"):
        out = copied(source, tmp_path / damage)
        victims = sorted((out / "checkpoints" / "12").glob(KINDS[kind]), key=lambda p: -p.stat().st_size)
        damage_file(victims[0], damage)
        said = rf"checkpoints/12.*set aside as {out}/damaged-12-0, going on from step 11"
        with pytest.warns(UserWarning, match=said):
            found = run_sweep(raw, out) if damage == trained else Checkpoints(out / "checkpoints", 2).load_newest_good()
        if damage == trained:
            assert digest(found.dataset) == reference
            assert open_run(out).steps()[-1] == 30
        else:
            step, arrays = found
            assert step == 11
            assert arrays.keys() == before.keys()
            assert all(np.array_equal(arrays[name], array) for name, array in before.items())
        assert (out / "damaged-12-0").is_dir()


@pytest.mark.usefixtures("collected")
def test_every_flipped_bit_of_a_checkpoint_is_detected(tmp_path):
    rng = np.random.default_rng(0)
    saved = Checkpoints(tmp_path / "c")
    arrays = {"state.params.W": rng.normal(size=(500, 4, 2)).astype(np.float32), "state.step": np.int32(7)}
    saved.save(1, arrays)
    tried = 0
    for path in [p for p in (tmp_path / "c" / "1").rglob("*") if p.is_file()]:
        whole = path.read_bytes()
        for bit in rng.integers(0, 8 * len(whole), 10) if whole else []:
            flip(path, int(bit))
            with pytest.raises(CheckpointError, match=path.name):
                saved.load()
            path.write_bytes(whole)
            tried += 1
    assert tried >= 75
    step, loaded = saved.load()
    assert step == 1
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype


def test_a_changed_spec_toml_changes_nothing_and_folders_of_the_user_stay(tmp_path, stopped):
    """spec.toml is for people; what counts is the copy in run.json, which has a checksum."""
    source, raw, reference = stopped
    out = copied(source, tmp_path / "run")
    for name in ("12.backup", "keep", "²"):
        (out / "checkpoints" / name).mkdir()
    (out / "spec.toml").write_text((out / "spec.toml").read_text().replace("seed = 7", "seed = 3"))
    assert open_run(out).spec.seed == 7
    assert digest(run_sweep(raw, out).dataset) == reference
    assert "seed = 7" in (out / "spec.toml").read_text()
    assert {"12.backup", "keep", "²"} < {p.name for p in (out / "checkpoints").iterdir()}


@pytest.mark.usefixtures("collected")
def test_without_a_good_checkpoint_nothing_is_overwritten(tmp_path, stopped):
    source, raw, _ = stopped
    out = copied(source, tmp_path / "run")
    for step in (11, 12):
        flip(out / "checkpoints" / str(step) / "state" / "_METADATA", 77)
    before = content(out, but=(".lock", "log.jsonl"))
    with pytest.raises(CheckpointError, match=r"no good checkpoint is left.*--fresh(?s:.)*/11(?s:.)*_METADATA"):
        run_sweep(raw, out)
    assert content(out, but=(".lock", "log.jsonl")) == before
    shutil.rmtree(out / "checkpoints")
    with pytest.raises(CheckpointError, match="checkpoints are gone"):
        run_sweep(raw, out)


def repaired(out: Path):
    """The run after what comes before training."""
    directory = RunDirectory(out)
    with directory.lock(), directory.begin_lock():
        directory.repair()
    return open_run(out)


@pytest.mark.usefixtures("collected")
def test_a_damaged_run_json_is_made_again_from_a_checkpoint(tmp_path, stopped):
    """The run is trained to its end after the first and the last kind of damage."""
    source, raw, reference = stopped
    size = (source / "run.json").stat().st_size
    bits = np.random.default_rng(5).integers(0, 8 * size, 3)
    for case in (*map(int, bits), "truncate", "delete"):
        out = copied(source, tmp_path / f"run-{case}")
        if isinstance(case, str):
            damage_file(out / "run.json", case)
        else:
            flip(out / "run.json", case)
        with pytest.raises(RunError, match=r"run.json: damaged.*tmsjax resume"):
            open_run(out)
        with pytest.warns(UserWarning, match=r"run.json: damaged.*made again from .*checkpoints/12/manifest.json"):
            run = run_sweep(raw, out) if case in (int(bits[0]), "delete") else repaired(out)
        if run.trained:
            assert digest(run.dataset) == reference
        else:
            assert run.directory.info().steps_done == 12
        assert (out / "damaged-run.json-0").exists() == (case != "delete")
        assert open_run(out).spec == open_run(source).spec


@pytest.mark.smoke
@pytest.mark.parametrize("damage", ["delete", "truncate", "of another run", "flip"])
def test_damaged_results_are_detected_and_rebuilt_from_the_checkpoint(tmp_path, small_run, damage):
    reference = digest(open_run(small_run).dataset)
    file = copied(small_run, tmp_path / "run") / "results.nc"
    if damage == "flip":
        weights = open_run(tmp_path / "run").restore()["state.params.W"].tobytes()
        flip(file, 8 * file.read_bytes().index(weights) + 100)
    elif damage == "of another run":
        run_sweep(small_spec(instance={"init_scale": 0.7}), tmp_path / "other")
        shutil.copy(tmp_path / "other" / "results.nc", file)
    else:
        damage_file(file, damage)
    with pytest.raises(RunError):
        _ = open_run(tmp_path / "run").dataset
    told = pytest.warns(UserWarning, match="results.nc.*set aside as .*damaged-")
    with nullcontext() if damage == "delete" else told:
        assert digest(run_sweep(small_spec(), tmp_path / "run").dataset) == reference
    assert len(list((tmp_path / "run").glob("damaged-results.nc-0"))) == (damage != "delete")


def test_every_flipped_bit_of_the_results_is_detected_or_in_no_value(tmp_path, small_run):
    reference, file = digest(open_run(small_run).dataset), copied(small_run, tmp_path / "run") / "results.nc"
    whole = file.read_bytes()
    detected, bits = 0, np.random.default_rng(0).integers(0, 8 * len(whole), 20)
    for bit in map(int, bits):
        flip(file, bit)
        try:
            assert digest(open_run(tmp_path / "run").dataset) == reference
        except RunError:
            detected += 1
        file.write_bytes(whole)
    assert detected >= 1


def test_writing_is_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def fails(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(target, fails)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_half_a_line_in_the_log_spoils_no_other(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.log("zeroth")
    directory.log("first")
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"time": "20')
    directory.log("second")
    _, first, half, second = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in (first, second)] == ["first", "second"]
    assert half == '{"time": "20'


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """(folder, fill, empty) on a disk of 4 MB; where none can be mounted, writes fail with the error of a full one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False).returncode == 0:

        def fill():
            with suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            assert shutil.disk_usage(folder).free == 0

        yield folder, fill, (folder / "filler").unlink
        subprocess.run(["umount", str(folder)], check=True)
        return
    with monkeypatch.context() as patch:

        def fill():
            def full(path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

            patch.setattr(files, "sync", full)
            patch.setattr("tmsjax.runs.checkpoint.sync", full)
            patch.setattr(files, "free_space", lambda path: 0)

        patch.setattr(files, "free_space", lambda path: 4_000_000)
        yield folder, fill, patch.undo


@pytest.mark.smoke
def test_a_full_disk_loses_nothing(small_disk, small_run, tmp_path, monkeypatch):
    folder, fill, empty = small_disk
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raw = small_spec(checkpoint={"every_seconds": 0.0, "segment_seconds": 0.0})
    reference = digest(open_run(small_run).dataset)

    def listen(progress):
        if progress.step == 9:
            fill()

    with (
        pytest.warns(UserWarning, match=r"checkpoints/\d+: cannot be saved .*; training goes on"),
        pytest.raises(RunFailed) as failure,
    ):
        run_sweep(raw, folder / "run", listen=listen)
    text = str(failure.value)
    assert "failed after step 30: needs " in text
    assert " MB are free: " in text
    there = re.search(rf"its results are in ({tmp_path}/\S+): copy them to {folder}/run/results.nc", text)
    assert there, text
    assert "what was saved up to step 8 is intact; to continue: tmsjax resume" in text
    empty()
    assert open_run(folder / "run").steps() == [7, 8]
    shutil.copytree(folder / "run", tmp_path / "copied")
    assert digest(run_sweep(raw, folder / "run").dataset) == reference
    shutil.copy(there[1], tmp_path / "copied" / "results.nc")
    run = run_sweep(raw, tmp_path / "copied")
    assert run.trained == 0
    assert digest(run.dataset) == reference


def test_a_run_that_does_not_fit_the_disk_is_refused_before_it_begins(small_disk):
    folder, _, _ = small_disk
    with pytest.raises(RunError, match=r"not enough space: needs \d+\.\d MB, [34]\.\d MB are free"):
        run_sweep(small_spec(axes={"replica": {"count": 10_000}}), folder / "run")
    assert not (folder / "run").exists()


IN_TURN = """
import sys
from tmsjax.cli import main
for out in sys.argv[2:]:
    try:
        main(["run", sys.argv[1], "--out", out])
    except SystemExit as ended:
        print("exit", ended.code)
"""


def test_a_read_only_directory_is_told_before_any_work(tmp_path, stopped):
    source, raw, _ = stopped
    shutil.copytree(source, tmp_path / "run")
    spec = write_spec(tmp_path / "sweep.toml", raw)
    folders = [tmp_path / "run", *(p for p in (tmp_path / "run").rglob("*") if p.is_dir())]
    for folder in (tmp_path, *folders):
        folder.chmod(0o555)
    before = content(tmp_path)
    try:
        outs = [str(tmp_path / "new"), str(tmp_path / "run")]
        done = run_bound(IN_TURN, spec, *outs)
        assert done.stdout.count("exit 2\n") == 2, done.stderr
        for out in outs:
            assert f"{out}: cannot be written: Permission denied" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        for folder in (tmp_path, *folders):
            folder.chmod(0o755)
    assert content(tmp_path) == before


def test_only_what_changes_no_result_may_change(tmp_path, stopped):
    source, raw, reference = stopped
    shutil.copytree(source, tmp_path / "run")
    with pytest.raises(RunError, match=r"train\.batch: 16 -> 32\n  choose another --out"):
        run_sweep(raw | {"train": {**raw["train"], "batch": 32}}, tmp_path / "run")
    with pytest.raises(RunError, match=r"train\.steps: 30 -> 40"):  # under a cosine schedule
        run_sweep(raw, tmp_path / "run", overrides=["train.steps=40"])
    changes = ["checkpoint.every_seconds=5", "checkpoint.segment_seconds=9", "checkpoint.keep=4", "engine.unit=3"]
    assert digest(run_sweep(raw, tmp_path / "run", overrides=changes).dataset) == reference


def test_steps_may_grow_under_a_constant_schedule(tmp_path):
    raw, longer = (small_spec(train={"schedule": "constant", "steps": steps}) for steps in (20, 50))
    run_sweep(raw, tmp_path / "run")
    grown = run_sweep(longer, tmp_path / "run").dataset
    at_once = run_sweep(longer).dataset
    for name in ("W", "b", "loss", "status"):
        np.testing.assert_array_equal(grown[name], at_once[name], err_msg=name)
    steps = grown["step"].to_numpy().tolist()
    assert 20 in steps
    assert steps == sorted(set(steps))
    assert steps[-1] == 50
    np.testing.assert_array_equal(grown["history_loss"][..., -1], at_once["loss"])
    assert open_run(tmp_path / "run").spec.train.steps == 50
    with pytest.raises(RunError, match=r"train\.steps: 50 -> 20"):
        run_sweep(raw, tmp_path / "run")


@pytest.mark.parametrize(("optimizer", "path"), [("sgd", "scalars"), *slowly(*(("adam", path) for path in PATHS))])
def test_a_diverging_cell_is_marked_and_no_other_changes_a_bit(optimizer, path):
    """The sweep with a learning rate of 1e6 in one of its cells, beside the sweep that lacks that cell."""
    raw = plain_spec(4, 2, instances=5, engine={"block": 16, "path": path})
    raw["train"] |= {"optimizer": optimizer, "learning_rate": "rate", "steps": 200, "schedule": "constant"}
    raw["axes"] = {"rate": {"values": [1e-2, 1e6, 3e-3]}, **raw["axes"]}
    wild = run_sweep(raw).dataset
    raw["axes"]["rate"] = {"values": [1e-2, 3e-3]}
    calm = run_sweep(raw).dataset
    status = wild["status"].to_numpy()
    assert np.all(status[1] == (1 if optimizer == "sgd" else 2))
    assert np.all(status[[0, 2]] == 0)
    others = wild.sel(rate=[1e-2, 3e-3])
    for name in calm.data_vars:
        np.testing.assert_array_equal(others[name], calm[name], err_msg=str(name))


def test_diverged_models_are_counted_in_the_report_and_masked_in_the_map(tmp_path):
    raw = small_spec(train={"optimizer": "adam", "schedule": "constant", "steps": 200})
    raw["train"]["learning_rate"] = {"select": "feature_probability", "of": [1e6, 1e-2]}
    run = run_sweep(raw, tmp_path / "run")
    mapped = tmsjax.phase_map(run)
    assert np.all(mapped["phase"][0] == -1)
    assert np.all(mapped["phase"][1] >= 0)
    assert mapped["failed"].to_numpy().tolist() == [[2, 2, 2], [0, 0, 0]]
    assert not np.isfinite(mapped["loss"][0]).any()
    result = tmsjax.compare(run)
    assert (result["diverged_models"], result["masked_cells"]) == (6, 3)
    report = (tmp_path / "run" / "report.md").read_text()
    assert "masked: 3." in report
    assert "Diverged models: 6." in report
    assert open_run(tmp_path / "run").directory.info().diverged_models == 6


def test_newer_and_damaged_runs_are_refused(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        open_run(tmp_path)
    info = {"format": 99, "state": "complete"}
    for write in (files.write_json, files.write_sealed):
        write(tmp_path / "run.json", info)
        with pytest.raises(RunError, match=r"written by a newer tmsjax \(format 99; this one reads up to 4\)"):
            open_run(tmp_path)
    for text in ("{", "[]", "{}", '{"format": "x"}', '{"format": 3}', '{"format": 0}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunError, match="damaged"):
            open_run(tmp_path)


def test_reading_runs_executes_nothing_of_them():
    """No module unpickles, evaluates or loads objects: what a run holds is JSON, TOML, netCDF and orbax's arrays."""
    package = Path(tmsjax.__file__).parent
    forbidden = ("pickle", "eval(", "exec(", "allow_pickle", "marshal", "shelve", "yaml", "import_module(")
    found = {
        (str(path.relative_to(package)), word)
        for path in package.rglob("*.py")
        for word in forbidden
        if f" {word}" in path.read_text() or f"({word}" in path.read_text() or f".{word}" in path.read_text()
    }
    ours = {("lazy.py", "import_module("), ("kinds/imports.py", "exec(")}
    assert found == ours, "public names when they are first used; what `run` and `resume` execute"


@pytest.mark.parametrize("name", [".lock", "log.jsonl"])
def test_links_in_a_run_do_not_lead_to_other_files(tmp_path, small_run, name):
    copied(small_run, tmp_path / "run")
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / name).symlink_to(tmp_path / "mine")
    (tmp_path / "run" / "results.nc").unlink()
    with pytest.raises((RunError, RunFailed, OSError)):
        run_sweep(small_spec(), tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "precious"
