"""The script for GPU owners: the dry run makes every step, failures are told, without a GPU nothing runs."""

import json
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT, reproduce
from on_gpu import checks
from on_gpu.__main__ import STEPS, main
from on_gpu.steps import isolated

from tmsjax.errors import RunFailed

H100 = "NVIDIA H100 80GB HBM3"


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
    assert [(row["case"], row["kernel"]) for row in made["rates"]] == [
        (case, kernel) for case in ("one_neuron_relu", "one_neuron_relu, whole run") for kernel in ("xla", "pallas")
    ]


@pytest.mark.slow
def test_failed_steps_are_told_and_the_others_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # restored after the test; `main` sets it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(checks, "machine", gpu)
    steps = {"raises": raises, "dies": dies, "half": half_works}
    assert main(["--out", str(tmp_path)], steps) == 1
    said = capsys.readouterr()
    assert "failed: raises; dies; half" in said.err
    assert "ValueError: two lines" in said.out
    made = json.loads((tmp_path / "nvidia-h100-80gb-hbm3.json").read_text())
    assert not made["dry_run"]
    assert made["failed"] == ["raises", "dies", "half"]
    failures = {step["name"]: step["failures"] for step in made["steps"]}
    assert failures == {
        "machine": [],
        "raises": ["ValueError: two lines"],
        "dies": ["its process died with exit code 3"],
        "half": ["bad: a reason"],
    }
    text = (tmp_path / "nvidia-h100-80gb-hbm3.md").read_text(encoding="utf-8")
    assert text.startswith(f"# 1 x {H100}")
    assert "| half | bad: a reason |" in text
    assert [row["samples_per_second"] for row in made["rates"]] == [1e9]


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
    error = checks.training("pallas", True)["(2,1)"]["error"]
    for words in ("99 % of models", "some parameter", "median losses", "nothing was trained", "into segments"):
        assert words in error
