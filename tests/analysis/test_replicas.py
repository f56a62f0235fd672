"""Agreement by the number of replicas, success by the signs at init, stratified signs."""

import numpy as np
import pytest
import xarray as xr
from conftest import small_spec

from tmsjax.analysis import phases, replicas
from tmsjax.runs import run_sweep
from tmsjax.spec import load_spec, to_toml


def made(W, loss, status=None) -> xr.Dataset:
    """Results of one cell row: W (probability, importance, replica, 1, 2), loss (probability, importance, replica)."""
    raw = small_spec()
    shape = np.shape(loss)
    raw["axes"]["replica"]["count"] = shape[2]
    dims = ("feature_probability", "extra_importance", "replica")
    spec = load_spec(raw)
    return xr.Dataset(
        {
            "W": ((*dims, "hidden", "feature"), np.asarray(W, float)),
            "loss": (dims, np.asarray(loss, float)),
            "status": (dims, np.zeros(shape, np.int8) if status is None else status),
        },
        {a.name: list(a.values) for a in spec.axes},
        {"spec": to_toml(spec), "directions": 1},
    )


@pytest.fixture
def cells() -> xr.Dataset:
    """Three replicas a cell: first only, antipodal and best, antipodal."""
    one = [[[1.0, 0.0]], [[1.0, -1.0]], [[0.9, -0.9]]]
    return made(np.tile(one, (2, 3, 1, 1, 1)), np.tile([0.2, 0.1, 0.11], (2, 3, 1)))


def test_agreement_takes_the_first_replicas_only(cells):
    superposed = np.full((2, 3), 3)
    assert replicas.agreement_by_count(cells, superposed, "best", [1, 2, 3]) == [0, 1, 1]
    assert replicas.agreement_by_count(cells, superposed, "vote", [1, 2, 3]) == [0, 0, 1]
    assert replicas.agreement_by_count(cells, superposed, "single", [1, 2, 3]) == [0, 0, 0]
    superposed[0, 0] = 1
    assert replicas.agreement_by_count(cells, superposed, "best", [3]) == [pytest.approx(5 / 6)]
    for beyond in ([0], [1, 4]):
        with pytest.raises(ValueError, match="1 to 3"):
            replicas.agreement_by_count(cells, superposed, "best", beyond)


def test_single_is_the_first_that_did_not_diverge(cells):
    status = np.zeros((2, 3, 3), np.int8)
    status[..., 0] = 1
    dataset = made(cells["W"].to_numpy(), cells["loss"].to_numpy(), status)
    assert (phases.phase_map(dataset, "single")["phase"] == 3).all()
    assert (phases.phase_map(cells, "single")["phase"] == 1).all()


def test_success_is_within_one_percent_of_the_cells_best(cells):
    cells["loss"][0, 0, 2] = 0.1005
    good = replicas.success(cells)
    assert good[0, 0].tolist() == [False, True, True]
    assert good[1, 1].tolist() == [False, True, False]


def inits(replica_count: int = 8, features: int = 2, **init) -> np.ndarray:
    raw = small_spec(init=init, record={"measures": ["W"], "steps": [0]}, train={"steps": 1})
    raw["axes"]["replica"]["count"] = replica_count
    raw["model"]["features"] = features
    if features != 2:
        raw["instance"]["importance"] = {"first": 1.0, "ratio": "extra_importance"}
    return run_sweep(raw).dataset


def opposite_at_init(dataset: xr.Dataset) -> np.ndarray:
    W = dataset["history_W"].sel(step=0).transpose(*dataset["loss"].dims, "hidden", "feature").to_numpy()
    return W[..., 0, 0] * W[..., 0, 1] < 0


def test_stratified_signs_alternate_and_change_nothing_else():
    even, random = inits(rule="stratified"), inits()
    opposite = opposite_at_init(even)
    assert opposite[..., 0::2].all()
    assert not opposite[..., 1::2].any()
    np.testing.assert_array_equal(abs(even["history_W"]), abs(random["history_W"]))
    assert 0 < opposite_at_init(random).mean() < 1
    first = np.sign(even["history_W"].to_numpy()[..., 0, 0])
    assert set(first.reshape(-1)) == {-1, 1}


@pytest.mark.slow
def test_stratified_signs_go_through_all_patterns_of_more_features():
    W = inits(8, features=4, rule="stratified")["history_W"].sel(step=0).to_numpy()[:, :, :, 0]
    relative = np.sign(W[..., 1:] * W[..., :1])
    for cell in relative.reshape(-1, 8, 3):
        assert len({tuple(pattern) for pattern in cell}) == 8
        assert (cell[0::2, 0] == -1).all()
    fewer = inits(4, features=4, rule="stratified")["history_W"].sel(step=0).to_numpy()[:, :, :, 0]
    np.testing.assert_array_equal(fewer, W[:, :, :4])
