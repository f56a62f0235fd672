"""The same bytes on any number of devices, and no communication between them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import PATHS, command, digest, plain_spec, run_command, small_spec, write_spec

from tmsjax.engine import Ensemble
from tmsjax.runs import open_run, run_sweep
from tmsjax.spec import load_spec

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter", "send(", "recv(")
ON_DEVICES = """
import json, sys
import jax
from tmsjax.engine import Ensemble
from tmsjax.engine import Plan
from tmsjax.spec import load_spec
from tmsjax.runs.checkpoint import flatten
raw = json.loads(sys.argv[1])
out = {}
jax.config.update("jax_compilation_cache_dir", sys.argv[2])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
for devices, stops in ((1, [30]), (3, [30]), (8, [30]), (2, [1, 2, 11, 30])):
    sweep = Ensemble(load_spec(raw), devices=jax.devices()[:devices], cut=Plan(True, 1, 12, 4))
    states = sweep.init()
    used = {str(leaf.devices()) for state in states for leaf in jax.tree.leaves(state.params)}
    assert len(used) == devices, used
    for stop in stops:
        states = sweep.advance(states, stop)
    arrays = flatten(sweep.gather(states), "state") | {"loss": sweep.noise_free_loss(states)}
    out[devices] = {name: array.tobytes().hex() for name, array in arrays.items()}
print(json.dumps(out))
"""


def with_devices(count: int) -> dict[str, str]:
    return {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


def test_bits_depend_on_neither_devices_nor_segments(tmp_path):
    raw = small_spec(train={"batch": 4}, model={"activation": "linear"})  # every device compiles its programs
    script = [sys.executable, "-c", ON_DEVICES, json.dumps(raw), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=with_devices(8))
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert len(out["1"]) > 5
    assert out["1"] == out["2"] == out["3"] == out["8"]


@pytest.mark.slow
def test_a_run_interrupted_on_eight_devices_resumes_on_one(tmp_path):
    often, axes = {"every_seconds": 0.5, "segment_seconds": 0.02}, {"replica": {"count": 64}}  # in blocks of 32 models
    raw = small_spec(axes=axes, engine={"block": 32}, train={"steps": 10_000}, checkpoint=often)
    spec, out = write_spec(tmp_path / "s.toml", raw), tmp_path / "run"
    process = subprocess.Popen(
        command("run", spec, "--out", out), env=with_devices(8), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while process.poll() is None and not list((out / "checkpoints").glob("[1-9]*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert 0 < open_run(out).steps()[-1] < 10_000
    assert run_command("resume", out, "--set", "checkpoint.every_seconds=100").returncode == 0
    assert digest(open_run(out).dataset) == digest(run_sweep(spec).dataset)


@pytest.mark.parametrize("path", PATHS)
def test_the_compiled_step_has_no_collective(path):
    text = Ensemble(load_spec(plain_spec(4, 2, engine={"path": path}))).compile().as_text()
    assert "while(" in text, "the steps' loop is compiled"
    assert not [name for name in COLLECTIVES if name in text]
