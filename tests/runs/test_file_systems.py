"""File systems that lack something: locks, syncs, permissions, space, or a network that stays."""

import errno
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from conftest import copied, digest, run_bound, run_command, run_process, small_spec, write_spec
from orbax.checkpoint import v1 as ocp

import tmsjax
from tmsjax.errors import RunError, RunFailed, Unreadable
from tmsjax.runs import RunDirectory, checkpoint, faults, open_run, run_sweep
from tmsjax.runs.checkpoint import Checkpoints
from tmsjax.runs.faults import patiently, reach
from tmsjax.runs.files import write_text
from tmsjax.runs.trial import trial, write_elsewhere

ARRAYS = {"state.params.W": np.arange(6, dtype=np.float32).reshape(3, 2)}


def refusing(number: int):
    """A function that fails like a system call."""

    def fail(*_args, **_options):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def at_once(monkeypatch):
    """Nothing waits between tries."""
    monkeypatch.setattr(faults, "PAUSES", (0.0,) * 4)


# A trial before training


def test_a_trial_leaves_nothing_behind_and_is_quick(tmp_path):
    trial(tmp_path)  # the first call imports and compiles
    began = time.monotonic()
    assert trial(tmp_path)
    assert time.monotonic() - began < 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("where", "name", "number", "told"),
    [
        (os, "mkdir", errno.EROFS, "making a folder"),
        (os, "replace", errno.EIO, "writing a file"),
        (fcntl, "flock", errno.EIO, "locking a file"),
        (Path, "rename", errno.EXDEV, "saving a checkpoint"),
        (ocp, "load", errno.EIO, "reading a checkpoint"),
    ],
)
def test_what_fails_in_a_trial_is_named(tmp_path, monkeypatch, where, name, number, told):
    monkeypatch.setattr(where, name, refusing(number))
    with pytest.raises(RunError, match=rf"{tmp_path}: cannot hold a run: {told} failed \(.*\); choose another --out"):
        trial(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_a_folder_that_cannot_hold_it_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "rename", refusing(errno.EXDEV))
    steps = []
    with pytest.raises(RunError, match="cannot hold a run: saving a checkpoint failed"):
        run_sweep(small_spec(), tmp_path / "run", listen=steps.append)
    assert [progress.step for progress in steps if progress.step] == []
    assert not (tmp_path / "run" / "run.json").exists()


# Locks


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_one_process_trains_and_is_warned(tmp_path, monkeypatch, number):
    directory = RunDirectory(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    assert not trial(tmp_path)
    with (
        pytest.warns(UserWarning, match=r"no locks .*: a second process that trains this run would not be noticed"),
        directory.lock(),
        directory.begin_lock(),
        directory.try_lock(directory.unit_folder(0)) as locked,
    ):
        assert locked
    with (
        pytest.raises(RunError, match="--join needs a file system with locks; this one has none"),
        directory.lock(shared=True),
    ):
        pass
    assert directory.is_held() is None


def test_a_run_is_held_while_a_process_trains_it(tmp_path):
    directory = RunDirectory(tmp_path)
    assert directory.is_held() is False
    for shared in (False, True):
        with directory.lock(shared):
            assert directory.is_held() is True
        assert directory.is_held() is False
    refused = pytest.raises(RunError, match=r"another process is writing this run \(process")
    with directory.lock(), refused, RunDirectory(tmp_path).lock(shared=True):
        pass
    with directory.lock(shared=True), RunDirectory(tmp_path).lock(shared=True):
        pass


def test_asking_whether_a_run_is_held_keeps_nobody_from_it(tmp_path, monkeypatch):
    """Who asks holds the lock for a moment."""
    with open(tmp_path / ".lock", "ab+") as asking:
        fcntl.flock(asking, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda seconds: asking.close())
        with RunDirectory(tmp_path).lock():
            assert asking.closed


def test_hdf5_asks_for_no_locks(tmp_path, small_run, unit_run):
    """HDF5 would refuse to read a file that is locked otherwise, and any file where flock fails."""
    reference = digest(open_run(small_run).dataset)
    run, units = copied(small_run, tmp_path / "run"), copied(unit_run, tmp_path / "units")
    with open(run / "results.nc", "rb") as one, open(units / "results" / "00000.nc", "rb") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        fcntl.flock(other, fcntl.LOCK_EX)
        assert digest(open_run(run).dataset) == reference
        assert digest(open_run(units).dataset.load()) == reference


# Syncs and modes


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES])
def test_folders_are_synced_as_far_as_possible(tmp_path, monkeypatch, number):
    real = os.fsync

    def fsync(handle):
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        return refusing(number)() if folder else real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "file", "text")
    Checkpoints(tmp_path / "c").save(1, ARRAYS)
    assert Checkpoints(tmp_path / "c").load()[0] == 1


@pytest.mark.parametrize(("number", "fatal"), [(errno.EINVAL, False), (errno.ENOSYS, False), (errno.ENOSPC, True)])
def test_a_file_that_cannot_be_synced_at_all_is_trusted(tmp_path, monkeypatch, number, fatal):
    monkeypatch.setattr(os, "fsync", refusing(number))
    if fatal:
        with pytest.raises(OSError, match="No space"):
            write_text(tmp_path / "file", "text")
    else:
        write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").exists() is not fatal


@pytest.mark.parametrize(("mask", "wanted", "unwanted"), [(0o002, 0o020, 0o002), (0o077, 0o600, 0o077)])
def test_files_and_folders_have_the_mode_that_the_umask_asks_for(tmp_path, mask, wanted, unwanted):
    before = os.umask(mask)
    try:
        for name, unit in (("one", 12), ("units", 6)):
            run = run_sweep(small_spec(engine={"unit": unit}), tmp_path / name)
            for command in ("map", "compare"):
                assert run_command(command, tmp_path / name).returncode == 0
        assert run_command("explore", tmp_path / name).returncode == 0
        tmsjax.plots.save(tmsjax.plots.phase_map(tmsjax.phase_map(run)), tmp_path / name / "figures" / "map")
    finally:
        os.umask(before)
    found = {str(p.relative_to(tmp_path)): p.stat().st_mode for p in tmp_path.rglob("*")}
    assert {"one/.lock", "one/.begin", "one/log.jsonl", "one/results.nc", "one/report.md"} < found.keys()
    assert {"units/figures/map.png", "units/explorer.html", "units/theory/00001.nc"} < found.keys()
    assert any("checkpoints/30/state" in name for name in found)
    assert [name for name, mode in found.items() if mode & wanted != wanted or mode & unwanted] == []


# Names that are not UTF-8

FOREIGN = os.fsdecode(b"caf\xe9")


def test_a_finished_run_is_read_in_a_folder_whose_name_is_not_utf_8(tmp_path, unit_run):
    run = copied(unit_run, tmp_path / FOREIGN)
    for command in (["info"], ["map"], ["plot", "--kind", "learning"], ["resume"]):
        done = run_command(*command, run)
        assert done.returncode == 0, done.stderr
        done.stdout.encode()


def test_training_in_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path):
    done = run_command("run", write_spec(tmp_path / "s.toml", small_spec()), "--out", tmp_path / FOREIGN)
    assert done.returncode == 2
    assert r"caf\udce9: cannot hold a run: its path is not UTF-8" in done.stderr
    with RunDirectory(tmp_path / FOREIGN).lock():
        assert b"process" in (tmp_path / FOREIGN / ".lock").read_bytes()


def test_the_lock_names_a_command_that_is_not_utf_8(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tmsjax", FOREIGN])
    refused = pytest.raises(RunError, match=r"tmsjax caf\\udce9")
    with RunDirectory(tmp_path).lock(), refused, RunDirectory(tmp_path).lock():
        pass


@pytest.mark.usefixtures("registries")
def test_files_in_a_folder_whose_name_is_not_utf_8_are_imported(tmp_path):
    folder = tmp_path / FOREIGN
    folder.mkdir()
    (folder / "mine.py").write_text("import tmsjax\n\ntmsjax.add_activation('twice', lambda z: 2 * z)\n")
    raw = small_spec(model={"activation": "twice"})
    (folder / "s.toml").write_text('imports = ["mine.py"]\n' + Path(write_spec_text(tmp_path, raw)).read_text())
    run = run_sweep(folder / "s.toml", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["folder"] == str(folder)
    assert open_run(tmp_path / "run").spec == run.spec


def write_spec_text(folder: Path, raw: dict) -> str:
    """A spec file that names an entry which is not known yet."""
    known = write_spec(folder / "known.toml", raw | {"model": {**raw["model"], "activation": "relu"}})
    Path(known).write_text(Path(known).read_text().replace('activation = "relu"', 'activation = "twice"'))
    return known


# What cannot be read now is not damaged


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, "x"), "Permission denied"),
        (OSError(errno.EIO, "x"), "Input/output error"),
        (OSError(errno.ESTALE, "x"), "Stale file handle"),
        (OSError(errno.ENOTCONN, "x"), "Transport endpoint is not connected"),
        (OSError("[Errno 37] Unable to open (errno = 37, error message = 'No locks available')"), "No locks available"),
        (ValueError('Error opening "f": Permission denied [OS error 13]'), "Permission denied"),
        (MemoryError(), "not enough memory"),
        (FileNotFoundError(errno.ENOENT, "x"), None),
        (OSError("Unable to open (file signature not found)"), None),
        (OSError(errno.EINVAL, "x"), None),
        (ValueError("its checksum does not match"), None),
    ],
)
def test_which_errors_mean_that_a_file_may_be_intact(tmp_path, error, reason):
    with pytest.raises(type(error) if reason is None else Unreadable) as raised, reach(tmp_path):
        raise error
    if reason is not None:
        assert str(raised.value) == f"{tmp_path}: cannot be read: {reason}"


@pytest.mark.parametrize("where", [(xr, "open_dataset"), (h5py, "File")])
def test_results_that_cannot_be_read_stay_and_are_not_trained_again(tmp_path, monkeypatch, small_run, where):
    run = copied(small_run, tmp_path / "run")
    monkeypatch.setattr(*where, refusing(errno.EIO))
    with pytest.raises(Unreadable, match=r"results.nc: cannot be read: Input/output error"):
        run_sweep(small_spec(), run)
    monkeypatch.undo()
    assert digest(open_run(run).dataset) == digest(open_run(small_run).dataset)
    assert list(run.glob("damaged*")) == []


HIDING = """
import os, sys
from pathlib import Path
from tmsjax.cli import main
os.chdir(sys.argv[1])
for line in sys.argv[2:]:
    hidden, command = line.split(": ")
    before = Path(hidden).stat().st_mode
    Path(hidden).chmod(0)
    try:
        main(command.split())
        print(line, "-> 0")
    except SystemExit as ended:
        print(line, "->", ended.code)
    Path(hidden).chmod(before)
"""


def test_what_may_not_be_read_is_told_and_stays(tmp_path, small_run, unit_run):
    for source, name in ((small_run, "one"), (small_run, "without"), (unit_run, "units")):
        copied(source, tmp_path / name)
    (tmp_path / "without" / "results.nc").unlink()
    for name in ("one", "units"):
        for command in ("map", "compare"):
            assert run_command(command, tmp_path / name).returncode == 0
    cases = {
        "one/results.nc: resume one": "one/results.nc",
        "one/run.json: resume one": "one/run.json",
        "one/theory.nc: compare one": "one/theory.nc",
        "without/checkpoints: resume without": "without/checkpoints",
        "without/checkpoints/30/manifest.json: resume without": "without/checkpoints/30/manifest.json",
        "without/checkpoints/30/state: resume without": "without/checkpoints/30/state/",
        "units/results/00001.nc: resume units": "units/results/00001.nc",
        "units/phase_map-best/00001.nc: map units": "units/phase_map-best/00001.nc",
        "units/theory/00001.nc: compare units": "units/theory/00001.nc",
    }
    before = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    done = run_bound(HIDING, tmp_path, *cases, "one/comparison.json: info one")
    assert done.stdout.count("-> 2\n") == len(cases), done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for line, (case, file) in zip(told, cases.items(), strict=True):
        assert file.rstrip("/") in line, case
        assert ": cannot be read: Permission denied" in line
    assert "comparison.json: cannot be read: Permission denied" in done.stdout
    after = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    assert all(path.startswith(("without/.begin", "without/units")) for path in after - before), "locks"
    assert before - after == set()


READING = """
import sys, tmsjax
from tmsjax.cli import main
for run in sys.argv[1:]:
    for command in ("map", "compare", "plot", "explore", "info"):
        try:
            main([command, run])
            print(command, "-> 0")
        except SystemExit as ended:
            print(command, "->", ended.code)
    print(tmsjax.open_run(run).dataset["W"].load().shape, tmsjax.open_run(run).directory.is_held())
"""


def test_a_run_that_may_only_be_read_is_read_and_refused_where_it_would_be_written(tmp_path, small_run, unit_run):
    runs = [copied(source, tmp_path / name) for source, name in ((small_run, "one"), (unit_run, "units"))]
    for path in (*tmp_path.rglob("*"), tmp_path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = run_bound(READING, *runs)
    finally:
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert "Traceback" not in done.stderr
    assert done.stdout.count("-> 2\n") == 8
    assert done.stdout.count("info -> 0\n") == 2
    assert done.stdout.count("(2, 3, 2, 1, 2) False\n") == 2
    for run in runs:
        assert f"{run}: cannot be written: Permission denied; copy the run" in done.stderr
        assert f"{run}/figures: cannot be written: Permission denied; copy the run" in done.stderr
        assert f"{run}/explorer.html: cannot be written: Permission denied; --out FILE writes elsewhere" in done.stderr


# Saves that fail


@pytest.mark.usefixtures("at_once")
def test_a_save_is_tried_again_while_its_error_may_pass(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path / "c", keep=2)
    for name, real in (("_write", checkpoint._write), ("_files", checkpoint._files), ("_move", checkpoint._move)):
        left = [3]

        def flaky(*args, real=real, left=left):
            left[0] -= 1
            return refusing(errno.EIO)() if left[0] >= 0 else real(*args)

        monkeypatch.setattr(checkpoint, name, flaky)
    saved.save(1, ARRAYS)
    assert saved.load()[0] == 1
    tried = []
    monkeypatch.setattr(checkpoint, "_write", lambda *args: tried.append(1) or refusing(errno.ENOSPC)())
    with pytest.raises(RunFailed, match=r"/2: cannot be saved .*No space left"):
        saved.save(2, ARRAYS)
    assert len(tried) == 1
    monkeypatch.setattr(checkpoint, "_write", lambda *args: tried.append(1) or refusing(errno.ENOTCONN)())
    with pytest.raises(RunFailed, match=r"/2: cannot be saved .*not connected"):
        saved.save(2, ARRAYS)
    assert len(tried) == 6
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["1"]


@pytest.mark.usefixtures("at_once")
def test_results_are_written_after_an_error_that_passes(tmp_path, monkeypatch):
    real, left = os.replace, [2]

    def replace(*args):
        left[0] -= 1
        return refusing(errno.EIO)() if left[0] >= 0 else real(*args)

    monkeypatch.setattr(os, "replace", replace)
    write_text(tmp_path / "file", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_patience_ends(monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(OSError, match="Stale"):
        patiently(refusing(errno.ESTALE))
    assert 5 < sum(waited) < 20


def test_results_written_elsewhere_are_accepted_once_copied(tmp_path, monkeypatch, small_run, unit_run):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for number, (source, unit) in enumerate(((small_run, 0), (unit_run, 4))):
        run = open_run(copied(source, tmp_path / f"run{number}"))
        store = run._store
        dataset, facts, whole = store.read(unit), store.facts(unit), store.path(unit).read_bytes()
        store.path(unit).unlink()
        run.directory.write(run.directory.info().with_(state="running"))
        there = write_elsewhere(store, unit, dataset, facts)
        assert there.parent != store.path(unit).parent
        assert not store.path(unit).exists()
        shutil.copy(there, store.path(unit))
        assert store.path(unit).read_bytes() == whole
        again = run_sweep(run.spec, run.directory.path)
        assert again.trained == 0
        assert again.directory.info().state == "complete"


def test_checkpoints_beyond_a_step_and_protected_ones_stay(tmp_path):
    for step in (1, 2, 3, 9):
        Checkpoints(tmp_path / "c").save(step, ARRAYS)
    saved = Checkpoints(tmp_path / "c", keep=1, most=5, protected=(2,))
    assert saved.steps() == [1, 2, 3]
    assert saved.load()[0] == 3
    assert saved.load_newest_good()[0] == 3
    saved.save(4, ARRAYS)
    assert Checkpoints(tmp_path / "c").steps() == [2, 4, 9]


def test_threads_save_checkpoints_at_the_same_time(tmp_path):
    def train(number: int) -> int:
        saved = Checkpoints(tmp_path / str(number), keep=2)
        for step in range(12):
            saved.save(step, ARRAYS)
            saved.load()
        return saved.steps()[-1]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(train, range(4))) == [11] * 4


# Real ones


@pytest.fixture(params=["bindfs", "rclone"])
def mounted(request, tmp_path):
    """A folder in a mounted file system, and a function that takes it away and brings it back."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or shutil.which(request.param) is None:
        pytest.skip(f"needs /dev/fuse and {request.param}")
    behind, folder = tmp_path / "behind", tmp_path / "folder"
    behind.mkdir()
    folder.mkdir()
    mount = {
        "bindfs": ["bindfs", behind, folder],
        "rclone": ["rclone", "mount", f":local:{behind}", folder, "--daemon", "--vfs-cache-mode", "writes"],
    }[request.param]
    subprocess.run(list(map(str, mount)), check=True, capture_output=True)
    yield folder
    subprocess.run(["fusermount", "-u", "-z", str(folder)], check=True)


@pytest.mark.slow
def test_runs_complete_on_mounted_file_systems(mounted, tmp_path):
    """A cloud drive by rclone cannot read a renamed folder for five seconds."""
    spec = write_spec(tmp_path / "s.toml", small_spec())
    for options in ((), ("--set", "engine.unit=6")):
        out = mounted / f"run{len(options)}"
        done = run_process("run", spec, "--out", out, *options)
        assert done.returncode == 0, done.stderr
        for command in ("map", "compare", "resume"):
            assert run_process(command, out).returncode == 0
    reference = digest(run_sweep(small_spec()).dataset)
    assert digest(open_run(mounted / "run0").dataset) == reference
    assert digest(open_run(mounted / "run2").dataset.load()) == reference
