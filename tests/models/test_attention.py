"""Families of heads: their functions, both engine paths, the contract of outputs, bad sizes, and what verbs say."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import bound, held, run_command

import tmsjax
from tmsjax.engine.scalars import on_scalars
from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import FAMILIES
from tmsjax.spec import load_spec

HEADS = ("attention-score", "attention-score-bias", "attention-output")


def raw(family: str = "attention-score", features: int = 4, hidden: int = 1, **model) -> dict:
    return {
        "name": "heads",
        "model": {"features": features, "hidden": hidden, "family": family, **model},
        "axes": {"feature_probability": {"values": [0.9, 0.4]}, "replica": {"count": 4}},
        "instance": {"feature_probability": "feature_probability", "importance": [2.0, 3.0, *[1.0] * (features - 2)]},
        "train": {"steps": 3, "batch": 16},
    }


def by_hand(family, params, x, r, f):
    """(output, target), with loops."""
    k = len(r)
    Q, K = params["QK"][:, :k], params["QK"][:, k:]
    score = sum(x[i] * (Q.T @ K)[i, j] * x[k + j] for i in range(k) for j in range(k))
    wanted = sum(r[i] * x[i] * x[k + i] for i in range(k))
    if family != "attention-output":
        return f(np.array([score + params.get("b", 0)])), np.array([wanted])
    U, V = params["OV"][:, :k], params["OV"][:, k:]
    return f(score * (U.T @ V @ x[k:])), wanted * x[k:]


@pytest.mark.parametrize("family", HEADS)
def test_outputs_and_targets_are_those_by_hand(family):
    rng = np.random.default_rng(0)
    params = {"QK": rng.normal(size=(2, 6)), "OV": rng.normal(size=(1, 6)), "b": np.float64(0.1)}
    params = {name: params[name] for name in FAMILIES[family].parameters}
    x = rng.random(6)
    output, target = by_hand(family, params, x, 0.49 ** (np.arange(3) / 2), lambda v: np.maximum(v, 0))
    entry = FAMILIES[family]
    np.testing.assert_allclose(entry.apply(params, x, lambda v: np.maximum(v, 0)), output)
    np.testing.assert_allclose(entry.target(x, ratio=0.49), target, rtol=1e-6)
    assert len(output) == len(target) == entry.outputs(6)


@pytest.mark.parametrize("family", HEADS)
def test_losses_use_the_importance_of_each_output_on_both_paths(family):
    """On arrays and on scalars, beside a loss with loops."""
    problem, row, _ = bound(raw(family, ratio=0.5))
    row = row.replace(feature_probability=jnp.ones(4))
    rng = np.random.default_rng(1)
    params = {k: jnp.asarray(rng.normal(size=shape), jnp.float32) for k, shape in problem.shapes.items()}
    word, nothing = jnp.asarray(rng.integers(0, 2**32, 4, np.uint32)), jnp.zeros(4, jnp.uint32)
    x = 1 - np.asarray(word, float) / 2**32  # every feature is active
    double = {k: np.asarray(v, float) for k, v in params.items()}
    output, target = by_hand(family, double, x, 0.5 ** (np.arange(2) / 2), lambda v: np.maximum(v, 0))
    expected = (np.array([2.0, 3.0])[: len(output)] * (output - target) ** 2).sum()
    for given in ((params, row, word, nothing), held((params, row, word, nothing))):
        assert float(on_scalars(problem.loss, *given)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"features": 5}, "an even number of features, not 5"),
        ({"hidden": 3}, "model.hidden, the rank of W_QK, is at most 2, .* not 3"),
        ({"family": "attention-output", "value_rank": 3}, "model.value_rank, the rank of W_OV, is at most 2"),
        ({"value_rank": 1}, "value_rank"),
        ({"ratio": -1.0}, "model.ratio"),
    ],
)
def test_bad_sizes_are_refused_before_work(changes, why):
    bad = raw()
    bad["model"] |= changes
    bad["instance"].pop("importance")
    with pytest.raises(SpecError, match=why):
        load_spec(bad)


def test_outputs_of_an_added_family_are_checked(registries):
    def add(outputs):
        tmsjax.add_family(
            "sums",
            parameters={"W": ("hidden", "feature")},
            apply=lambda p, x, f: f((p["W"] @ x).sum(keepdims=True)),
            target=lambda x: x.sum(keepdims=True),
            outputs=outputs,
        )

    add(lambda n: 1)
    assert tmsjax.run_sweep(raw("sums")).dataset["loss"].shape == (2, 4)
    for outputs, why in (
        (lambda n: n / 3, "outputs gives 1.33"),
        (lambda n: n, "apply gives float32.1., not float32.4."),
    ):
        add(outputs)
        with pytest.raises(SpecError, match=why):
            tmsjax.run_sweep(raw("sums"))


def test_runs_resume_and_are_drawn_and_maps_of_directions_are_refused(tmp_path):
    sweep = raw()
    tmsjax.run_sweep(sweep, out=tmp_path / "run")
    sweep["train"]["steps"] = 5
    assert tmsjax.run_sweep(sweep, out=tmp_path / "run").dataset["QK"].shape == (2, 4, 1, 4)
    run = tmsjax.open_run(tmp_path / "run")
    assert set(tmsjax.figures(run)) == {"curves", "learning"}
    for verb in (tmsjax.phase_map, tmsjax.compare, tmsjax.measures, lambda run: tmsjax.figures(run, kind="phase-map")):
        with pytest.raises(RunError, match="no directions W"):
            verb(run)
    assert "attention-score, relu, 4 features" in run_command("info", tmp_path / "run").stdout
