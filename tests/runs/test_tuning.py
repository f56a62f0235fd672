"""The search for a plan: which plans are tried, how rates are measured, and the table that is printed."""

import tomllib
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from conftest import plain_spec, run_command, small_spec, write_spec

from tmsjax.engine import plan
from tmsjax.errors import RunError
from tmsjax.runs import tuning
from tmsjax.spec import Engine, load_spec

SPEC = load_spec(plain_spec(2, 1, instances=10_000, train={"batch": 64}, engine={"block": 5, "unit": 5000}))


def test_tables_around_the_default_plan_are_tried():
    tried = tuning.tables(SPEC, "cpu")
    default = plan(replace(SPEC, engine=Engine(unit=5000)), "cpu")
    assert plan(replace(SPEC, engine=tried[0]), "cpu") == default
    assert len(set(tried)) == len(tried) > 5
    assert all(engine.unit == 5000 and SPEC.train.batch % engine.microbatch == 0 for engine in tried)
    assert {engine.block < default.block for engine in tried} == {True, False}
    on_gpu = [plan(replace(SPEC, engine=engine), "gpu") for engine in tuning.tables(SPEC, "gpu")]
    assert max(each.unroll for each in on_gpu) <= 16
    exact = load_spec(plain_spec(2, 1, train={"loss": "exact"}))
    assert {engine.microbatch for engine in tuning.tables(exact, "cpu")} == {0}


def test_the_fastest_table_is_printed_and_one_beyond_memory_is_not(monkeypatch):
    tried = tuning.tables(SPEC, "cpu")
    rates = {engine.block: float(number) for number, engine in enumerate(tried, 1)}
    largest = max(rates)

    def check_memory(ensemble, box):
        if ensemble.plan.block == largest:
            raise RunError("too large")

    monkeypatch.setattr(tuning, "check_memory", check_memory)
    monkeypatch.setattr(tuning, "rate", lambda part: rates[part.plan.block])
    said = []
    table = tuning.tune(SPEC, said.append)
    fastest = max((e for e in tried if e.block != largest), key=lambda engine: rates[engine.block])
    assert tomllib.loads(table)["engine"] == {
        "block": fastest.block, "microbatch": fastest.microbatch, "unit": 5000
    }  # fmt: skip
    assert len(said) == len(tried) + 1
    assert sum("too large" in line for line in said) == sum(engine.block == largest for engine in tried)
    assert said[0].endswith("(the default)")
    assert f"{rates[fastest.block] / rates[tried[0].block]:.2f} times" in said[-1]
    monkeypatch.setattr(tuning, "tables", lambda spec, platform: [e for e in tried if e.block == largest])
    with pytest.raises(RunError, match="no plan fits"):
        tuning.tune(SPEC, said.append)


def test_the_rate_is_samples_over_seconds(monkeypatch):
    """With an engine and a clock of our own: 5 s of compiling, then 2 ms a step."""
    now = [0.0]

    def advance(states, stop):
        now[0] += 0.002 * (stop - states[0].step) + (5 if states[0].step == 0 else 0)
        return [SimpleNamespace(step=stop)]

    box, start = SimpleNamespace(size=100), [SimpleNamespace(step=0)]
    slow = SimpleNamespace(spec=SPEC, box=box, init=lambda: start, advance=advance)
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: now[0])
    assert tuning.rate(slow) == pytest.approx(100 * 64 / 0.002)
    assert now[0] < 10


def test_the_command_prints_a_table_that_the_spec_can_have(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "rate", partial(tuning.rate, seconds=0.01, rounds=1))
    path = write_spec(tmp_path / "s.toml", small_spec())
    done = run_command("info", path, "--tune")
    assert done.returncode == 0
    table = tomllib.loads(done.stdout)
    assert table.keys() == {"engine"}
    assert load_spec(small_spec(**table)).engine.block == table["engine"]["block"]
    assert "1 of 5: block 16, microbatch 16: " in done.stderr
    assert "samples/s" in done.stderr


def test_bad_input_of_the_command_is_refused_before_any_work(tmp_path):
    path = write_spec(tmp_path / "s.toml", small_spec())
    for given, reason in (
        ([tmp_path, "--tune"], "describes a SPEC, not a run"),
        ([path, "--tune", "--device", "h100"], "choose one of them"),
        ([path, "--tune", "--set", "train.stps=3"], "did you mean 'steps'?"),
    ):
        done = run_command("info", *given)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr
