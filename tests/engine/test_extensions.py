"""User-added entries, from a dict to results: plain JAX on the fast path, with the same numbers on both paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_spec, slowly

import tmsjax
from tmsjax.engine import Plan
from tmsjax.engine.ensemble import Ensemble, plan
from tmsjax.kinds import VALUES
from tmsjax.models import check_spec
from tmsjax.spec import load_spec

pytestmark = pytest.mark.usefixtures("registries")


TIED = {"W": ("hidden", "feature"), "b": ("feature",)}


def tied(p, x, f):
    return f(p["W"].T @ (p["W"] @ x) + p["b"])


def _neighbours(n: int) -> np.ndarray:
    """Feature i is active on [i - 1, i + 1) of n."""
    both = np.eye(n) * 2 + np.eye(n, k=1) + np.eye(n, k=-1)
    both[0, 0] = 1
    return (both / n).astype(np.float32)


CHAIN = {  # each feature is active alone, or with the next: a sample's one uniform chooses a place on a ring
    "columns": lambda n: 1,
    "active": lambda u, p: (u[0] * len(p) >= np.arange(len(p)) - 1) & (u[0] * len(p) < np.arange(len(p)) + 1),
    "joint": lambda p: 0 * (p[..., :, None] * p[..., None, :]) + _neighbours(p.shape[-1]),
    "exactly": lambda p, subset: (
        p[0] * 0 + (subset in [(k, k + 1) for k in range(len(p) - 1)] + [(len(p) - 1,)]) / len(p)
    ),
}
TRIANGULAR = {"quantile": lambda u: 1 - jnp.sqrt(1 - u), "mean": 1 / 3, "square": 1 / 6}
ACTIVATION = {
    "softplus": jax.nn.softplus,
    "softmax": jax.nn.softmax,
}
FAMILY = {  # by default with the parameters and the output of "tied"
    "or": {"target": lambda x: 1 - (1 - x) * (1 - x[np.arange(1, len(x) + 1) % len(x)])},
    "low-rank": {
        "parameters": {"U": ("hidden", "rank"), "V": ("rank", "feature")},
        "apply": lambda p, x, f: f(p["V"].T @ (p["U"].T @ (p["U"] @ (p["V"] @ x)))),
        "directions": lambda p: p["U"] @ p["V"],
        "options": {"rank": tmsjax.Option("int", default=1)},
    },
    "sparse-hidden": {
        "penalty": lambda p, x, f, l1: l1 * abs(p["W"] @ x).sum(),
        "options": {"l1": tmsjax.Option("quantity", default=0.0, low=0.0)},
        "directions": lambda p: p["W"],
    },
}
OPTIONS = {"low-rank": {"rank": 2}, "sparse-hidden": {"l1": 0.3}}


def extended(name: str) -> dict:
    """Adds an extension, and returns the tables of a spec that uses it."""
    if name == "triangular":
        tmsjax.add_values(name, **TRIANGULAR)
        return {"data": {"values": name}}
    if name == "neighbours":
        tmsjax.add_activity(name, **CHAIN)
        return {"data": {"activity": name}}
    if name in ACTIVATION:
        tmsjax.add_activation(name, ACTIVATION[name])
        return {"model": {"activation": name}}
    tmsjax.add_family(name, **({"parameters": TIED, "apply": tied} | FAMILY[name]))
    data = {"data": {"values": "constant"}} if name == "or" else {}
    return {"model": {"family": name} | OPTIONS.get(name, {})} | data


def raw_spec(tables: dict, **changes) -> dict:
    raw = plain_spec(4, 2, instances=3, train={"steps": 12, "batch": 16, "learning_rate": 0.02})
    for table, values in [*tables.items(), *changes.items()]:
        raw[table] = {**raw.get(table, {}), **values}
    return raw


def trained(spec, cut: Plan) -> dict:
    sweep = Ensemble(spec, cut=cut)
    states = sweep.advance(sweep.init(), spec.train.steps)
    return sweep.gather(states).params | {"loss": sweep.noise_free_loss(states)}


EVERY = {*ACTIVATION, *FAMILY, "triangular", "neighbours"}


@pytest.mark.parametrize("name", ["softplus", *slowly(*sorted(EVERY - {"softplus"}))])
def test_extensions_run_on_scalars_and_in_stages_with_the_numbers_of_arrays(name):
    spec = load_spec(raw_spec(extended(name), engine={"path": "scalars"}))
    check_spec(spec)
    assert plan(spec, "cpu").scalars
    on_arrays = trained(spec, Plan(False, 3, 1, 16))
    for cut in (Plan(True, 3, 1, 16), Plan(False, 3, 1, 8, staged=True)):
        for key, values in trained(spec, cut).items():
            assert np.isfinite(values).all()
            np.testing.assert_allclose(values, on_arrays[key], rtol=2e-3, atol=2e-5, err_msg=key)


def test_a_family_without_matrices_still_counts_as_large():
    tmsjax.add_family("gains", parameters={"g": ("feature",)}, apply=lambda p, x, f: f(p["g"] * x))
    raw = plain_spec(5000, 1, model={"family": "gains"}, train={"steps": 10**9})
    assert not plan(load_spec(raw), "cpu").scalars


@pytest.mark.slow
def test_softplus_and_triangular_values_give_a_phase_map():
    dataset = tmsjax.run_sweep(raw_spec({**extended("softplus"), **extended("triangular")})).dataset
    assert tmsjax.phase_map(dataset)["phase"].dims == ()
    assert VALUES["triangular"].least == pytest.approx(1 / 15, rel=1e-3)  # E min^2 of density 2 (1 - x)


@pytest.mark.slow
def test_a_low_rank_family_stores_its_parameters_and_its_directions():
    run = tmsjax.run_sweep(raw_spec(extended("low-rank"), record={"measures": ["norm", "loss"], "steps": [0, 12]}))
    data = run.dataset
    assert data["U"].dims == ("replica", "hidden", "rank")
    assert data["V"].dims == ("replica", "rank", "feature")
    assert data["W"].dims == ("replica", "hidden", "feature")
    np.testing.assert_allclose(data["W"], data["U"].to_numpy() @ data["V"].to_numpy(), rtol=1e-5, atol=1e-6)
    norms = np.sqrt((data["W"] ** 2).sum("hidden"))
    np.testing.assert_allclose(data["history_norm"].isel(step=-1), norms, rtol=1e-5)
    one = tmsjax.run_sweep(raw_spec({"model": {"family": "low-rank"}})).dataset
    assert one["U"].shape == (3, 2, 1)
    assert (np.linalg.matrix_rank(one["W"].to_numpy(), tol=1e-4) == 1).all()


def test_directions_are_written_for_one_model():
    tmsjax.add_family(
        "decoder",
        parameters={"D": ("feature", "hidden")},
        apply=lambda p, x, f: f(p["D"] @ (p["D"].T @ x)),
        directions=lambda p: p["D"].T,
    )
    data = tmsjax.run_sweep(raw_spec({"model": {"family": "decoder"}})).dataset
    np.testing.assert_array_equal(data["W"].transpose("replica", "feature", "hidden"), data["D"])
    assert tmsjax.measures(data)["norm"].dims == ("replica", "feature")


@pytest.mark.slow
def test_a_penalty_swept_along_an_axis_shrinks_what_it_penalises():
    raw = raw_spec(extended("sparse-hidden"), model={"l1": "l1_axis"}, train={"steps": 600, "batch": 64})
    raw["axes"] = {"l1_axis": {"values": [0.0, 0.1, 1.0]}, "replica": {"count": 2}}
    run = tmsjax.run_sweep(raw)
    size = abs(run.dataset["W"]).mean(["replica", "hidden", "feature"]).to_numpy()
    assert size[0] > 1.1 * size[1] > 1.2 * size[2]
    assert run.spec.exact_loss is None
    one = run.dataset.isel(l1_axis=1, replica=0)
    rng = np.random.default_rng(0)
    x = (rng.uniform(size=(2**16, 4)) < 0.3) * rng.uniform(size=(2**16, 4))
    W, b = one["W"].to_numpy(), one["b"].to_numpy()
    losses = ((x - np.maximum(x @ W.T @ W + b, 0)) ** 2).sum(1)
    assert float(one["loss"]) == pytest.approx(losses.mean(), rel=0.05), "the noise-free loss leaves the penalty out"


@pytest.mark.slow
def test_an_or_is_learnt():
    raw = raw_spec(extended("or"), model={"hidden": 4}, train={"steps": 2000, "batch": 64})
    data = tmsjax.run_sweep(raw | {"record": {"measures": ["loss"], "steps": [1, 2000]}}).dataset
    assert data["history_loss"].isel(step=1).min() < 0.6 * data["history_loss"].isel(step=0).min()


def test_a_measure_is_recorded_and_computed():
    def participation(W):
        return (W**2).sum(-2) ** 2 / (W**4).sum(-2)

    tmsjax.add_measure("participation", participation, dims=("feature",))
    run = tmsjax.run_sweep(raw_spec({}, record={"measures": ["participation"], "steps": [0, 12]}))
    history = run.dataset["history_participation"]
    assert history.dims == ("replica", "step", "feature")
    W = run.dataset["W"].to_numpy()
    np.testing.assert_allclose(history.isel(step=1), participation(W), rtol=1e-4)
    measured = tmsjax.measures(run)["participation"]
    assert measured.dims == ("replica", "feature")
    np.testing.assert_allclose(measured, participation(W.astype(np.float64)), rtol=1e-5)


@pytest.mark.slow
def test_an_activity_trains_with_its_exact_loss():
    raw = raw_spec(extended("neighbours"), model={"features": 3, "hidden": 1}, train={"steps": 300, "loss": "exact"})
    spec = load_spec(raw)
    assert spec.exact_loss == "relu"
    exact = tmsjax.run_sweep(raw).dataset
    rng = np.random.default_rng(1)
    place, k = 3 * rng.uniform(size=(2**17, 1)), np.arange(3)
    x = ((place >= k - 1) & (place < k + 1)) * rng.uniform(size=(2**17, 3))
    one = exact.isel(replica=0)
    W, b = one["W"].to_numpy(), one["b"].to_numpy()
    losses = ((x - np.maximum(x @ W.T @ W + b, 0)) ** 2).sum(1)
    assert abs(losses.mean() - float(one["loss"])) < 5 * losses.std() / np.sqrt(len(x))
    linear = tmsjax.run_sweep(raw | {"model": raw["model"] | {"activation": "linear"}})
    assert linear.spec.exact_loss == "linear"
    assert np.isfinite(linear.dataset["loss"]).all()
