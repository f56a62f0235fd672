"""Handmade runs of several units, near theory, for tests of what works unit by unit."""

import numpy as np
import xarray as xr
from conftest import map_axes, small_spec

from tmsjax import analysis, theory
from tmsjax.kinds import FAMILIES, REPLICA, SUCCESS
from tmsjax.runs import Run, RunDirectory
from tmsjax.spec import Boxes, load_spec, to_toml

ROWS, COLUMNS, REPLICAS = 40, 30, 3


class CutRun(Run):
    """A run of several units, cut from a dataset in memory."""

    def __init__(self, dataset: xr.Dataset, part: tuple[int, ...], path=None):
        directory = None if path is None else RunDirectory(path)
        super().__init__(analysis.spec_of(dataset), directory, dataset)
        self._units = Boxes(dataset["loss"].shape, part)
        self.read: list[int] = []

    @property
    def units(self) -> Boxes:
        return self._units

    @property
    def cells(self) -> Boxes:
        names = list(self.spec.axis)
        axis = names.index(REPLICA) if REPLICA in names and len(self._units.grid) == len(names) else None
        return self._units.without(axis)

    @property
    def spec_hash(self) -> str:
        return self.spec.hash

    def part(self, unit: int) -> xr.Dataset:
        self.read.append(unit)
        dims = self.dataset["loss"].dims
        return self.dataset.isel(dict(zip(dims, self._units[unit].slices, strict=True)))


def map_spec(**changes) -> dict:
    return small_spec(axes=map_axes(ROWS, COLUMNS, REPLICAS, 0.03), **changes)


def trained_like(raw: dict, noise: float = 0.02, seed: int = 0) -> xr.Dataset:
    """Results near theory's candidates, with wrong cells, replicas that fail, and diverged models."""
    spec, rng = load_spec(raw), np.random.default_rng(seed)
    dims, n = [a.name for a in spec.axes], spec.model.features
    inputs = {
        name: np.broadcast_to(spec.evaluate(name), (*spec.shape, n)) for name in ("importance", "feature_probability")
    }
    flat = [inputs[name].reshape(-1, n) for name in ("importance", "feature_probability")]
    W = theory.candidate_weights(*flat).reshape(*spec.shape, 1, n)
    wrong = rng.uniform(size=spec.shape) < noise
    W = np.where(wrong[..., None, None], rng.uniform(-1, 1, W.shape), W * rng.uniform(0.97, 1.03, W.shape))
    loss = rng.uniform(0.1, 0.12, spec.shape) * np.where(wrong, 1.001, 1.0)
    status = (rng.uniform(size=spec.shape) < 0.05).astype(np.int8)
    status[tuple(slice(5) if d != REPLICA else slice(None) for d in dims)] = 2  # masked cells
    W[status != 0] = np.nan
    return xr.Dataset(
        {
            "W": ([*dims, "hidden", "feature"], W.astype(np.float32)),
            "b": ([*dims, "feature"], np.zeros((*spec.shape, n), np.float32)),
            "loss": (dims, loss.astype(np.float32)),
            "status": (dims, status),
            **{f"instance_{k}": ([*dims, "feature"], v.astype(np.float32)) for k, v in inputs.items()},
        },
        {a.name: list(a.values) for a in spec.axes},
        {"spec": to_toml(spec), "directions": 1},
    )


def untrained(raw: dict) -> Run:
    """A run in memory whose weights and losses were drawn, not trained."""
    spec, rng = load_spec(raw), np.random.default_rng(0)
    dims, sizes = [a.name for a in spec.axes], spec.shape
    length = {"hidden": spec.model.hidden, "feature": spec.model.features}
    inputs = {
        f"instance_{name}": ([*dims, "feature"], np.broadcast_to(spec.evaluate(name), (*sizes, length["feature"])))
        for name in ("importance", "feature_probability")
    }
    drawn = {**FAMILIES[spec.model.family].parameters, "loss": ()}
    params = {
        name: ([*dims, *own], rng.uniform(-1, 1, (*sizes, *(length[d] for d in own)))) for name, own in drawn.items()
    }
    status = {"status": (dims, np.zeros(sizes, np.int8))}
    coordinates = {a.name: list(a.values) for a in spec.axes}
    attributes = {"spec": to_toml(spec), "directions": 1}
    return Run(spec, None, xr.Dataset(params | status | inputs, coordinates, attributes))


def best_only(dataset: xr.Dataset) -> xr.Dataset:
    """The results as `store.keep = "best"` stores them."""
    ok = dataset["status"] == 0
    ranked = dataset["loss"].where(ok, np.inf)
    best = dataset.isel({REPLICA: ranked.argmin(REPLICA)}).drop_vars(REPLICA)
    counts = {
        "successes": ((ranked <= SUCCESS * ranked.min(REPLICA)) & ok).sum(REPLICA).astype(np.int32),
        "diverged": (~ok).sum(REPLICA).astype(np.int32),
        "replica": ranked.argmin(REPLICA).astype(np.int32),
        "loss_mean": dataset["loss"].where(ok).mean(REPLICA),
    }
    return best.assign(counts).assign_attrs(keep="best", replicas=dataset.sizes[REPLICA])
