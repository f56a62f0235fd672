"""Many instances: bits do not depend on other instances, devices or segments; all options train."""

import numpy as np
import pytest
from conftest import plain_spec, slowly, small_spec

from tmsjax import theory
from tmsjax.analysis import phase_map
from tmsjax.engine import Ensemble, Plan
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec

SCALARS = {"path": "scalars"}


def trained(raw: dict, stops: list[int] | None = None, **options) -> dict[str, np.ndarray]:
    loaded = load_spec(raw)
    sweep = Ensemble(loaded, **options)
    states = sweep.init()
    for stop in stops or [loaded.train.steps]:
        states = sweep.advance(states, stop)
    return {**sweep.gather(states).params, "loss": sweep.noise_free_loss(states)}


@pytest.mark.parametrize("scalars", [True, False])
def test_an_instance_does_not_depend_on_the_others(scalars):
    grown = small_spec(axes={"replica": {"count": 5}})
    ours = trained(small_spec(), cut=Plan(scalars, block=4, blocks=3, microbatch=8))["W"].reshape(2, 3, 2, 1, 2)
    theirs = trained(grown, cut=Plan(scalars, 4, 8, 8))["W"].reshape(2, 3, 5, 1, 2)
    np.testing.assert_allclose(ours, theirs[:, :, :2], rtol=1e-4, atol=1e-6)


def test_evaluation_holds_no_more_samples_at_once_than_training():
    sweep = Ensemble(load_spec(plain_spec(40, 10, instances=500, train={"batch": 8}, engine={"path": "arrays"})))
    memory = sweep.programs.compiled("loss", sweep.devices[0]).memory_analysis().temp_size_in_bytes
    activations = 4 * sweep.plan.block * 40 * 8
    assert memory < 10 * activations + 4 * sweep.plan.block * 40 * 10 + 1e6


def test_all_gradients_of_a_small_model_come_from_one_reduction():
    """Reductions of their own would each repeat the forward pass: 5 times slower at n = 5, m = 2."""
    text = Ensemble(load_spec(plain_spec(5, 2, instances=64, engine=SCALARS))).compile().as_text()
    reductions = [line for line in text.splitlines() if " reduce(" in line]
    assert len(reductions) == 1
    assert reductions[0].count("f32[64]") == 5 * 2 + 5


def test_a_diverged_models_nan_survives_the_reordered_sums():
    """REASSOCIATE must not let the compiler assume that there are no NaN or infinities."""
    result = trained(small_spec(train={"optimizer": "sgd", "learning_rate": 1e6, "steps": 200}, engine=SCALARS))
    assert not np.isfinite(result["loss"]).all()
    assert np.isnan(result["W"]).any()


TRAIN = {"steps": 1000, "batch": 64, "learning_rate": 1e-2}
LARGE = {
    "5 x 2": plain_spec(5, 2, train=TRAIN | {"steps": 1500}, engine=SCALARS),
    "20 x 5": plain_spec(20, 5, train=TRAIN, engine={"path": "stages"}),
    "200 x 20": plain_spec(200, 20, instances=2, train=TRAIN | {"steps": 150, "batch": 128}),
    "curve": plain_spec(20, 5, probability={"geometric": [0.5, 0.01]}, train=TRAIN),
}


@pytest.mark.parametrize("name", ["5 x 2", *slowly(*list(LARGE)[1:])])
def test_models_of_other_sizes_learn(name):
    loaded = load_spec(LARGE[name])
    result = trained(LARGE[name])
    n, m = loaded.model.features, loaded.model.hidden
    assert result["W"].shape == (loaded.instances, m, n)
    probability = np.broadcast_to(loaded.evaluate("feature_probability"), (loaded.instances, n))
    keep_best = np.sort(theory.variance(probability), axis=1)[:, : n - m].sum(1)
    assert np.all(result["loss"] < keep_best), "worse than keeping m features and the mean of the others"


@pytest.mark.slow
def test_linear_models_reach_the_projector():
    train = {"steps": 3000, "loss": "exact", "learning_rate": 1e-2, "schedule": "cosine"}
    raw = plain_spec(6, 2, model={"activation": "linear"}, train=train)
    raw["instance"]["importance"] = {"first": 1.0, "ratio": 0.7}
    result = trained(raw)
    gram = np.swapaxes(result["W"], 1, 2) @ result["W"]
    np.testing.assert_allclose(gram, np.broadcast_to(np.diag([1, 1, 0, 0, 0, 0]), gram.shape), atol=1e-3)
    np.testing.assert_allclose(result["loss"], theory.variance(0.3) * (0.7 ** np.arange(2, 6)).sum(), rtol=1e-4)


def test_trained_linear_models_split_at_importance_one():
    raw = small_spec(model={"activation": "linear"}, train={"steps": 3000, "batch": 64})
    raw["axes"]["extra_importance"] = {"values": [0.5, 0.8, 1.25, 2.0]}
    raw["axes"]["replica"] = {"count": 4}
    phase = phase_map(run_sweep(raw).dataset)["phase"].to_numpy()
    assert phase.tolist() == [[1, 1, 2, 2]] * 2  # first only, then second only, at either probability
