"""How far settings of training move the boundary of superposition: trains models around the exact boundary.

Letters: A values of the swept quantity (learning rate or weight decay), R ratios of importances, S probabilities about
the exact boundary of each ratio, K replicas, of which even ones start with w1 w2 < 0 and odd ones with w1 w2 > 0.
"""

from __future__ import annotations

import time
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import tmsjax
from tmsjax.errors import Diverged
from tmsjax.runs import read_dataset, write_dataset

SWEEP = Path(__file__).with_name("training_adds.toml")
REPRESENTED = 0.3
GROUP = 16  # replicas of which the best speaks for a cell
FEWER = (2, 4, 8)
LOWEST, HIGHEST, FINE = -0.4, 0.15, 0.02  # decades from the exact boundary; scale below which the grid is linear
INSIDE, BEYOND = (-0.1, -0.02), (0.0, 0.01)  # decades in which inits that end in superposition are counted
LOCAL = 0.03  # decades within which the losses of models are compared with the exact minima of both branches
LEAST = 5  # models on a branch of a cell from which their median loss counts


@dataclass(frozen=True)
class Setting:
    """One training setting, except for the swept quantity. noise: a stream, or "exact" for the exact loss."""

    optimizer: str
    schedule: str = "cosine"
    steps: int = 1024
    batch: int = 16
    noise: str = "independent"
    axis: str = "learning_rate"
    rate: float = 0.0  # learning rate, if the axis is weight_decay

    @property
    def name(self) -> str:
        return "-".join(f"{value}" for value in asdict(self).values())


@dataclass(frozen=True)
class Grid:
    """The values of the swept quantity (A,), the ratios (R,), their exact boundaries (R,), replicas, and S."""

    values: tuple[float, ...]
    ratio: tuple[float, ...]
    jump: tuple[float, ...]
    replicas: int
    points: int

    @property
    def offsets(self) -> np.ndarray:
        """Decades of p from the exact boundary, (R, S): the grids of the ratios are displaced by parts of a step."""
        ends = [np.arcsinh(v / FINE) for v in (LOWEST, HIGHEST)]
        step = (ends[1] - ends[0]) / self.points
        within = (np.arange(len(self.ratio)) + 0.5) / len(self.ratio)
        return FINE * np.sinh(ends[0] + step * (np.arange(self.points) + within[:, None]))

    @property
    def probability(self) -> np.ndarray:
        return np.array(self.jump)[:, None] * 10**self.offsets

    def with_values(self, low: float, high: float) -> Grid:
        return replace(self, values=tuple(np.geomspace(low, high, len(self.values)).tolist()))


def widths(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower end of the window (R,) and the widths (R, S) of the cells around `offsets`, borders in the middle."""
    middle = (offsets[:, 1:] + offsets[:, :-1]) / 2
    first, last = (2 * offsets[:, k] - middle[:, k] for k in (0, -1))
    borders = np.concatenate([first[:, None], middle, last[:, None]], 1)
    return borders[:, 0], np.diff(borders, axis=1)


def boundary(superposed: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The end of superposition in decades from the exact boundary, from shares of superposed cells (..., R, S).

    The length of the window that is superposed, from its lower end: for a sharp boundary its place to half a cell, for
    a blurred one its mean. NaN unless the lowest two cells are superposed and the highest two are not.
    """
    low, width = widths(offsets)
    found = low + (superposed * width).sum(-1)
    inside = (superposed[..., :2].mean(-1) >= 0.75) & (superposed[..., -2:].mean(-1) <= 0.25)
    return np.where(inside, found, np.nan)


def spec_of(setting: Setting, grid: Grid) -> dict[str, Any]:
    """The sweep with the cells of `grid`, as a dict."""
    raw = tomllib.loads(SWEEP.read_text(encoding="utf-8"))
    p = grid.probability
    raw["axes"] = {
        setting.axis: {"values": list(grid.values)},
        "case": {"count": p.size},
        "replica": {"count": grid.replicas},
    }
    ratios = np.repeat(grid.ratio, grid.points).tolist()
    raw["instance"]["importance"] = [1.0, {"select": "case", "of": ratios}]
    raw["instance"]["feature_probability"] = {"select": "case", "of": p.reshape(-1).tolist()}
    raw["train"] |= {"optimizer": setting.optimizer, "schedule": setting.schedule, "steps": setting.steps}
    raw["train"] |= {"batch": setting.batch}
    raw["train"] |= {"loss": "exact"} if setting.noise == "exact" else {"streams": setting.noise}
    if setting.axis == "weight_decay":
        raw["train"] |= {"learning_rate": setting.rate, "weight_decay": "weight_decay"}
    raw["study"]["y"] = setting.axis
    return raw


def measured(setting: Setting, grid: Grid, folder: Path) -> xr.Dataset:
    """The result of `reduced` for a setting; trained once, then read from `folder`."""
    spec = tmsjax.load_spec(spec_of(setting, grid))
    path = folder / f"{setting.name}-{spec.hash[:8]}.nc"
    if path.exists():
        return read_dataset(path)
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Diverged)  # counted
        dataset = tmsjax.run_sweep(spec, progress=False).dataset
    seconds = time.monotonic() - start
    found = reduced(dataset, setting, grid).assign_attrs(seconds=seconds, models=spec.instances)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dataset(path, found)
    print(f"  {setting.name}: {spec.instances:,} models, {seconds:.1f} s", flush=True)
    return read_dataset(path)


def reduced(dataset: xr.Dataset, setting: Setting, grid: Grid) -> xr.Dataset:
    """What is kept of the trained models.

    best, best_penalised (A, R, S, groups): whether the model of lowest noise-free loss of each GROUP replicas is in
    superposition; the same with weight_decay / 2 |parameters|^2 added. best_of (A, R, S, FEWER): share of the groups
    of 2, 4, 8 replicas whose best is. opposite, equal (A, R, S): share of the inits with w1 w2 < 0, and with > 0, that
    end in superposition. loss_superposed, loss_dedicated (A, R, S): median noise-free loss of such models, NaN of fewer
    than LEAST. diverged (A,): share.
    """
    shape = len(grid.values), len(grid.ratio), grid.points, grid.replicas
    dataset = dataset.transpose(setting.axis, "case", "replica", "hidden", "feature")
    W = dataset["W"].to_numpy().astype(float).reshape(*shape, 2)
    b = dataset["b"].to_numpy().astype(float).reshape(*shape, 2)
    sound = (dataset["status"].to_numpy() == 0).reshape(shape)
    loss = np.where(sound, dataset["loss"].to_numpy().astype(float).reshape(shape), np.inf)
    major, minor = (np.abs(W[..., k]) >= REPRESENTED for k in (0, 1))
    superposed, dedicated = sound & major & minor, sound & major & ~minor
    penalty = ((W**2).sum(-1) + (b**2).sum(-1)) / 2
    decay = np.array(grid.values) if setting.axis == "weight_decay" else np.zeros(shape[0])
    penalised = loss + decay[:, None, None, None] * np.where(sound, penalty, 0)

    def of_best(value: np.ndarray, count: int = GROUP) -> np.ndarray:
        grouped = [v.reshape(*shape[:3], shape[3] // count, count) for v in (value, superposed)]
        return np.take_along_axis(grouped[1], grouped[0].argmin(-1)[..., None], -1)[..., 0]

    def median(of: np.ndarray) -> np.ndarray:
        few, rows = of.sum(-1) < LEAST, np.sort(np.where(of, loss, np.inf), -1)
        middle = [np.take_along_axis(rows, ((of.sum(-1) - k) // 2).clip(0)[..., None], -1)[..., 0] for k in (0, 1)]
        with np.errstate(invalid="ignore"):
            return np.where(few, np.nan, (middle[0] + middle[1]) / 2)

    cell = (setting.axis, "ratio", "offset")
    return xr.Dataset(
        {
            "best": ((*cell, "group"), of_best(loss)),
            "best_penalised": ((*cell, "group"), of_best(penalised)),
            "best_of": ((*cell, "count"), np.stack([of_best(loss, count).mean(-1) for count in FEWER], -1)),
            "opposite": (cell, superposed[..., 0::2].mean(-1)),
            "equal": (cell, superposed[..., 1::2].mean(-1)),
            "loss_superposed": (cell, median(superposed)),
            "loss_dedicated": (cell, median(dedicated)),
            "diverged": ((setting.axis,), 1 - sound.mean((1, 2, 3))),
        },
        {setting.axis: list(grid.values), "ratio": list(grid.ratio)},
    )


def excess(found: xr.Dataset, grid: Grid, exact: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The median excess of the loss over the minimum of each branch, (A, R), by branch; a mean over cells near 0.

    exact: the branches' losses (R, S). NaN where a branch has too few models in all cells.
    """
    near = np.abs(grid.offsets) <= LOCAL
    out = {}
    for name, minimum in exact.items():
        above = np.where(near, found[f"loss_{name}"].to_numpy() - minimum, np.nan)
        known = np.isfinite(above)
        out[name] = np.where(known, above, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
    return out


def summary(found: xr.Dataset, grid: Grid) -> dict[str, np.ndarray]:
    """Shifts in decades of p, (A,): means over ratios, NaN if the boundary of a ratio is outside the window.

    shift, penalised: of the best of GROUP. error: standard error of `shift` over the groups. worst: largest |shift| of
    a ratio. seeds: standard deviation between groups of one ratio. ratios: between ratios. by_ratio,
    penalised_by_ratio (A, R). by_count, worst_by_count (A, FEWER): of the best of fewer. inside, beyond (A, 2): shares
    of inits with w1 w2 < 0, and with > 0, that end in superposition INSIDE its region and BEYOND its boundary.
    """
    offsets = grid.offsets

    def ends(name: str) -> np.ndarray:
        return boundary(np.moveaxis(found[name].to_numpy().astype(float), -1, 1), offsets)  # (A, groups, R)

    def shares(low: float, high: float) -> np.ndarray:
        within = (offsets > low) & (offsets < high)
        return np.stack([found[sign].to_numpy()[:, within].mean(-1) for sign in ("opposite", "equal")], -1)

    each = ends("best")
    by_ratio, spread = each.mean(1), each.std(1, ddof=1)
    return {
        "value": np.array(grid.values),
        "shift": by_ratio.mean(-1),
        "penalised": ends("best_penalised").mean((1, 2)),
        "error": np.sqrt((spread**2).mean(-1) / each.shape[1] / each.shape[2]),
        "worst": np.abs(by_ratio).max(-1),
        "seeds": np.sqrt((spread**2).mean(-1)),
        "ratios": by_ratio.std(-1),
        "by_ratio": by_ratio,
        "penalised_by_ratio": ends("best_penalised").mean(1),
        "by_count": ends("best_of").mean(-1),
        "worst_by_count": np.abs(ends("best_of")).max(-1),
        "inside": shares(*INSIDE),
        "beyond": shares(*BEYOND),
        "diverged": found["diverged"].to_numpy(),
    }
