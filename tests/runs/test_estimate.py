"""Estimates before a run: sizes are computed without allocating arrays."""

import re
import subprocess
import sys

import pytest
from conftest import map_axes, run_command, small_spec, write_spec

BILLION = map_axes(10_000, 10_000, 10, 0.01)
ESTIMATE = """
import sys, time, warnings
from tmsjax.engine import peak_memory
from tmsjax.runs import estimate
from tmsjax.spec import load_spec
warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    start = time.monotonic()
    told = estimate(load_spec(path), seconds=0.2)
    print(time.monotonic() - start, peak_memory(), told["units"].split()[0], sep="|")
"""


def test_a_billion_models_are_estimated_in_the_memory_and_time_of_few(tmp_path):
    few = small_spec(train={"steps": 1000, "batch": 64})
    few["axes"]["replica"]["count"] = 100_000
    paths = [write_spec(tmp_path / "few.toml", few), write_spec(tmp_path / "many.toml", few | {"axes": BILLION})]
    done = subprocess.run([sys.executable, "-c", ESTIMATE, *paths], capture_output=True, text=True, check=True)
    (time_few, _, _), (time_many, memory, units) = (line.split("|") for line in done.stdout.splitlines())
    assert int(units) > 400
    assert int(memory) < 800e6
    assert float(time_many) < 2 * float(time_few) + 1


def test_info_of_a_billion_models_says_what_they_take(tmp_path):
    done = run_command("info", write_spec(tmp_path / "s.toml", small_spec(axes=BILLION)))
    assert done.returncode == 0, done.stderr
    assert "1,000,000,000 = 10000 feature_probability x 10000 extra_importance x 10 replica" in done.stdout
    assert float(re.search(r"main memory +([\d,.]+) MB at least", done.stdout)[1].replace(",", "")) < 3000
    assert re.search(r"units +500 of 2,000,000 models", done.stdout)
    assert "no history is recorded: it would take " in done.stderr


@pytest.mark.slow
def test_the_time_of_many_models_is_that_of_a_few_in_proportion(tmp_path):
    times = []
    for axes in (BILLION | {"replica": {"count": 1}}, BILLION):
        done = run_command("info", write_spec(tmp_path / "s.toml", small_spec(axes=axes, train={"steps": 1000})))
        times.append(float(re.search(r"training time +([\d.]+) s", done.stdout)[1]))
    assert 3 < times[1] / times[0] < 30
