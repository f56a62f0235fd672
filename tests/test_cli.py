"""The command line: exit codes, messages, no files written on bad input, and all subcommands on a small sweep."""

import json
import os
import re
import runpy
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT, called, copied, map_axes, run_command, run_process, small_spec, write_spec

import tmsjax
from tmsjax import terminal
from tmsjax.kinds import ACTIVITIES, REGISTRIES


def run_script(name: str, *arguments):
    """Runs a program of scripts/ in this process."""

    def main(given: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [name, *given])
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")

    return called(main, *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A trained, compared and drawn run of 6 x 6 cells."""
    folder = tmp_path_factory.mktemp("chain")
    raw = small_spec(axes=map_axes(6, 6, 8, 0.05), train={"steps": 1500, "batch": 64})
    spec = write_spec(folder / "sweep.toml", raw)
    outputs = {}
    for verb in (("run", spec, "--out", folder / "run"), *((v, folder / "run") for v in ("map", "compare", "plot"))):
        done = run_command(*verb)
        assert done.returncode == 0, done.stderr
        outputs[verb[0]] = done.stdout
    return folder / "run", outputs


@pytest.mark.smoke
def test_run_prints_device_progress_and_its_path(finished):
    path, outputs = finished
    lines = outputs["run"].splitlines()
    assert lines[0].startswith("device: cpu, ")
    assert "samples/s" in outputs["run"]
    assert "mean loss" in outputs["run"]
    assert lines[-1] == str(path)


@pytest.mark.smoke
def test_map_compare_and_plot_leave_their_files(finished):
    path, outputs = finished
    assert "superposition" in outputs["map"]
    assert (path / "phase_map-best.nc").exists()
    result = json.loads((path / "comparison.json").read_text())
    assert result["exact"]["agreement"] >= 34 / 36
    report = (path / "report.md").read_text()
    assert f"Cells that agree: {result['exact']['agreement']:.2%}" in report
    assert outputs["compare"] == report
    for name in ("phase_map", "panels", "failures", "agreement"):
        for kind in ("png", "svg"):
            assert (path / "figures" / f"{name}.{kind}").stat().st_size > 5000


def test_a_second_run_says_that_it_is_complete(finished):
    path, _ = finished
    done = run_command("run", path / "spec.toml", "--out", path)
    assert done.returncode == 0
    assert "this run is complete" in done.stdout
    assert run_command("resume", path).returncode == 0


def test_info_of_a_run_tells_its_state_its_spec_and_what_made_it(finished):
    path, _ = finished
    done = run_command("info", path)
    assert done.returncode == 0, done.stderr
    told = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert told["state"] == "complete"
    assert told["models"] == "288 = 6 feature_probability x 6 extra_importance x 8 replica"
    assert f"jax {jax.__version__}, " in told["versions"]
    assert told["agreement with exact theory"].endswith("% of cells")
    info = json.loads((path / "run.json").read_text())
    assert told["peak memory"] == f"{info['peak_memory_bytes'] / 1e6:,.1f} MB"
    assert told.get("git commit") == info["git_commit"]
    assert "{" not in done.stdout


def test_scripts_read_the_run(finished):
    path, _ = finished
    done = run_script("aggregate_phase_maps.py", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("success") == 3
    cell = ["feature_probability=0.1", "extra_importance=1"]
    figure = path / "cell.png"
    done = run_script("show_cell.py", path, *cell, "--figure", figure)
    assert done.returncode == 0, done.stderr
    dataset = tmsjax.open_run(path).dataset
    one = dataset.sel(feature_probability=0.1, extra_importance=1, method="nearest")
    best = one.isel(replica=int(np.argmin(one["loss"].to_numpy())))
    assert np.array2string(best["W"].to_numpy(), precision=4) in done.stdout.splitlines()[1]
    assert figure.exists()
    done = run_script("compare_with_theory.py", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("exact ") == 3


def test_fresh_sets_the_old_run_aside(tmp_path, small_run):
    """In a process of its own, as a user calls it."""
    spec = write_spec(tmp_path / "s.toml", small_spec())
    copied(small_run, tmp_path / "run")
    done = run_process("run", spec, "--out", tmp_path / "run", "--fresh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"set aside: {tmp_path / 'run.old-0'}"
    assert done.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert (tmp_path / "run.old-0" / "results.nc").exists()


def test_bad_specs_exit_2_and_write_nothing(tmp_path):
    (tmp_path / "bad.toml").write_text('name = "x"\n[train]\nsteps = 0\noptimzer = "adam"\n')
    done = run_command("run", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'optimizer'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["bad.toml"]


def test_absent_runs_exit_2(tmp_path):
    for verb in ("map", "compare", "plot", "resume", "info"):
        done = run_command(verb, tmp_path)
        assert done.returncode == 2, verb
        assert "not a run directory" in done.stderr, verb


def test_bad_selections_changed_specs_and_unwritable_outputs_exit_2(finished, tmp_path):
    path, _ = finished
    (tmp_path / "file").write_text("")
    for given, why in (
        (("map", path, "--select", "bst"), "did you mean 'best'?"),
        (("run", path / "spec.toml", "--out", path, "--set", "train.steps=7"), "train.steps: 1500 -> 7"),
        (("run", path / "spec.toml", "--out", tmp_path / "file" / "run"), "cannot be written"),
    ):
        done = run_command(*given)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
        assert why in done.stderr


@pytest.mark.parametrize(
    ("chip", "module", "extra"), [("h100", "nvidia.cuda_nvcc", "aot-cuda"), ("v5e", "libtpu", "aot-tpu")]
)
def test_info_for_a_chip_without_its_compiler_says_what_to_install(tmp_path, monkeypatch, chip, module, extra):
    monkeypatch.setitem(sys.modules, module, None)  # in case that it is installed
    done = run_command("info", write_spec(tmp_path / "s.toml", small_spec()), "--device", chip)
    assert done.returncode == 2
    assert done.stderr == f'error: --device {chip}: its compiler is not installed: pip install "tmsjax[{extra}]"\n'


def test_info_refuses_unknown_chips_and_runs_on_chips(tmp_path):
    spec = write_spec(tmp_path / "s.toml", small_spec())
    for path, chip, why in (
        (spec, "h10", "did you mean 'h100'? (allowed: 'h100', 'h200', 'a100', 'v5e', 'v6e')"),
        (tmp_path, "h100", "--device: 1 problem\n  describes a SPEC, not a run"),
    ):
        done = run_command("info", path, "--device", chip)
        assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
        assert why in done.stderr


def test_lines_of_libraries_are_dropped_and_others_kept(capfd):
    with terminal.without_lines("cuda drivers"):
        os.write(2, b"Could not find cuda drivers\nsomething else\n")
    assert capfd.readouterr().err == "something else\n"


def test_info_tells_size_and_time(tmp_path):
    done = run_command("info", write_spec(tmp_path / "s.toml", small_spec()))
    assert done.returncode == 0, done.stderr
    told = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert told["models"] == "12 = 2 feature_probability x 3 extra_importance x 2 replica"
    assert told["figures"] == "phase-map, learning"
    assert told["training time"].startswith("0.")


@pytest.mark.slow
def test_a_second_start_compiles_from_the_cache_and_gives_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec, kept, weights = write_spec(tmp_path / "s.toml", small_spec()), [], []
    for name in ("first", "second"):
        done = run_process("run", spec, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        kept.append({path.name for path in (tmp_path / "cache").rglob("*-cache")})
        weights.append(tmsjax.open_run(tmp_path / name).dataset["W"].to_numpy())
    assert kept[0]
    assert kept[1] == kept[0], "nothing was compiled again"
    np.testing.assert_array_equal(weights[0], weights[1])


@pytest.mark.slow
def test_maps_of_other_dimensions_are_refused_clearly(tmp_path):
    raw = small_spec()
    raw["axes"] = {"feature_probability": {"values": [1.0, 0.1]}, "replica": {"count": 2}}
    raw["instance"]["importance"] = 1.0
    spec = write_spec(tmp_path / "s.toml", raw)
    assert run_command("run", spec, "--out", tmp_path / "run").returncode == 0
    assert run_command("compare", tmp_path / "run").returncode == 0
    done = run_command("plot", tmp_path / "run", "--kind", "phase-map")
    assert done.returncode == 2
    assert "needs two axes of numbers" in done.stderr


def test_kinds_lists_every_name_with_its_options():
    said = run_command("kinds").stdout
    for key, registry in REGISTRIES.items():
        assert f"\n{key}\n" in f"\n{said}"
        for name in (n for n in registry if registry.source(n) is None):
            assert re.search(rf"^  {re.escape(name)} +\S", said, re.MULTILINE), name
    assert f"data.size: {ACTIVITIES['groups'].options['size'].sentence} (default 2)" in said
    for line in (
        "train.clip: largest norm of the gradient of a model (optional)",
        "data.file: the file, relative to the spec's (required)",
    ):
        assert line in said


def test_control_characters_are_written_out_at_the_terminal(capsys):
    terminal.say("a\x1b[31m\nb\x07")
    assert capsys.readouterr().out == "a\\x1b[31m\nb\\x07\n"
    with pytest.raises(SystemExit):
        terminal.guarded(lambda: tmsjax.open_run("no\x1b[31m"))
    assert "no\\x1b[31m: not a run directory" in capsys.readouterr().err
