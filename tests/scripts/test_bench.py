"""The benchmark: competitors learn the same models, arithmetic is correct, incomparable results are refused."""

import json

import numpy as np
import pytest
from bench import __main__, bound, cold, competitors, first, suite, throughput
from bench.suite import ENGINE, Workload

from tmsjax.errors import RunFailed

SMALL = Workload(2, 1, 64)


@pytest.mark.slow
@pytest.mark.parametrize("way", [w for w in suite.WAYS if w != ENGINE])
@pytest.mark.parametrize("workload", [SMALL, Workload(5, 2, 64), Workload(2, 1, 64, activation="linear")], ids=str)
def test_competitors_reach_the_engines_loss(way, workload):
    if way.startswith("PyTorch"):
        pytest.importorskip("torch")
    streams = "shared" if way == suite.SHARED else "independent"
    losses = {}
    for name in (ENGINE, way):
        trainer = suite.WAYS[name](suite._check_spec(workload, streams if name == way else "independent"))
        losses[name] = suite._loss_after_training(trainer, workload)
    assert losses[way] == pytest.approx(losses[ENGINE], rel=suite.SAME_LOSS)
    untrained = suite._loss_after_training(_Untrained(suite._check_spec(workload, "independent")), workload)
    assert untrained > 1.5 * losses[ENGINE], "the check must tell trained from untrained"


class _Untrained(competitors.TextbookJax):
    def run(self, steps: int) -> dict[str, np.ndarray]:
        return super().run(0)


@pytest.mark.slow
def test_exact_textbook_training_reaches_the_engines_loss():
    workload = Workload(2, 1, 64, loss="exact")
    losses = [
        suite._loss_after_training(suite.WAYS[way](suite._check_spec(workload, "independent")), workload)
        for way in suite.ways(workload)
    ]
    assert len(losses) == 2
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_the_bound_counts_operations():
    machine = {"matmul": 4e11, "elementwise": 1e11}
    found = bound.bound_of(Workload(3, 2, 10).spec(), machine)
    assert found["products"] == 64 * 10 * 6
    assert found["others"] == 64 * 11 * 3 + 55 * 3 + 15 * 9
    assert found["rate"] == pytest.approx(64 * 1e11 / (found["products"] + found["others"]))
    large = bound.bound_of(Workload(200, 20, 2, 128).spec(), machine)
    assert large["rate"] == pytest.approx(128 / (128 * 40000 / 4e11 + (128 * 2200 + 11000 + 63000) / 1e11))
    exact = bound.bound_of(Workload(2, 1, 10, loss="exact").spec(), machine)
    assert 500 < exact["others"] < 5000
    assert exact["rate"] == pytest.approx(1e11 / exact["others"])


def test_competitors_get_as_many_models_as_their_tensors_allow():
    assert suite.most_models(ENGINE, Workload(2, 1, 1_000_000, 1024)) == 1_000_000
    assert suite.most_models("JAX vmap", Workload(2, 1, 1_000_000, 1024)) == 2**13
    assert suite.most_models("PyTorch einsum", Workload(2, 1, 100_000)) == 100_000


@pytest.mark.slow
def test_a_workload_is_measured_and_compared(monkeypatch):
    said = []
    machine = {"matmul": 1e11, "elementwise": 1e11}
    monkeypatch.setattr(suite, "ways", lambda workload: [ENGINE, "JAX vmap"])
    result = suite.run_workload(SMALL, 3, 0.05, machine, said.append)
    rows = result["ways"]
    assert len(rows[ENGINE]["rates"]) == 3
    assert rows[ENGINE]["rate"] == sorted(rows[ENGINE]["rates"])[1]
    assert result["ratios"] == {"JAX vmap": rows[ENGINE]["rate"] / rows["JAX vmap"]["rate"]}
    assert rows["JAX vmap"]["peak_memory_bytes"] > 50e6
    assert result["share_of_bound"] == rows[ENGINE]["rate"] / result["bound"]["rate"]
    assert any("JAX vmap" in line and "engine / this" in line for line in said)
    head, _, row = suite.table({"workloads": [result]}).splitlines()
    cells = dict(zip(head.split("|"), row.split("|"), strict=True))
    assert cells[" JAX vmap "].strip() == f"{result['ratios']['JAX vmap']:.3g} x"
    assert cells[" PyTorch matmul "].strip() == ""


def test_ways_that_learn_something_else_are_refused():
    rows = {ENGINE: {"check_loss": 0.1}, "JAX vmap": {"check_loss": 0.109}, "PyTorch matmul": {"missing": "no torch"}}
    suite.check_same(SMALL, rows)
    rows["JAX vmap"]["check_loss"] = 0.12
    with pytest.raises(RunFailed, match="JAX vmap learns something else"):
        suite.check_same(SMALL, rows)


@pytest.mark.slow
def test_startup_facts_are_measured_and_the_second_start_compiles_from_the_cache():
    facts = suite.startup(tries=1)
    assert facts["first_segment_from_cache"] < facts["first_segment"]
    assert all(facts[name] > 0 for name in ("help", "import_jax"))


@pytest.mark.slow
def test_the_curve_covers_models_and_batches_and_is_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr(throughput, "rate", lambda ensemble: float(ensemble.spec.instances * ensemble.spec.train.batch))
    measured = throughput.curve(lambda line: None)
    assert measured["rate_of_models"].to_numpy()[-1] == 4_000_000 * 64
    assert measured["rate_of_batch"].to_numpy()[0] == 10_000 * 16
    lines = [axes.lines[0].get_xydata() for axes in throughput.figure(measured).axes]
    np.testing.assert_allclose(lines[0][:, 1], measured["rate_of_models"])
    np.testing.assert_allclose(lines[1][:, 1], measured["rate_of_batch"])
    __main__.main(["--curve", str(tmp_path / "curve")])
    ends = {path.suffix for path in (tmp_path / "curve").glob("throughput.*")}
    assert ends == {".nc", ".png", ".svg"}


@pytest.mark.slow
def test_results_are_json(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "QUICK", ())
    monkeypatch.setattr(suite, "startup", lambda tries: {"help": 0.2})
    __main__.main(["--quick", "--json", str(tmp_path / "new" / "bench.json")])
    read = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert read["startup"] == {"help": 0.2}
    assert read["machine"]["elementwise"] > 1e8
    assert "jax" in read["versions"]


@pytest.mark.parametrize(
    ("ours", "theirs", "seeds"),
    [
        ({1: 2.0, 5: 2.0, 20: 2.0}, {1: 3.0, 5: 15.0, 20: 60.0}, 1),
        ({1: 2.0, 5: 2.0, 20: 2.0}, {1: 0.5, 5: 2.5, 20: 10.0}, 5),  # equal at 4 seeds
        ({1: 2.0, 5: 2.0, 20: 9.0}, {1: 0.9, 5: 4.5, 20: 9.0}, None),
        ({1: 1.0, 5: 5.0, 20: 5.0}, {1: 2.0, 5: 3.0, 20: 5.5}, 18),  # slower again at 5, equal at 17
    ],
)
def test_the_number_of_seeds_from_which_a_way_is_faster(ours, theirs, seeds):
    assert first.wins_from(ours, theirs) == seeds


def measured(function, *numbers, checkout=first.ROOT, cache=None):
    """In place of a fresh process: sweeps take a second each, in /old 10; the engine 4 + k for k seeds, PyTorch 2 k."""
    if function is cold.calls:
        count = numbers[2]
        assert cache is not None
        return {call: [10.0 if checkout != first.ROOT else 1.0, 0.5] for call in list(cold.CALLS)[:count]}
    seeds = numbers[2:]
    assert function is cold.torch or len(seeds) == 1, "a way that compiles is cold for each number of seeds"
    costs = {cold.engine: lambda k: 4 + k, cold.vmap: lambda k: 1 + 10 * k, cold.torch: lambda k: 2 * k}[function]
    slower = 1 if checkout == first.ROOT else 10
    return {"seconds": {str(k): [slower * costs(k), 0.1 * costs(k)] for k in seeds}, "loss": 0.2}


def test_first_sweeps_are_measured_in_fresh_processes_and_compared(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(first, "fresh", measured)
    monkeypatch.setattr(first, "has_torch", lambda: True)
    __main__.main(["--first", "--json", str(tmp_path / "first.json"), "--before", "/old", "--rounds", "2"])
    read = json.loads((tmp_path / "first.json").read_text())
    assert len(read["calls"]) == 2 * len(first.SIZES) * (len(cold.CALLS) + 1)
    assert {row["version"]: row["wall"] for row in read["calls"]} == {"this": 1.0, "before": 10.0}
    assert {(row["way"], row["wall"], row["processor"]) for row in read["wins"]} == {
        ("JAX vmap", 1, 1),
        ("engine, before", 1, None),
        ("PyTorch", 5, 5),
    }
    said = capsys.readouterr().out
    assert "| 20 | 5 | 1 / 1 | 1 / never | 5 / 5 |" in said
    assert "| before | 20 | 5 | 10 / 0.5 |" in said


def test_the_median_of_each_clock_over_rounds_counts():
    assert first._medians({("a", 2): [[1, 9], [9, 8], [2, 1]]}, "way", "seeds") == [
        {"way": "a", "seeds": 2, "wall": 2, "processor": 8}
    ]


def test_without_torch_the_rest_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(first, "fresh", measured)
    monkeypatch.setattr(first, "has_torch", lambda: False)
    __main__.main(["--first"])
    said = capsys.readouterr().out
    assert "torch is not installed" in said
    assert "JAX vmap" in said
    assert "PyTorch" not in said


@pytest.mark.slow
def test_a_fresh_process_compiles_once_and_stores_programs(tmp_path):
    seconds = first.fresh(cold.calls, 2, 1, 2, cache=str(tmp_path))
    assert seconds["again"][1] < seconds["first"][1] / 3
    assert list(tmp_path.glob("tmsjax/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("way", [cold.vmap, cold.torch])
def test_plain_trainings_reach_the_engines_loss(way):
    if way is cold.torch:
        pytest.importorskip("torch")
    losses = [first.fresh(function, 5, 2, 5)["loss"] for function in (cold.engine, way)]
    assert losses[1] == pytest.approx(losses[0], rel=suite.SAME_LOSS)
    untrained = cold.best_loss([(np.zeros((2, 5)), np.zeros(5))])
    assert untrained > 1.5 * losses[0], "the check must tell trained from untrained"


@pytest.mark.parametrize(
    "given",
    [
        ["--json", "a", "--curve", "b"],
        ["--rounds", "0"],
        ["--curve", "b", "--first"],
        ["--before", "b"],
    ],
)
def test_bad_options_are_refused_before_any_work(given, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(given)
    assert stopped.value.code == 2
    assert given[0] in capsys.readouterr().err
