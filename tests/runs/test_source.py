"""Models trained on the hidden layers of a stored run's models ([data] run)."""

import shutil

import numpy as np
import pytest
from conftest import run_command, run_process

import tmsjax
from tmsjax.engine import Ensemble
from tmsjax.errors import RunError, SpecError
from tmsjax.runs.source import with_source
from tmsjax.spec import Box, load_spec
from tmsjax.spec.tables import to_dict

P = [0.5, 0.2]


def toy(**changes) -> dict:
    raw = {
        "name": "toy",
        "model": {"features": 5, "hidden": 2},
        "axes": {"feature_probability": {"values": P}, "replica": {"count": 3}},
        "instance": {"feature_probability": "feature_probability"},
        "train": {"steps": 20, "batch": 16, "learning_rate": 1e-2},
        "record": {"measures": []},
    }
    return {key: {**value, **changes.get(key, {})} if isinstance(value, dict) else value for key, value in raw.items()}


def on(path, **changes) -> dict:
    raw = {
        "name": "on-toy",
        "model": {"features": 2, "hidden": 6, "family": "sparse-autoencoder", "l1": "l1", "latents": "latents"},
        "data": {"run": str(path)},
        "axes": {"l1": {"values": [0.01, 0.1]}, "latents": {"values": [3, 6]}, "feature_probability": {"values": P}},
        "instance": {"init_scale": 1.0},
        "train": {"steps": 30, "batch": 16, "learning_rate": 1e-2},
        "record": {"measures": []},
    }
    return {key: {**value, **changes.get(key, {})} if isinstance(value, dict) else value for key, value in raw.items()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy"
    return tmsjax.run_sweep(toy(), path, progress=False)


def test_axes_of_the_run_choose_its_best_model_wherever_they_stand(stored):
    path, data = stored.directory.path, stored.dataset
    best = [data["W"].values[k, data["loss"].values[k].argmin()] for k in range(2)]
    spec = with_source(load_spec(on(path, axes={"feature_probability": {"values": P[::-1]}})))
    W = spec.source.of(Box.whole(spec.shape))["W"].reshape(2, 2, 2, 2, 5)
    for k in range(2):
        np.testing.assert_array_equal(W[:, :, k], np.broadcast_to(best[1 - k], (2, 2, 2, 5)))
    part = spec.source.of(Box((range(1, 2), range(2), range(1, 2))))
    np.testing.assert_array_equal(part["W"], np.stack([best[0], best[0]]))
    np.testing.assert_allclose(part["feature_probability"], 0.5)


def of_zero(spec) -> np.ndarray:
    """The loss of an output of 0, of every model."""
    ensemble = Ensemble(spec)
    return ensemble.zero_model_loss(ensemble.init())


def test_samples_are_hidden_layers_of_the_stored_models(stored):
    """The loss of an output of 0 is E |W x|^2, which is known."""
    spec = with_source(load_spec(on(stored.directory.path)))
    found = of_zero(spec).reshape(spec.shape)[0, 0]
    source = spec.source.of(Box.whole(spec.shape))
    for k, p in enumerate(P):
        gram = source["W"].reshape(*spec.shape, 2, 5)[0, 0, k]
        gram = gram.T @ gram
        moments = np.full((5, 5), p * p / 4) + np.eye(5) * (p / 3 - p * p / 4)
        assert found[k] == pytest.approx((gram * moments).sum(), rel=0.03)


def test_results_have_the_known_features_and_open_without_the_run(stored, tmp_path):
    copy = tmp_path / "toy"
    shutil.copytree(stored.directory.path, copy)
    run = tmsjax.run_sweep(on(copy), tmp_path / "run", progress=False)
    shutil.rmtree(copy)
    opened = tmsjax.open_run(run.directory.path)
    known = opened.dataset["known_W"]
    assert known.dims == ("l1", "latents", "feature_probability", "feature", "known_feature")
    assert opened.dataset["known_feature_probability"].sel(feature_probability=0.2).values == pytest.approx(0.2)
    facts = opened.directory.info().source
    assert facts["spec_hash"] == stored.spec.hash
    np.testing.assert_array_equal(
        known.values[0, 0], with_source(load_spec(on(stored.directory.path))).source.parts[0].arrays["W"]
    )


@pytest.mark.slow
def test_latents_beyond_those_in_use_are_never_trained(stored):
    run = tmsjax.run_sweep(on(stored.directory.path), progress=False)
    short = tmsjax.run_sweep(on(stored.directory.path, train={"steps": 1, "learning_rate": 0.0}), progress=False)
    moved = (run.dataset["E"] != short.dataset["E"]).any("feature").sel(l1=0.01)
    assert moved.sel(latents=3).values[..., :3].any()
    assert not moved.sel(latents=3).values[..., 3:].any()
    assert moved.sel(latents=6).values[..., 3:].any()


@pytest.mark.slow
def test_any_family_trains_on_a_hidden_layer(stored):
    model = {"family": "tied-no-bias", "activation": "linear", "features": 2, "hidden": 1}
    raw = on(stored.directory.path, model=model, train={"steps": 2000, "batch": 64})
    del raw["model"]["l1"], raw["model"]["latents"], raw["axes"]["l1"], raw["axes"]["latents"]
    run = tmsjax.run_sweep(raw, progress=False)
    W = with_source(load_spec(raw)).source.parts[0].arrays["W"].astype(float)
    for k, p in enumerate(P):
        moments = np.full((5, 5), p * p / 4) + np.eye(5) * (p / 3 - p * p / 4)
        least = np.linalg.eigvalsh(W[k] @ moments @ W[k].T)[0]  # what one principal component leaves
        assert run.dataset["loss"].values[k] == pytest.approx(least, rel=0.1)


@pytest.mark.slow
def test_a_relative_path_starts_at_the_spec(stored, tmp_path):
    from tmsjax.spec import to_toml

    shutil.copytree(stored.directory.path, tmp_path / "toy")
    (tmp_path / "specs").mkdir()
    file = tmp_path / "specs" / "on.toml"
    file.write_text(to_toml(load_spec(on("../toy"))))
    assert with_source(load_spec(file)).source is not None
    done = run_process("run", file, "--out", tmp_path / "run", "--join", "--set", "engine.unit=4")
    assert done.returncode == 0, done.stderr
    assert run_command("resume", tmp_path / "run").returncode == 0


@pytest.mark.slow
def test_a_run_continues_only_with_the_same_models(stored, tmp_path):
    path = tmp_path / "toy"
    shutil.copytree(stored.directory.path, path)
    tmsjax.run_sweep(on(path), tmp_path / "run", progress=False)
    shutil.rmtree(path)
    tmsjax.run_sweep({**toy(), "seed": 1}, path, progress=False)
    with pytest.raises(RunError, match="have changed"):
        tmsjax.run_sweep(on(path), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"features": 3}}, "model.features: must be 2"),
        ({"axes": {"feature_probability": {"values": [0.3]}}}, "has no 0.3; it has 0.5, 0.2"),
        ({"axes": {"colour": {"count": 2}}}, "axes.colour: no quantity names this axis"),
        ({"instance": {"feature_probability": 0.5}}, "'run' does not use it"),
        ({"data": {"values": "constant"}}, "'run' does not use it"),
        ({"data": {"run": "/nowhere/at/all"}}, "data.run: .*not a run directory"),
        ({"data": {"run": 3}}, "data.run: needs a path"),
        ({"train": {"loss": "exact"}}, "no exact loss is known"),
        ({"data": {"run": ["/nowhere", "/not/there"]}}, "/nowhere: .*not a run directory"),
    ],
)
def test_bad_input_is_one_error(stored, changes, told, tmp_path):
    with pytest.raises(SpecError, match=told):
        tmsjax.run_sweep(on(stored.directory.path, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_that_lacks_what_is_needed_is_refused(stored, tmp_path):
    raw = on(stored.directory.path)
    del raw["axes"]["feature_probability"]
    with pytest.raises(SpecError, match="add an axis of this name"):
        with_source(load_spec(raw))
    heads = {"features": 4, "hidden": 1, "family": "attention-score"}
    tmsjax.run_sweep(toy(model=heads), tmp_path / "heads", progress=False)
    with pytest.raises(SpecError, match="no directions W"):
        with_source(load_spec(on(tmp_path / "heads")))
    with pytest.raises(SpecError, match="not read yet"):
        Ensemble(load_spec(on(stored.directory.path)))
    stopped = tmp_path / "stopped"
    with pytest.raises(tmsjax.errors.Interrupted):
        tmsjax.run_sweep(toy(), stopped, progress=False, should_stop=lambda: True)
    with pytest.raises(SpecError, match="no results yet"):
        with_source(load_spec(on(stopped)))


def test_other_specs_are_written_as_before():
    assert "run" not in to_dict(load_spec(toy()))["data"]


@pytest.mark.slow
def test_a_run_without_axes_serves_every_instance_and_neurons_have_a_relu(tmp_path):
    raw = toy(model={"family": "hidden-relu"}, instance={"feature_probability": 0.5})
    raw["axes"] = {"replica": {"count": 2}}
    stored = tmsjax.run_sweep(raw, tmp_path / "toy", progress=False)
    changed = on(tmp_path / "toy")
    del changed["axes"]["feature_probability"]
    spec = with_source(load_spec(changed))
    best = stored.dataset["W"].values[stored.dataset["loss"].values.argmin()]
    np.testing.assert_array_equal(spec.source.of(Box.whole(spec.shape))["W"], np.stack([best] * 4))
    assert spec.source.neurons
    rng = np.random.default_rng(0)
    x = rng.random((200_000, 5)) * (rng.random((200_000, 5)) < 0.5)
    expected = (np.maximum(x @ best.T, 0) ** 2).sum(1).mean()
    assert of_zero(spec)[0] == pytest.approx(expected, rel=0.03)
