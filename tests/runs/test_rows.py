"""Rows of a file as samples: drawn or in epochs, what is recorded and refused; hidden layers of several runs."""

import jax
import numpy as np
import pytest
from conftest import plain_spec, slowly

import tmsjax
from tmsjax.engine import streams
from tmsjax.errors import RunError, SpecError
from tmsjax.models import bind, instances
from tmsjax.runs.source import with_source
from tmsjax.spec import Box, load_spec

N, ROWS, BATCH = 4, 103, 10


@pytest.fixture
def rows(tmp_path) -> np.ndarray:
    """Row k is k, 2 k, 3 k, 4 k."""
    array = np.arange(ROWS)[:, None] * np.arange(1, N + 1)
    np.save(tmp_path / "rows.npy", array)
    return array


def spec_of(folder, batch: int = BATCH, steps: int = 3, streams: str = "independent", **data) -> dict:
    raw = plain_spec(N, 2, instances=3, train={"steps": steps, "batch": batch, "streams": streams})
    del raw["instance"]["feature_probability"]
    return {**raw, "data": {"file": str(folder / "rows.npy"), **data}}


def seen(raw: dict, steps: int) -> np.ndarray:
    """The number of the row of every sample of training, (steps, instances, batch)."""
    spec = with_source(load_spec(raw))
    problem, table, shared = bind(spec), jax.tree.map(jax.numpy.asarray, instances(spec)), streams.Shared.of(0, 10)

    def of_step(step, row):
        words, offset = streams.words(step, shared, problem), streams.offset(step, row, shared, problem)
        return jax.vmap(lambda word: problem.sample(word + offset, row)[0])(words)

    every = jax.jit(jax.vmap(jax.vmap(of_step, (None, 0)), (0, None)))
    return np.asarray(every(np.arange(steps, dtype=np.int32), table)).astype(int)


def test_rows_are_drawn_with_equal_chances_and_by_each_model_for_itself(rows, tmp_path):
    numbers = seen(spec_of(tmp_path, batch=2048), 5)
    counts = np.bincount(numbers.reshape(-1), minlength=ROWS)
    expected = numbers.size / ROWS
    assert abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert (numbers[:, 0] == numbers[:, 1]).mean() < 0.03
    same = seen(spec_of(tmp_path, streams="shared"), 2)
    np.testing.assert_array_equal(same[:, 0], same[:, 1])


def test_an_epoch_has_every_row_once_in_a_new_order_and_leaves_out_what_fills_no_batch(rows, tmp_path):
    steps = ROWS // BATCH
    numbers = seen(spec_of(tmp_path, epochs=1), 3 * steps).reshape(3, steps, 3, BATCH)
    left = set()
    for epoch in range(3):
        for model in range(3):
            order = numbers[epoch, :, model].reshape(-1)
            assert len(set(order.tolist())) == steps * BATCH
            left |= set(range(ROWS)) - set(order.tolist())
    assert len(left) > 3, "others are left out in each epoch and by each model"
    first, second = (numbers[k, :, 0].reshape(-1) for k in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.4
    assert (np.diff(first) == 1).mean() < 0.1


@pytest.mark.parametrize("epochs", [1, *slowly(0)])
def test_both_paths_train_on_the_same_rows(rows, tmp_path, epochs):
    raw = spec_of(tmp_path, steps=12, epochs=epochs) | {"record": {"measures": []}}
    every = [
        tmsjax.run_sweep(raw | {"engine": {"path": path}}).dataset["loss"].values for path in ("scalars", "arrays")
    ]
    np.testing.assert_allclose(*every, rtol=1e-4)


def test_a_linear_model_finds_the_one_direction_of_the_rows(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows / rows.max())
    raw = spec_of(tmp_path, steps=400, batch=64)
    raw["model"] = {"features": N, "hidden": 1, "activation": "linear", "family": "tied-no-bias"}
    raw["train"] |= {"learning_rate": 0.05}
    run = tmsjax.run_sweep(raw)
    assert (run.dataset["loss"].to_numpy() < 1e-4).all()
    W = run.dataset["W"].to_numpy().reshape(-1, N)
    np.testing.assert_allclose(abs(W), np.arange(1, N + 1)[None] / np.sqrt(30) * np.ones((3, 1)), atol=0.01)


def test_a_changed_file_is_refused_and_a_stored_run_opens_without_it(rows, tmp_path):
    raw = spec_of(tmp_path)
    tmsjax.run_sweep(raw, tmp_path / "run")
    facts = tmsjax.open_run(tmp_path / "run").directory.info().source
    assert len(facts["sha256"]) == 64
    np.save(tmp_path / "rows.npy", rows + 1)
    with pytest.raises(RunError, match=r"rows\.npy has changed"):
        tmsjax.run_sweep(raw, tmp_path / "run")
    (tmp_path / "rows.npy").unlink()
    assert tmsjax.open_run(tmp_path / "run").dataset["loss"].shape == (3,)


@pytest.mark.parametrize(
    ("array", "data", "told"),
    [
        (np.zeros(5), {}, r"needs numbers of shape \(rows, inputs\), not float64 of shape \(5,\)"),
        (np.array([["a"]]), {}, "needs numbers of shape"),
        (np.full((50, N), np.nan), {}, "200 of its numbers are not finite"),
        (np.full((50, N), 1e300), {}, "200 of its numbers are not finite in float32"),
        (np.zeros((BATCH - 1, N)), {"epochs": 1}, "fewer than train.batch = 10|shorter than train.batch = 10"),
        (np.zeros((50, N)), {"epochs": 2}, "data.epochs: needs a whole number in"),
        (np.zeros((50, N)), {"values": "constant"}, "'file' does not use it"),
        (
            np.zeros((50, N + 1)),
            {},
            r"data.file: has 5 inputs, but the family .tied. takes model.features = 4; set model.features = 5",
        ),
    ],
    ids=["one axis", "text", "NaN", "too large", "few rows", "epochs", "values", "longer rows"],
)
def test_rows_that_do_not_fit_are_one_error(array, data, told, tmp_path):
    np.save(tmp_path / "rows.npy", array)
    with pytest.raises(SpecError, match=told):
        tmsjax.run_sweep(spec_of(tmp_path, **data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_hidden_layers_of_two_runs_follow_each_other(tmp_path):
    toys = {}
    for name, p in (("one", 0.3), ("two", 0.3), ("other", 0.1)):
        raw = plain_spec(5, 2, instances=2, probability=p, train={"steps": 4, "batch": 8})
        toys[name] = tmsjax.run_sweep({**raw, "seed": len(name) + (name == "two")}, tmp_path / name)
    raw = plain_spec(4, 6, model={"family": "sparse-autoencoder"}, train={"steps": 3, "batch": 8})
    del raw["instance"]["feature_probability"]
    raw["data"] = {"run": [str(tmp_path / "one"), str(tmp_path / "two")]}
    spec = with_source(load_spec(raw))
    source = {name: values[0] for name, values in spec.source.of(Box.whole(spec.shape)).items()}
    parts = [np.concatenate([best(toys[name]) for name in ("one", "two")])]
    np.testing.assert_array_equal(source["W"], parts[0])
    problem, row = bind(spec), jax.tree.map(lambda x: x[0], instances(spec))
    bits = np.arange(problem.columns, dtype=np.uint32) * np.uint32(2**27)
    features = problem.sampler.of.draw(jax.numpy.asarray(bits), source["feature_probability"], {})
    np.testing.assert_allclose(problem.sample(jax.numpy.asarray(bits), row), source["W"] @ features, rtol=1e-6)
    assert tmsjax.run_sweep(raw, tmp_path / "run").dataset["known_W"].shape[-2:] == (4, 5)
    raw["data"]["run"][1] = str(tmp_path / "other")
    with pytest.raises(SpecError, match="different feature probabilities"):
        with_source(load_spec(raw))


def best(run) -> np.ndarray:
    dataset = run.dataset
    return dataset["W"].to_numpy()[int(np.argmin(dataset["loss"].to_numpy()))]
