"""Phase maps from results, and the phases that theory predicts for their cells: Dataset -> Dataset. No jax.

Rules that select among the replicas of a cell:
  best   the replica of lowest noise-free loss
  paper  drop diverged replicas and the worst, average norm and gated superposition, then classify
         (paper: "average over the results, discarding the model with the highest loss")
  vote   each replica's phase counts once; the plurality wins, a tie is "none"
  single the first replica that did not diverge
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from tmsjax import theory
from tmsjax.errors import RunError
from tmsjax.kinds import REPLICA, REPRESENTED, SUCCESS, measures, without_lengths
from tmsjax.spec import SELECTIONS, Spec, axes_used, stored_spec

SUPERPOSED = 0.1  # least superposition of a represented feature that counts as sharing (m > 1)
MASKED = -1  # no replica of the cell is usable

FEATURE_CLASSES = ("not represented", "dedicated", "superposition")
TWO_FEATURE_PHASES = ("none", "first only", "second only", "superposition")


@dataclass(frozen=True)
class Layout:
    """How to show a phase map: the dimensions along y and x, the feature to map and the names of the phases."""

    y: str | None
    x: str | None
    feature: int
    phases: tuple[str, ...]


def spec_of(dataset: xr.Dataset) -> Spec:
    """The spec stored in a dataset of results."""
    return stored_spec(dataset.attrs["spec"], "dataset")


def is_best_only(dataset: xr.Dataset) -> bool:
    """Whether the results hold only the best replica of each cell (`store.keep = "best"`)."""
    return dataset.attrs.get("keep") == "best"


def with_replica(dataset: xr.Dataset) -> xr.Dataset:
    """The results with a replica axis, of length 1 if they have none."""
    if REPLICA in dataset.dims:
        return dataset
    return dataset.drop_vars(REPLICA, errors="ignore").expand_dims(
        REPLICA
    )  # the index of the best one, if only it is kept


def need_replicas(dataset: xr.Dataset, what: str) -> None:
    """Raises RunError if the results hold only the best replica of each cell. `what`: what needs the others."""
    if is_best_only(dataset):
        raise RunError(f'{what} needs every replica, but only the best of each cell was kept (store.keep = "best")')


def check_selection(select: str) -> None:
    """Raises ValueError if `select` is not a rule."""
    if select not in SELECTIONS:
        raise ValueError(f"select must be one of {', '.join(SELECTIONS)}, not {select!r}")


def layout(spec: Spec) -> Layout:
    """The layout of the spec's phase map, which has phases of its own for n = 2, m = 1."""
    y, x = spec.map_axes
    two = spec.model.hidden == 1 and spec.model.features == 2
    return Layout(y, x, spec.mapped_feature, TWO_FEATURE_PHASES if two else FEATURE_CLASSES)


def classify(norm: np.ndarray, superposition: np.ndarray, hidden: int) -> np.ndarray:
    """Index into FEATURE_CLASSES of every feature, shape (..., n) like both arguments.

    hidden = 1: two or more represented features share the one dimension.
    hidden > 1: a represented feature shares if its superposition is at least SUPERPOSED.
    """
    represented = norm >= REPRESENTED
    shared = represented.sum(-1, keepdims=True) >= 2 if hidden == 1 else superposition >= SUPERPOSED
    return np.where(represented, np.where(shared, 2, 1), 0).astype(np.int8)


def cell_phases(classes: np.ndarray, shown: Layout) -> np.ndarray:
    """Index into `shown.phases`, shape (...), from the classes of all features (..., n)."""
    if shown.phases is FEATURE_CLASSES:
        return classes[..., shown.feature]
    represented = classes > 0
    return (represented[..., 0] + 2 * represented[..., 1]).astype(np.int8)


def phases_of(W: np.ndarray, shown: Layout) -> np.ndarray:
    """Index into `shown.phases`, shape (...), for models W (..., m, n)."""
    return cell_phases(classify(measures.norms(W), measures.superposition(W), W.shape[-2]), shown)


def phase_map(dataset: xr.Dataset, select: str = "best") -> xr.Dataset:
    """One phase per cell, from the dataset of a run, by the rule `select`.

    Variables over the axes other than replica: phase (int8 with flag_meanings; -1 where every replica diverged), norm
    and superposition (..., feature), loss of the best replica, success (share of inits within 1 % of it), failed
    (number of diverged replicas). Raises ValueError for an unknown rule, RunError for models without W or whose
    W has no scale, and rules other than "best" if only the best replica was kept.
    """
    check_selection(select)
    if not dataset.attrs["directions"]:
        raise RunError("these models have no directions W to map")
    spec = spec_of(dataset)
    if problem := without_lengths(spec):
        raise RunError(f"{spec.name}: {problem}")
    if select != "best":
        need_replicas(dataset, f"select = {select!r}")
    shown = layout(spec)
    dims = [a.name for a in spec.axes if a.name != REPLICA]
    W, loss, ok = _by_replica(dataset, dims)
    ranked = np.where(ok, loss, np.inf)
    usable = ok.any(-1)
    if select in ("best", "single"):
        chosen = np.argmin(ranked, axis=-1) if select == "best" else np.argmax(ok, axis=-1)
        W = np.take_along_axis(W, chosen[..., None, None, None], axis=-3)[..., 0, :, :]
    norm, superposition = measures.norms(W), measures.superposition(W)
    gated = np.where(norm >= REPRESENTED, superposition, 0)
    if select == "paper":
        keep = _without_worst(ranked)
        norm, superposition = _mean(norm, keep), _mean(gated, keep)
    phase = cell_phases(classify(norm, superposition, W.shape[-2]), shown)
    if select == "vote":
        phase, winners = _plurality(phase, ok, len(shown.phases))
        norm, superposition = _mean(norm, winners), _mean(gated, winners)
    best_loss = np.min(ranked, axis=-1)
    success, failed = _replicas_that_succeed_and_fail(dataset, dims, ranked, ok)
    phase = np.where(usable, phase, MASKED).astype(np.int8)
    hide = np.where(usable, 1.0, np.nan)
    flags = {"flag_values": list(range(len(shown.phases))), "flag_meanings": _flag_words(shown.phases)}
    return xr.Dataset(
        {
            "phase": (dims, phase, flags),
            "norm": ([*dims, "feature"], norm * hide[..., None]),
            "superposition": ([*dims, "feature"], superposition * hide[..., None]),
            "loss": (dims, best_loss * hide),
            "success": (dims, success * hide),
            "failed": (dims, failed),
        },
        {d: dataset[d] for d in dims},
        {"spec": dataset.attrs["spec"], "select": select},
    )


def outcomes(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Success and divergence of the replicas of each cell, in the order of the spec's axes.

    Returns:
        The share of replicas within 1 % of the cell's best loss (NaN if all diverged), and the number that diverged.
    """
    dims = [a.name for a in spec_of(dataset).axes if a.name != REPLICA]
    every = with_replica(dataset)
    loss, ok = every["loss"].transpose(*dims, REPLICA).to_numpy(), every["status"].transpose(*dims, REPLICA) == 0
    success, failed = _replicas_that_succeed_and_fail(dataset, dims, np.where(ok, loss, np.inf), ok.to_numpy())
    return np.where(ok.any(REPLICA), success, np.nan), failed


def _flag_words(names: tuple[str, ...]) -> str:
    return " ".join(name.replace(" ", "_") for name in names)


def _by_replica(dataset: xr.Dataset, dims: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (..., replica, m, n), loss and "did not diverge" (..., replica); adds a replica axis if there is none."""
    dataset = with_replica(dataset)
    W = dataset["W"].transpose(*dims, REPLICA, "hidden", "feature").to_numpy().astype(np.float64)
    ok = dataset["status"].transpose(*dims, REPLICA).to_numpy() == 0
    return np.where(ok[..., None, None], W, 0), dataset["loss"].transpose(*dims, REPLICA).to_numpy(), ok


def _replicas_that_succeed_and_fail(
    dataset: xr.Dataset, dims: list[str], ranked: np.ndarray, ok: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The share of replicas within 1 % of the best and the number that diverged, per cell."""
    if is_best_only(dataset):
        successes, diverged = (dataset[name].transpose(*dims).to_numpy() for name in ("successes", "diverged"))
        return successes / dataset.attrs["replicas"], diverged.astype(np.int64)
    with np.errstate(invalid="ignore"):
        return np.mean(ranked <= SUCCESS * ranked.min(-1, keepdims=True), axis=-1), (~ok).sum(-1)


def _without_worst(ranked: np.ndarray) -> np.ndarray:
    """Mask (..., replica) of the finite replicas except the highest; a single finite one stays."""
    finite = np.isfinite(ranked)
    worst = np.argmax(np.where(finite, ranked, -np.inf), axis=-1)
    drop = np.arange(ranked.shape[-1]) == worst[..., None]
    return finite & ~(drop & (finite.sum(-1, keepdims=True) > 1))


def _mean(values: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Mean of values (..., replica, feature) over the kept replicas; 0 if none are kept."""
    return (values * keep[..., None]).sum(-2) / np.maximum(keep.sum(-1), 1)[..., None]


def _plurality(votes: np.ndarray, ok: np.ndarray, phases: int) -> tuple[np.ndarray, np.ndarray]:
    """The phase with the most votes (0 on a tie), and the mask of replicas that voted for it."""
    counts = np.stack([((votes == k) & ok).sum(-1) for k in range(phases)], axis=-1)
    winner = np.argmax(counts, axis=-1)
    tie = (counts == counts.max(-1, keepdims=True)).sum(-1) > 1
    winner = np.where(tie, 0, winner)
    return winner, (votes == winner[..., None]) & ok


def same_inputs(dataset: xr.Dataset) -> bool:
    """Whether the replicas of each cell have equal importances and probabilities, as theory per cell requires.

    If only the best replica was kept, the spec decides: whether one of them depends on the replica axis.
    """
    if is_best_only(dataset):
        spec = spec_of(dataset)
        used = (axes_used(spec.quantity(name)) for name in ("importance", "feature_probability"))
        return dataset.attrs["replicas"] == 1 or not any(REPLICA in axes for axes in used)
    if REPLICA not in dataset.dims:
        return True
    names = ("instance_importance", "instance_feature_probability")
    return all(bool((dataset[n] == dataset[n].isel({REPLICA: 0})).all()) for n in names)


def cell_inputs(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(importance, feature_probability) of every cell, float64, over the axes other than replica and feature last."""
    first = dataset.isel({REPLICA: 0}) if REPLICA in dataset.dims else dataset
    values = (first[f"instance_{name}"].to_numpy() for name in ("importance", "feature_probability"))
    importance, probability = values
    return importance.astype(np.float64), probability.astype(np.float64)


def candidate_weights(dataset: xr.Dataset) -> np.ndarray:
    """W (..., m, n) of the candidate of lowest loss in every cell; for ReLU models with m = n - 1."""
    return theory.candidate_weights(*cell_inputs(dataset), spec_of(dataset).data.values)


def candidate_phases(dataset: xr.Dataset) -> np.ndarray:
    """The phase of the candidate of lowest loss in every cell; for ReLU models with m = n - 1."""
    return phases_of(candidate_weights(dataset), layout(spec_of(dataset)))


def linear_phases(dataset: xr.Dataset) -> np.ndarray:
    """The exact phase of a linear model with independent features, which keeps the m of largest importance x variance.

    Valid if all features have one probability, or for n = 2, m = 1. At an exact tie every direction is optimal.
    """
    spec = spec_of(dataset)
    importance, probability = cell_inputs(dataset)
    worth = importance * theory.variance(probability, spec.data.values)
    rank = np.argsort(np.argsort(-worth, axis=-1, kind="stable"), axis=-1)
    kept = rank < spec.model.hidden
    return cell_phases(kept.astype(np.int8), layout(spec))


def same_variances(dataset: xr.Dataset) -> bool:
    """Whether `linear_phases` is valid: all features of a cell have one probability, or n = 2 and m = 1."""
    probability = cell_inputs(dataset)[1]
    spec = spec_of(dataset)
    return bool(np.all(probability == probability[..., :1])) or (spec.model.features, spec.model.hidden) == (2, 1)


def other_axes(trained: xr.Dataset) -> list[str]:
    """The dimensions of a phase map other than its y and x."""
    shown = layout(spec_of(trained))
    return [str(d) for d in trained["phase"].dims if d not in (shown.y, shown.x)]


def is_map(trained: xr.Dataset) -> bool:
    """Whether a phase map has two dimensions with monotonic numeric coordinates."""
    coordinates = [trained[d].to_numpy() for d in trained["phase"].dims]
    numbers = all(np.issubdtype(c.dtype, np.number) for c in coordinates)
    return len(coordinates) == 2 and numbers and all(len(set(np.sign(np.diff(c)))) <= 1 for c in coordinates)


def scaled_axes(dataset: xr.Dataset, shown: Layout) -> tuple[np.ndarray, np.ndarray, str]:
    """(x, y, units): log10 of the coordinates in "decades" if the spec gives both axes as log, else as they are."""
    x, y = (dataset[name].to_numpy().astype(np.float64) for name in (shown.x, shown.y))
    if all(is_log(spec_of(dataset), name) for name in (shown.x, shown.y)):
        return np.log10(x), np.log10(y), "decades"
    return x, y, "axis units"


def is_log(spec: Spec, axis: str | None) -> bool:
    """Whether the spec gives `axis` as log."""
    return axis is not None and any(key == "log" for key, _ in spec.axis[axis].source)
