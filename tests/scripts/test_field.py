"""The models of the field: every spec loads and can be trained, the ways learn the same, results are tables."""

import json
from concurrent.futures import Future

import jax
import numpy as np
import pytest
import xarray as xr
from bench.field import __main__, measure, published
from bench.field.measure import JAX, OURS, ROWS

from tmsjax.engine import plan
from tmsjax.errors import RunFailed
from tmsjax.models.trial import check_spec
from tmsjax.spec import load_spec


class Here:
    """A way's process, in this process."""

    def __init__(self):
        self.held = {}

    def submit(self, function, *args):
        done = Future()
        measure._held, kept = self.held, measure._held
        try:
            with jax.numpy_rank_promotion("allow"):
                done.set_result(function(*args))
        finally:
            measure._held = kept
        return done

    def shutdown(self):
        pass


@pytest.fixture
def quickly(monkeypatch):
    """Few models and steps, in this process, without torch."""
    monkeypatch.setattr(measure, "_process", Here)
    monkeypatch.setattr(measure, "has_torch", lambda: False)
    monkeypatch.setattr(measure, "STEPS", 300)
    monkeypatch.setattr(measure, "MODELS", 64)
    load = measure.load

    def small(row, folder, *overrides):
        return load(row, folder, "axes.replica.count=64", "train.batch=32", *overrides)

    monkeypatch.setattr(measure, "load", small)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("field")
    measure.prepare(made)
    return made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_spec_loads_and_can_be_trained(row, folder, registries):
    spec = measure.load(row, folder)
    check_spec(spec)
    found = measure.path_of(spec, plan(spec, "cpu"))
    assert found["path"] in ("scalars", "stages") or found["reason"].endswith(" weights"), found
    assert measure.others_models(spec) >= 1


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_rows_are_measured_and_compared(registries, tmp_path, capsys):
    file = tmp_path / "new" / "field.json"
    __main__.main(["--quick", "--rows", "untied,hidden-identity", "--json", str(file)])
    read = json.loads(file.read_text())
    assert [row["name"] for row in read["rows"]] == ["untied", "hidden-identity"]
    for row in read["rows"]:
        ours, others = row["ways"][OURS], row["ways"][JAX]
        assert others["loss"] == pytest.approx(ours["loss"], rel=measure.SAME_LOSS)
        assert others["loss"] < 0.9 * others["loss_before"]
        assert row["ratios"] == {JAX: others["seconds"] / ours["seconds"]}
        assert ours["seconds"] == sorted(ours["rounds"])[1] > 0
    table = capsys.readouterr().out.strip().splitlines()[-2:]
    assert all(line.count("|") == 8 for line in table)


def test_ways_that_learn_something_else_are_refused():
    begun = {OURS: {"loss": 0.1}, JAX: {"loss": 0.109, "loss_before": 0.2}}
    measure.check_same(ROWS[0], begun)
    begun[JAX]["loss_before"] = 0.115
    with pytest.raises(RunFailed, match="JAX vmap learns nothing"):
        measure.check_same(ROWS[0], begun)
    begun[JAX]["loss"] = 0.112
    with pytest.raises(RunFailed, match="JAX vmap learns something else"):
        measure.check_same(ROWS[0], begun)


def test_lines_are_counted_without_imports_and_blank_ones(monkeypatch):
    assert measure._count("import jax\n\n\ndef f(x):\n    return x  # why\n\n# a comment\n") == 2
    monkeypatch.setattr(measure, "has_torch", lambda: False)
    lines = {row.name: measure.lines_of(row) for row in ROWS}
    assert lines["hierarchy"]["code"] == 0
    assert 1 <= lines["fourth-power"]["code"] <= 10
    assert all(row["spec"] < 25 and row[JAX] >= 2 for row in lines.values())


def test_responses_of_hand_made_models():
    """R = diag(2, 2, 0, 0): its multiple closest to 1 leaves two features, and three codewords are read."""
    W = np.array([[[1.0, 0, 0, -1], [0, 2, 0, 0]]])
    V = np.zeros((1, 4, 2))
    V[0, :, 0], V[0, :, 1] = [2, 0, 0, 0], [0, 1, 0, 0]
    run = type("Stored", (), {"dataset": xr.Dataset({"W": (("r", "m", "n"), W), "V": (("r", "n", "m"), V)})})
    alpha, facts = published.responses(run)
    assert alpha == pytest.approx(4 / 2)  # trace of R: 2 + 2
    assert facts["distance"] == pytest.approx([4 - 16 / 8] * 2)
    assert facts["bound"] == 2
    assert facts["seeds_by_codewords"] == {"[1, 1, 2]": 1}


def test_published_numbers_have_specs_and_tolerances(registries):
    for one in published.NUMBERS:
        assert load_spec(measure.SPECS / f"{one.spec}.toml", one.overrides, imports=True).instances >= 3
    within = [
        published.summary(published.NUMBERS[0], np.full(4, 3.044 * k))["within"] for k in (0.96, 0.98, 1.02, 1.04)
    ]
    assert within == [False, True, True, False]
    summed = published.summary(published.NUMBERS[0], np.array([3.0, 3.1]))
    assert summed["mean"] == pytest.approx(3.05)
    assert summed["standard_error"] == pytest.approx(0.05)
    assert "3.05 +- 0.05 | 2 | yes" in published.table([summed])


@pytest.mark.parametrize("given", [["--rows", "tied"], ["--rounds", "0"]])
def test_bad_options_are_refused_before_any_work(given, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(given)
    assert stopped.value.code == 2
    assert given[0] in capsys.readouterr().err
