"""The script for GPU owners: each step's results are written at once, failures and steps that do not run are told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, reproduce
from on_gpu import checks
from on_gpu import steps as running
from on_gpu.main import STEPS, main
from on_gpu.steps import NEEDED, Step, isolated

from tmsjax.errors import RunFailed

H100 = "NVIDIA H100 80GB HBM3"
FILES = ["nvidia-h100-80gb-hbm3.json", "nvidia-h100-80gb-hbm3.md"]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"


def works(dry: bool) -> dict:
    return {"one_neuron_relu": {"models": 7, "samples_per_second": 1e9}}


def raises(dry: bool) -> dict:
    raise ValueError("two\nlines")


def dies(dry: bool) -> dict:
    os._exit(3)


def half_works(dry: bool) -> dict:
    return works(dry) | {"bad": {"error": "a reason"}}


def gpu(dry: bool) -> dict:
    return {"machine": {"device": f"1 x {H100}", "kind": H100, "platform": "gpu"}}


def hangs(dry: bool) -> dict:
    time.sleep(600)
    return {}


def is_stopped(dry: bool) -> dict:
    sys.exit(143)  # as the handler of SIGTERM does


@pytest.fixture
def on_h100(monkeypatch):
    """`main` sees an H100."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # restored after the test; `main` sets it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(checks, "machine", gpu)


@pytest.fixture
def in_process(monkeypatch):
    """Steps run in this process."""
    monkeypatch.setattr(running, "isolated", lambda step, dry, limit: step(dry))


def written(folder) -> tuple[dict, str]:
    """The two files of a run, which must be all in the folder."""
    assert sorted(path.name for path in folder.iterdir()) == FILES
    table, text = (folder / name for name in FILES)
    return json.loads(table.read_text()), text.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_dry_run_makes_every_step_and_both_files(tmp_path):
    done = reproduce("on_gpu", "--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    names = ["machine", *STEPS]
    told = {line.partition("  ")[0].strip() for line in done.stdout.splitlines() if "  ok  (" in line}
    assert told == set(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu.json", "cpu.md"]
    made = json.loads((tmp_path / "cpu.json").read_text())
    assert [step["name"] for step in made["steps"]] == names
    assert made["dry_run"]
    assert not made["failed"]
    assert {"versions", "git_commit", "date"} <= made.keys()
    cases = {step["name"]: step["cases"] for step in made["steps"]}
    for kernel in ("xla", "pallas"):
        trained = cases[f"training, {kernel}"]["(2,1)"]
        assert 0 < trained["parameters"] <= checks.ALL_PARAMETERS, "trained in two ways"
        assert cases[f"flagship, {kernel}"]["one_neuron_relu, whole run"]["plan"]["kernel"] == kernel
    resumed = cases["resume"]["one_neuron_relu, xla"]
    assert resumed["steps"] / 50 < resumed["stopped_after"] < resumed["steps"]
    text = (tmp_path / "cpu.md").read_text(encoding="utf-8")
    assert f"| training, xla | (2,1) | {cases['training, xla']['(2,1)']['parameters']:.4g} |" in text
    assert f"| {cases['flagship, pallas']['one_neuron_relu, whole run']['exact']:.4g} |" in text
    for row in made["rates"]:
        assert f"| {row['case']} | {row['kernel']} | {row['models']:,} | {row['samples_per_second']:.2e} |" in text
    cases = ("one_neuron_relu", "one_neuron_relu, whole run", "three_features")
    assert sorted((row["case"], row["kernel"]) for row in made["rates"]) == [
        (case, kernel) for case in cases for kernel in ("pallas", "xla")
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("on_h100")
def test_failed_steps_are_told_and_the_others_run(tmp_path, capsys):
    steps = {"raises": Step(raises), "dies": Step(dies), "half": Step(half_works)}
    assert main(["--out", str(tmp_path)], steps) == 1
    said = capsys.readouterr()
    assert "failed: raises; dies; half" in said.err
    assert "ValueError: two lines" in said.out
    made, text = written(tmp_path)
    assert not made["dry_run"]
    assert made["failed"] == ["raises", "dies", "half"]
    failures = {step["name"]: step["failures"] for step in made["steps"]}
    assert failures == {
        "machine": [],
        "raises": ["ValueError: two lines"],
        "dies": ["its process died with exit code 3"],
        "half": ["bad: a reason"],
    }
    assert text.startswith(f"# 1 x {H100}")
    assert "| half | bad: a reason |" in text
    assert [row["samples_per_second"] for row in made["rates"]] == [1e9]


@pytest.mark.usefixtures("on_h100", "in_process")
def test_a_run_that_is_stopped_leaves_the_results_of_finished_steps(tmp_path):
    steps = {"first": works, "second": half_works, "third": is_stopped, "fourth": works}
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)], {name: Step(function) for name, function in steps.items()})
    made, text = written(tmp_path)
    assert [step["name"] for step in made["steps"]] == ["machine", "first", "second"]
    assert made["failed"] == ["second"]
    assert made["not_run"] == {"third": "not yet run", "fourth": "not yet run"}
    assert "| second | bad: a reason |" in text
    assert "| fourth | not yet run |" in text


@pytest.mark.usefixtures("on_h100", "in_process")
def test_steps_that_do_not_fit_into_the_time_are_told_and_shorter_ones_run(tmp_path, capsys):
    steps = {"short": Step(works, 1), "long": Step(raises, 100), "also short": Step(works, 5)}
    assert main(["--minutes", "0.5", "--out", str(tmp_path)], steps) == 0
    made, text = written(tmp_path)
    assert [step["name"] for step in made["steps"]] == ["machine", "short", "also short"]
    assert made["not_run"] == {"long": "not run: 30 s left, needs about 100 s"}
    assert "| long | not run: 30 s left, needs about 100 s |" in text
    assert "not run: 30 s left" in capsys.readouterr().out
    assert "--minutes 0.5" in made["command"]


@pytest.mark.usefixtures("on_h100")
def test_a_step_gets_no_more_than_the_time_that_is_left(tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(running, "isolated", lambda step, dry, limit: limits.append(limit) or step(dry))
    assert main(["--minutes", "0.5", "--out", str(tmp_path)], {"step": Step(works)}) == 0
    assert main(["--out", str(tmp_path)], {"step": Step(works)}) == 0
    assert limits[1] < limits[0] <= 30
    assert limits[2:] == [running.LIMIT] * 2


@pytest.mark.usefixtures("on_h100", "in_process")
def test_a_step_that_lacks_a_package_is_skipped(tmp_path):
    steps = {"lacks": Step(raises, packages=("json", "no_such_package")), "works": Step(works)}
    assert main(["--out", str(tmp_path)], steps) == 0
    made, text = written(tmp_path)
    assert made["not_run"] == {"lacks": "skipped: cannot import no_such_package"}
    assert [step["name"] for step in made["steps"]] == ["machine", "works"]
    assert "| lacks | skipped: cannot import no_such_package |" in text


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "soon"])
def test_minutes_are_a_number_above_0(minutes, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--minutes", minutes, "--out", str(tmp_path / "out")], {})
    assert stopped.value.code == 2
    assert "error: --minutes needs" in (said := capsys.readouterr().err) or "argument --minutes: invalid" in said
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named_in_one_line(tmp_path):
    command = [sys.executable, "-S", "-m", "on_gpu", "--out", str(tmp_path / "out")]  # -S: without site-packages
    environment = os.environ | {"PYTHONPATH": PATHS}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"{sys.executable} cannot import {', '.join(NEEDED)}; nothing was run\n"
    assert not (tmp_path / "out").exists()


def test_here_uses_the_python_at_hand_and_sets_up_nothing(tmp_path):
    scripts, python = tmp_path / "scripts", tmp_path / "bin" / "python3"
    for folder in (scripts, python.parent):
        folder.mkdir()
    for name in ("on_gpu.sh", "setup.sh"):
        shutil.copy(ROOT / "scripts" / name, scripts)
    python.write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": "/more"}
    command = ["bash", str(scripts / "on_gpu.sh"), "--minutes", "8", "--here"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}:{scripts}:/more -m on_gpu --minutes 8 --here\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "scripts"]


@pytest.mark.slow
def test_sigterm_leaves_the_results_of_finished_steps(tmp_path):
    command = [sys.executable, "-m", "on_gpu", "--dry-run", "--out", str(tmp_path)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": PATHS}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = [process.stdout.readline() for _ in range(2)]
    time.sleep(2)  # in the third
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert rest == ""
    made = json.loads((tmp_path / "cpu.json").read_text())
    assert [step["name"] for step in made["steps"]] == [line.partition("  ")[0] for line in first]
    assert list(made["not_run"]) == list(STEPS)[1:]


def test_a_step_that_hangs_is_ended():
    began = time.monotonic()
    with pytest.raises(RunFailed, match="no result after 1 s"):
        isolated(hangs, True, 1.0)
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_one_line_and_writes_nothing(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "on_gpu", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "jax sees no GPU" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_needs_a_folder(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--dry-run"], {})
    assert stopped.value.code == 2
    assert "--dry-run needs --out" in capsys.readouterr().err


@pytest.mark.slow
def test_differences_and_segments_that_matter_are_told(monkeypatch):
    monkeypatch.setattr(checks, "MOST_PARAMETERS", -1.0)
    monkeypatch.setattr(checks, "ALL_PARAMETERS", 0.0)
    monkeypatch.setattr(checks, "MEDIAN_LOSS", -1.0)
    monkeypatch.setattr(checks, "LEAST_CHANGE", 10.0)
    monkeypatch.setattr(checks, "SEGMENTS", (61,))  # a step too many
    error = checks.training("pallas", checks.SCALARS, True)["(2,1)"]["error"]
    for words in ("99 % of models", "some parameter", "median losses", "nothing was trained", "into segments"):
        assert words in error
