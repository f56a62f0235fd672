"""Runs that are extended: more values of an axis, more steps; results of an interrupted run (`finish`)."""

import hashlib

import numpy as np
import pytest
import xarray as xr
from conftest import digest, run_command, slowly, small_spec

import tmsjax
from tmsjax.errors import Interrupted, RunError
from tmsjax.runs import RunDirectory, open_run, run_sweep, summary
from tmsjax.spec import Tiling

CONSTANT = {"schedule": "constant"}


def listed(probabilities=(1.0, 0.1), importances=(0.5, 2.0), replicas=2, **changes) -> dict:
    """A sweep whose axes can grow, in blocks of one size, so that all of them share a program."""
    axes = {
        "feature_probability": {"values": list(probabilities)},
        "extra_importance": {"values": list(importances)},
        "replica": {"count": replicas},
    }
    return small_spec(**{**changes, "axes": axes, "engine": {"block": 8, **changes.get("engine", {})}})


def files(folder) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.nc")}


def stopping_after(calls: int):
    left = iter([False] * calls)
    return lambda: next(left, True)


@pytest.mark.parametrize("unit", [0, *slowly(2)])
def test_more_replicas_and_values_train_beside_the_old_results(tmp_path, unit):
    run_sweep(listed(engine={"unit": unit}), tmp_path / "run")
    before = files(tmp_path / "run")
    for larger in ({"replicas": 5}, {"replicas": 5, "probabilities": (1.0, 0.1, 0.3), "importances": (0.5, 2.0, 4.0)}):
        run = run_sweep(listed(**larger, engine={"unit": unit}), tmp_path / "run")
        whole = run_sweep(listed(**larger))
        assert digest(run.dataset) == digest(whole.dataset)
        assert digest(open_run(tmp_path / "run").dataset) == digest(whole.dataset)
        assert before.items() <= files(tmp_path / "run").items(), "the old bytes stay"
        mapped, expected = tmsjax.phase_map(open_run(tmp_path / "run")), tmsjax.phase_map(whole)
        np.testing.assert_array_equal(mapped["phase"], expected["phase"])
        np.testing.assert_allclose(mapped["success"], expected["success"])
        before = files(tmp_path / "run")
    if unit:
        agreement = [tmsjax.compare(one)["exact"]["agreement"] for one in (run, whole)]
        assert agreement[0] == agreement[1]
    assert run_sweep(listed(**larger), tmp_path / "run").trained == 0


def test_the_command_extends_a_run_and_an_unreached_larger_grid_can_be_given_up(tmp_path):
    run_sweep(listed(), tmp_path / "run")
    reference = digest(open_run(tmp_path / "run").dataset)
    with pytest.raises(Interrupted):
        run_sweep(listed(replicas=2000), tmp_path / "run", should_stop=lambda: True)
    assert digest(open_run(tmp_path / "run").dataset) == reference, "what was complete still opens"
    assert summary(open_run(tmp_path / "run"))["state"].startswith("complete; to be continued to 8,000 models: interr")
    done = run_command("resume", tmp_path / "run", "--set", "axes.replica.count=4")
    assert done.returncode == 0, done.stderr
    assert digest(open_run(tmp_path / "run").dataset) == digest(run_sweep(listed(replicas=4)).dataset)
    done = run_command("resume", tmp_path / "run", "--set", "axes.replica.count=3")
    assert done.returncode == 2
    assert "axes.replica: an axis grows only behind its old values, which stay as they are" in done.stderr


@pytest.mark.parametrize(
    ("axes", "changes", "why"),
    [
        ({"replica": {"count": 4}}, {"store": {"keep": "best"}}, 'axes.replica: store.keep = "best" has not kept'),
        ({"feature_probability": {"log": [1.0, 0.1], "count": 5}}, {}, "a log or linear axis cannot grow"),
        ({"replica": {"count": 4}}, {"seed": 8}, "seed: 7 -> 8"),
    ],
)
def test_what_cannot_grow_is_refused_with_the_reason(tmp_path, axes, changes, why):
    keep = {"store": changes["store"]} if "store" in changes else {}
    run_sweep(small_spec(**keep), tmp_path / "run")
    with pytest.raises(RunError, match=why):
        run_sweep(small_spec(axes=axes, **changes), tmp_path / "run")
    assert open_run(tmp_path / "run").dataset is not None


@pytest.mark.parametrize("unit", [0, 3], ids=["one unit", "units"])
def test_finished_results_stay_until_those_of_more_steps_replace_them(tmp_path, unit):
    def spec(steps: int) -> dict:
        return small_spec(train={**CONSTANT, "steps": steps}, record={"measures": []}, engine={"unit": unit})

    run_sweep(spec(30), tmp_path / "run")
    before = files(tmp_path / "run")
    often = {"checkpoint": {"every_seconds": 0.0, "segment_seconds": 0.0}}
    for _ in range(2):
        with pytest.raises(Interrupted):
            run_sweep({**spec(2_000_000), **often}, tmp_path / "run", should_stop=stopping_after(8))
        assert before.items() <= files(tmp_path / "run").items()
        assert open_run(tmp_path / "run").spec.train.steps == 30
        assert 30 in open_run(tmp_path / "run").steps(), "from which other numbers of steps can be trained"
    assert run_sweep(spec(30), tmp_path / "run").trained == 0
    assert digest(open_run(tmp_path / "run").dataset) == digest(run_sweep(spec(30)).dataset)
    longer = run_sweep(spec(50), tmp_path / "run")
    assert digest(longer.dataset) == digest(run_sweep(spec(50)).dataset)
    assert files(tmp_path / "run").keys() == before.keys()
    assert open_run(tmp_path / "run").directory.info().state == "complete"


def test_a_kill_while_results_are_replaced_costs_nothing(tmp_path):
    always = {"record": {"measures": []}, "engine": {"unit": 3}, "checkpoint": {"segment_seconds": 0.0}}
    spec = [small_spec(train={**CONSTANT, "steps": k}, **always) for k in (30, 50)]
    run_sweep(spec[0], tmp_path / "run")
    with pytest.raises(Interrupted):
        run_sweep(spec[1], tmp_path / "run", should_stop=stopping_after(60))
    there = sorted((tmp_path / "run" / "results-next").iterdir())
    assert there
    there[0].replace(tmp_path / "run" / "results" / there[0].name)  # as far as a killed process came
    run = run_sweep(spec[1], tmp_path / "run")
    assert run.trained == 6 - len(there)
    assert digest(run.dataset) == digest(run_sweep(spec[1]).dataset)


@pytest.mark.parametrize("unit", [0, 3], ids=["one unit", "units"])
def test_an_interrupted_run_can_be_finished_early_and_still_goes_on(tmp_path, unit):
    spec = small_spec(engine={"unit": unit}, checkpoint={"segment_seconds": 0.0}, train={"steps": 30})
    with pytest.raises(Interrupted):
        run_sweep(spec, tmp_path / "run", should_stop=stopping_after(20 if unit else 7))
    state = summary(open_run(tmp_path / "run"))["state"]
    assert state == f"interrupted: `tmsjax resume {tmp_path / 'run'}` continues it"
    with open_run(tmp_path / "run").directory.lock(), pytest.raises(RunError, match="another process is writing"):
        open_run(tmp_path / "run").finish()
    done = run_command("finish", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert ("never begun: their models are NaN" in done.stdout) == bool(unit)
    run = open_run(tmp_path / "run")
    state = run.restore()["state.params.W"]
    results = run.dataset.load()
    assert np.isnan(results["loss"]).any() == bool(unit)
    if not unit:
        np.testing.assert_array_equal(results["W"].to_numpy().ravel(), state.ravel())
    assert list(results["step"]) == list(open_run(tmp_path / "run").spec.record_steps)
    assert tmsjax.phase_map(run)["phase"].shape == (2, 3)
    assert summary(run)["state"] == "finished"
    whole = run_sweep(spec, tmp_path / "run")
    assert digest(whole.dataset) == digest(run_sweep(small_spec()).dataset)
    with pytest.raises(RunError, match="has results of 30 steps"):
        open_run(tmp_path / "run").finish()


def test_a_larger_grid_that_is_finished_early_has_the_results_that_finish_tells_of(tmp_path):
    run_sweep(listed(), tmp_path / "run")
    with pytest.raises(Interrupted):
        run_sweep(listed(replicas=5), tmp_path / "run", should_stop=lambda: True)
    done = run_command("finish", tmp_path / "run")
    assert "1 of 2 units are complete" in done.stdout, done.stderr
    assert dict(open_run(tmp_path / "run").dataset.sizes)["replica"] == 5
    assert digest(run_sweep(listed(replicas=5), tmp_path / "run").dataset) == digest(
        run_sweep(listed(replicas=5)).dataset
    )


def test_a_grid_that_grew_is_tiled_without_gaps():
    tiles = Tiling([(4, 3), (4, 7), (6, 7)], [(3, 2), (2, 3), (5, 4)])
    seen = np.zeros(tiles.grid, int)
    for box in tiles:
        seen[box.slices] += 1
    assert (seen == 1).all()
    assert [tiles.placed(k)[0] for k in range(len(tiles))] == [0] * 4 + [1] * 4 + [2] * 2
    with pytest.raises(IndexError):
        tiles.placed(len(tiles))


def test_all_units_of_a_longer_run_record_the_same_steps(tmp_path):
    def spec(steps: int, replicas: int = 2) -> dict:
        return listed(replicas=replicas, train={**CONSTANT, "steps": steps})

    short = run_sweep(spec(30), tmp_path / "run").dataset["history_loss"]
    run_sweep(spec(50), tmp_path / "run")
    longer = run_sweep(spec(50, 3), tmp_path / "run").dataset.load()
    whole = run_sweep(spec(50, 3)).dataset
    xr.testing.assert_equal(longer["W"], whole["W"])
    xr.testing.assert_equal(longer["history_loss"].sel(step=short["step"], replica=short["replica"]), short)
    common = np.intersect1d(longer["step"], whole["step"])
    xr.testing.assert_equal(longer["history_loss"].sel(step=common), whole["history_loss"].sel(step=common))
    assert run_sweep(spec(50, 3), tmp_path / "run").trained == 0
    longest = run_sweep(spec(60, 3), tmp_path / "run").dataset
    assert longest["step"].to_numpy()[-1] == 60
    xr.testing.assert_equal(longest["W"], run_sweep(spec(60, 3)).dataset["W"])


def test_a_larger_grid_that_is_given_up_leaves_no_trace_in_run_json(tmp_path):
    before = run_sweep(listed(), tmp_path / "run").directory.info()
    with pytest.raises(Interrupted):
        run_sweep(listed(replicas=2000), tmp_path / "run", should_stop=lambda: True)
    run_sweep(listed(), tmp_path / "run")
    assert open_run(tmp_path / "run").directory.info() == before


def test_a_mistyped_extension_of_an_unfinished_run_can_be_given_up(tmp_path):
    units = {"engine": {"unit": 2}, "checkpoint": {"segment_seconds": 0.0}}
    for replicas, calls in ((2, 40), (2000, 5)):
        with pytest.raises(Interrupted):
            run_sweep(listed(replicas=replicas, **units), tmp_path / "run", should_stop=stopping_after(calls))
    run = run_sweep(listed(replicas=3, **units), tmp_path / "run")
    assert digest(run.dataset) == digest(run_sweep(listed(replicas=3)).dataset)


def test_damaged_facts_about_units_are_told(tmp_path):
    run_sweep(listed(), tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    facts = directory.info()
    for plan in ({}, {**facts.plan, "unit": [1]}):
        directory.write(facts.with_(plan=plan))
        done = run_command("resume", tmp_path / "run", "--set", "axes.replica.count=3")
        assert done.returncode == 2
        assert "run.json is damaged" in done.stderr
