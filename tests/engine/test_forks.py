"""A child that is forked after jax has started says so at once; one that is forked before it trains."""

import subprocess
import sys

import pytest
from conftest import small_spec

CHILD = """
import os
def child(work):
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            told = str(work())
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    print(os.read(reader, 1000).decode())
    os.waitpid(pid, 0)
"""
TRAIN = f"import tmsjax\ntrain = lambda: tmsjax.run_sweep({small_spec()!r}, progress=False).trained\n"
MINIMA = "minima = lambda: tmsjax.theory.minima([1.0, 1.0], [0.3, 0.3], 1, starts=4)\n"


def outputs(code: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", CHILD + code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


@pytest.mark.parametrize(
    "code",
    [
        TRAIN + MINIMA + "import tmsjax.engine, jax\njax.devices()\nchild(train)\nchild(minima)",
        TRAIN + "import jax\njax.devices()\nchild(train)",
    ],
    ids=["tmsjax before jax starts", "tmsjax in the child only"],
)
def test_a_child_forked_after_jax_had_started_says_so(code):
    lines = outputs(code)
    assert lines
    for line in lines:
        assert line.startswith("RunError: process ")
        assert "was forked after jax had started" in line
        assert '"spawn" or "forkserver"' in line


def test_a_child_forked_before_jax_starts_trains():
    assert outputs(f"{TRAIN}import tmsjax.engine\nchild(train)") == ["1"]
