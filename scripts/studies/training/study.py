"""What training adds: the trained boundary against the exact one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from studies.reporting import Report, Rows, Size, Study, table
from studies.training import branches, shifts
from studies.training.figures import SCHEDULES, SHOWN_RATE, drawn_causes, drawn_map, nearest, numbers_of
from studies.training.shifts import Grid, Setting

import tmsjax
from tmsjax import theory

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
BATCHES, STEPS = (1, 4, 16, 64), (64, 128, 256, 512)
RATES, DECAYS = (1e-3, 1.0), (1e-4, 1.0)
MODELLED = ("sgd", "adam")  # optimizers whose stationary state is predicted
DECAY_RATE = {"sgd": 0.1, "adamw": 0.01}  # learning rates at which weight decay is swept
AT_REST = {"sgd": (0.1, 0.3), "adam": (0.005, 0.05)}  # rates at which the excess loss is compared
LINGER = 1.2e-3  # weight decay of `lingering`
USUAL: dict[str, Any] = {  # the setting from which the others in the text differ
    "schedule": "cosine",
    "steps": 1024,
    "batch": 16,
    "noise": "independent",
    "axis": "learning_rate",
}
PRECISION = 1e-6  # of the exact boundary in p
ENOUGH = 0.01  # decades: how near the exact boundary a map is to be
SIDE, RANDOM_STARTS, LOWER = 1e-3, 200, 1e-9  # decades off the boundary, random starts and loss of the check
KEPT = (
    "value",
    "shift",
    "error",
    "worst",
    "seeds",
    "ratios",
    "by_count",
    "worst_by_count",
    "inside",
    "beyond",
    "diverged",
)


def make(report: Report) -> dict:
    """What training adds: the trained boundary against the exact one."""
    choose = report.choose
    ratio = np.geomspace(0.1, 0.55, choose(12, 2))
    exact = theory.jump(ratio, choose(PRECISION, PRECISION, 0.01)).probability
    rates = tuple(np.geomspace(*RATES, choose(12, 3)).tolist())
    grid = Grid(rates, tuple(ratio.tolist()), tuple(exact.tolist()), choose(48, 32, 16), choose(41, 15, 5))
    at = branches.at_jump(ratio, exact)
    minimum = branch_losses(grid)
    found: dict[str, list[dict]] = {}
    for group, settings in plan(report.size).items():
        found[group] = [of_setting(report, group, one, grid, at, minimum) for one in settings]
    rows = [row for group in found.values() for row in group]
    numbers = {
        "groups": found,
        "models": sum(row["models"] for row in rows),
        "per_setting": rows[0]["models"],
        "settings": len(rows),
        "ratios": len(ratio),
        "window": [shifts.LOWEST, shifts.HIGHEST],
        "precision": PRECISION,
        "ratio": ratio,
        "exact": exact,
        "slope": at.slope,
        "replicas": grid.replicas,
        "group": shifts.GROUP,
        "fewer": shifts.FEWER,
        "points": grid.points,
        "seconds_of_training": sum(row["seconds"] for row in rows),
        "minutes": sum(row["seconds"] for row in rows) / 60,
        "cheapest": cheapest(rows),
        "within": within(rows),
        "causes": causes(found),
        "told": told(found),
        "lingering": lingering(float(ratio[0]), float(exact[0]), choose((1024, 16384), (256, 512), (20,))),
        "branch_end_largest": branches.ends(ratio, exact).max(),
        "certificate": certificate(grid, at, rows, choose(RANDOM_STARTS, 20, 1)),
    }
    report.figure("training_map", drawn_map(numbers))
    report.figure("training_causes", drawn_causes(numbers))
    return numbers


def plan(size: Size) -> dict[str, list[Setting]]:
    """The settings by group: the map over rates and batches, steps, streams, noise, decay."""
    if size == "smallest":
        few = {"map": [Setting("adam", s, 128) for s in SCHEDULES], "noise": [Setting("sgd", "constant", 128, 4)]}
        return few | {"steps": [], "streams": [], "decay": [Setting("sgd", steps=128, axis="weight_decay", rate=0.1)]}
    if size == "quick":
        return {
            "map": [Setting(o, s, 128) for o in ("adam", "sgd") for s in SCHEDULES],
            "steps": [Setting("adam", steps=64)],
            "streams": [Setting("adam", "constant", 128, noise="sobol")],
            "noise": [Setting("sgd", "constant", 1024, 4)],
            "decay": [Setting("sgd", steps=256, axis="weight_decay", rate=0.1)],
        }
    decay = [("sgd", 16, "exact"), ("sgd", 16, "independent"), ("adamw", 16, "exact")]
    decay += [("adamw", batch, "independent") for batch in (4, 16, 64)]
    return {
        "map": [Setting(o, s, batch=b) for o in OPTIMIZERS for s in SCHEDULES for b in BATCHES],
        "steps": [Setting(o, steps=n) for o in OPTIMIZERS for n in STEPS]
        + [Setting("adam", steps=n, batch=4) for n in (128, 256, 512, 2048)]
        + [Setting(o, steps=2048) for o in ("adam", "sgd")],
        "streams": [
            Setting(o, s, noise=n)
            for o, s in (("adam", "constant"), ("adam", "cosine"), ("sgd", "constant"))
            for n in ("shared", "sobol", "exact")
        ],
        "noise": [Setting(o, "constant", 4096, 4) for o in MODELLED] + [Setting("adam", "constant", batch=256)],
        "decay": [
            Setting(o, steps=1024, batch=b, noise=n, axis="weight_decay", rate=DECAY_RATE[o]) for o, b, n in decay
        ],
    }


def branch_losses(grid: Grid) -> dict[str, np.ndarray]:
    """The least loss of each branch in every cell, (R, S); NaN where the branch does not exist."""
    p = grid.probability
    ratio = np.repeat(grid.ratio, grid.points)
    return {name: branches.descend(name, ratio, p.reshape(-1)).loss.reshape(p.shape) for name in branches.STARTS}


def of_setting(
    report: Report, group: str, setting: Setting, grid: Grid, at: branches.AtJump, minimum: dict[str, np.ndarray]
) -> dict:
    """The shifts that a setting makes, rounded, and for stationary noise and for decay what theory predicts."""
    swept = grid.with_values(*DECAYS) if setting.axis == "weight_decay" else grid
    result = shifts.measured(setting, swept, report.folder / "settings")
    facts = shifts.summary(result, swept)
    out: dict[str, Any] = {
        "optimizer": setting.optimizer,
        "schedule": setting.schedule,
        "steps": setting.steps,
        "batch": setting.batch,
        "noise": setting.noise,
        "axis": setting.axis,
        "models": int(result.attrs["models"]),
        "seconds": float(result.attrs["seconds"]),
        **{key: rounded(facts[key]) for key in KEPT},
    }
    if setting.schedule == "constant" and setting.noise == "independent" and setting.optimizer in MODELLED:
        out |= of_noise(setting, swept, result, at, minimum)
    if group == "decay":
        out |= of_decay(setting, swept, at)
        out |= {key: rounded(facts[key]) for key in ("penalised", "by_ratio", "penalised_by_ratio")}
    return out


def rounded(values: Any) -> Any:
    """Lists of numbers with 5 significant digits; None for NaN."""
    if np.ndim(values):
        return [rounded(v) for v in values]
    return float(f"{values:.5g}") if np.isfinite(values) else None


def known(value: Any) -> bool:
    """Whether a rounded number, or every one of a list, is a number."""
    return all(map(known, value)) if isinstance(value, list) else value is not None


def of_noise(
    setting: Setting, grid: Grid, result: xr.Dataset, at: branches.AtJump, minimum: dict[str, np.ndarray]
) -> dict:
    """Median excess of the loss over each branch's minimum, measured and predicted (A, R), and the shifts that follow.

    shift_from_excess (A,): of the crossing of the measured median losses. predicted_shift: of the best of GROUP, half
    of them on each branch.
    """
    measured = shifts.excess(result, grid, minimum)

    def predicted(best_of: int) -> dict[str, np.ndarray]:
        return {
            name: np.stack([at.excess(name, rate, setting.batch, setting.optimizer, best_of) for rate in grid.values])
            for name in branches.STARTS
        }

    typical = predicted(1)
    return {
        "excess": {name: rounded(v) for name, v in measured.items()},
        "predicted_excess": {name: rounded(v) for name, v in typical.items()},
        "shift_from_excess": rounded(at.shift(measured).mean(-1)),
        "predicted_from_excess": rounded(at.shift(typical).mean(-1)),
        "predicted_shift": rounded(at.shift(predicted(shifts.GROUP // 2)).mean(-1)),
    }


def of_decay(setting: Setting, grid: Grid, at: branches.AtJump) -> dict:
    """Predicted shifts (A, R) of the boundary by the loss alone and by the penalised loss, at the displaced minima."""
    ratio, exact = np.array(grid.ratio), np.array(grid.jump)
    plain: list[np.ndarray] = []
    penalised: list[np.ndarray] = []
    for decay in grid.values:
        c: Any = decay
        if setting.optimizer == "adamw":
            none = setting.noise == "exact"  # nothing balances the decay but a gradient of the size of Adam's epsilon
            c = {n: branches.decoupled(0 * S if none else S, decay, setting.batch) for n, S in at.noise.items()}
            if none and plain:  # the same for every decay
                plain.append(plain[0])
                penalised.append(penalised[0])
                continue
        difference = branches.differences(ratio, exact, c)
        plain.append(branches.change(difference["plain"]))
        penalised.append(branches.change(difference["penalised"]))
    return {"predicted": rounded(plain), "predicted_penalised": rounded(penalised)}


def cheapest(rows: Iterable[dict]) -> dict[str, dict | None]:
    """By optimizer: the setting of fewest samples per cell whose boundary is within ENOUGH of the exact one.

    At every ratio; of equally many samples (steps x batch x replicas), that of the least distance. Sampled losses only,
    and no swept decay.
    """
    best: dict[str, dict | None] = dict.fromkeys(OPTIMIZERS)
    for row in rows:
        if row["axis"] != "learning_rate" or row["noise"] == "exact":
            continue
        worst = np.concatenate([numbers_of(row["worst_by_count"]), numbers_of(row["worst"])[:, None]], 1)
        for (a, k), distance in np.ndenumerate(worst):
            count = (*shifts.FEWER, shifts.GROUP)[k]
            cost = row["steps"] * row["batch"] * count
            now = best[row["optimizer"]]
            if distance <= ENOUGH and (now is None or (cost, distance) < (now["samples"], now["worst"])):
                keys = ("optimizer", "schedule", "steps", "batch", "noise")
                best[row["optimizer"]] = {
                    **{key: row[key] for key in keys},
                    "replicas": count,
                    "rate": row["value"][a],
                    "samples": cost,
                    "worst": float(distance),
                }
    return best


def within(rows: Iterable[dict]) -> dict[str, float]:
    """Of all settings with a swept rate: the share within ENOUGH, the share without a boundary in the window."""
    worst = np.concatenate([numbers_of(row["worst"]) for row in rows if row["axis"] == "learning_rate"])
    return {"enough": float(np.mean(worst <= ENOUGH)), "none": float(np.isnan(worst).mean()), "count": len(worst)}


def one_of(rows: Iterable[dict], **wanted: Any) -> dict | None:
    return next((row for row in rows if all(row[key] == value for key, value in wanted.items())), None)


def causes(found: dict[str, list[dict]]) -> list[dict]:
    """The rows of the table of causes: single settings, at the rates SHOWN_RATE or a weight decay."""
    every = [row for group in found.values() for row in group]
    out = []

    def add(cause: str, text: str, value: float, **wanted: Any) -> None:
        row = one_of(every, **wanted)
        if row is not None:
            a = nearest(row, value)
            facts = {key: row[key][a] for key in ("shift", "error", "worst", "seeds", "inside", "beyond", "by_count")}
            penalised = row["penalised"][a] if "penalised" in row else None
            out.append({"cause": cause, "setting": text, "value": row["value"][a], "penalised": penalised, **facts})

    for name in OPTIMIZERS:
        add("optimizer", f"{name}, cosine, 1024 steps of 16", SHOWN_RATE[name], **USUAL | {"optimizer": name})
    for name in ("adam", "sgd"):
        for steps in (64, 256, 2048):
            changed = USUAL | {"optimizer": name, "steps": steps}
            add("steps", f"{name}, cosine, {steps} steps of 16", SHOWN_RATE[name], **changed)
    for name in ("adam", "sgd", "rmsprop"):
        for batch in (4, 16, 64):
            changed = USUAL | {"optimizer": name, "schedule": "constant", "batch": batch}
            add("noise", f"{name}, constant rate, 1024 steps of {batch}", SHOWN_RATE[name], **changed)
    for noise in ("shared", "sobol", "exact"):
        changed = USUAL | {"optimizer": "adam", "schedule": "constant", "noise": noise}
        words = "exact loss" if noise == "exact" else f"16, {noise} streams"
        add("streams", f"adam, constant rate, 1024 steps, {words}", SHOWN_RATE["adam"], **changed)
    decays = {("sgd", "exact"): (1e-3, 1e-2), ("adamw", "independent"): (1e-2, 0.2), ("adamw", "exact"): (0.2,)}
    for (name, noise), values in decays.items():
        for decay in values:
            words = "exact loss" if noise == "exact" else "batch 16"
            wanted = {"optimizer": name, "batch": 16, "noise": noise, "axis": "weight_decay"}
            add("decay", f"{name}, weight decay, {words}", decay, **wanted)
    return out


def lingering(ratio: float, exact: float, steps: Sequence[int]) -> dict:
    """Gradient descent with the exact loss and L2 decay LINGER, for more and more `steps`.

    ends: the largest offset below the exact boundary, in decades of p, at which the best of GROUP by the loss alone is
    in superposition. predicted: where that should end.
    """
    offsets = np.arange(-0.03, -0.001, 0.002)
    setting = Setting("sgd", noise="exact", axis="weight_decay", rate=DECAY_RATE["sgd"])
    out: dict[str, Any] = {"decay": LINGER, "steps": steps, "ends": []}
    for count in steps:
        one = Grid((LINGER,), (ratio,), (exact,), shifts.GROUP, len(offsets))
        raw = shifts.spec_of(replace(setting, steps=count), one)
        raw["instance"]["feature_probability"]["of"] = (exact * 10**offsets).tolist()
        found = shifts.reduced(tmsjax.run_sweep(raw, progress=False).dataset, setting, one)
        superposed = found["best"].to_numpy().reshape(-1)
        out["ends"].append(float(offsets[superposed].max(initial=-np.inf)))
    difference = branches.differences(np.array([ratio]), np.array([exact]), LINGER)["plain"]
    return out | {"predicted": float(branches.change(difference)[0])}


def told(found: dict[str, list[dict]]) -> dict:
    """Single numbers of the text, by what they are of."""
    every = [row for group in found.values() for row in group]
    out: dict[str, Any] = {}

    def pick(name: str, value: float, keys: Iterable[str] = ("shift", "error", "worst"), **wanted: Any) -> None:
        row = one_of(every, **wanted)
        if row is not None:
            a = nearest(row, value)
            facts = {key: row[key][a] for key in ("value", *keys) if key in row}
            out[name] = {key: value for key, value in facts.items() if known(value)}

    for name in OPTIMIZERS:
        facts = ("shift", "worst", "inside", "beyond", "by_count", "worst_by_count")
        pick(name, SHOWN_RATE[name], facts, **USUAL | {"optimizer": name})
    for name in MODELLED:
        keys = ("shift", "predicted_shift", "shift_from_excess", "predicted_from_excess")
        for batch in (4, 16, 64):
            noisy = USUAL | {"optimizer": name, "schedule": "constant", "batch": batch}
            pick(f"{name}_noise_{batch}", SHOWN_RATE[name], keys, **noisy)
    pick("shared", SHOWN_RATE["adam"], **USUAL | {"optimizer": "adam", "schedule": "constant", "noise": "shared"})
    for name, decay in (("l2", 1.2e-3), ("l2_large", 6.6e-3)):
        keys = ("shift", "penalised_by_ratio", "predicted_penalised", "predicted")
        pick(name, decay, keys, optimizer="sgd", axis="weight_decay", noise="exact")
    for decay, name in ((0.01, "adamw_usual"), (0.1, "adamw_tenth"), (0.2, "adamw_large")):
        for batch, text in ((4, f"{name}_4"), (16, name), (64, f"{name}_64")):
            wanted = {"optimizer": "adamw", "axis": "weight_decay", "noise": "independent", "batch": batch}
            pick(text, decay, ("shift",), **wanted)
        pick(f"{name}_exact", decay, ("shift",), optimizer="adamw", axis="weight_decay", noise="exact")
    l2 = one_of(every, optimizer="sgd", axis="weight_decay", noise="exact")
    if l2 is not None:
        measured, expected = (numbers_of(l2[key]) for key in ("penalised_by_ratio", "predicted_penalised"))
        out["l2_gap"] = float(np.nanmax(np.abs(measured - expected)[expected > -0.05]))
    out["windows"] = AT_REST
    for name, (low, high) in AT_REST.items():
        row = one_of(every, optimizer=name, schedule="constant", steps=4096, batch=4)
        if row is not None:
            at = (numbers_of(row["value"]) > low) & (numbers_of(row["value"]) < high)
            parts = {
                n: numbers_of(row["excess"][n])[at] / numbers_of(row["predicted_excess"][n])[at] for n in row["excess"]
            }
            out[f"{name}_excess"] = {n: float(np.nanmedian(v)) for n, v in parts.items()}
    up = [(s, row["value"][a], row) for row in found["map"] for a, s in enumerate(row["shift"]) if s is not None]
    for name, chosen in (("highest", max), ("lowest", min)):
        s, value, row = chosen(up, key=lambda one: one[0])
        out[name] = {"shift": s, "value": value, **{key: row[key] for key in ("optimizer", "schedule", "batch")}}
    return out


def certificate(grid: Grid, at: branches.AtJump, rows: list[dict], starts: int) -> dict:
    """How exact the exact boundary and how fine the measured one is.

    lower: on both sides of each boundary, SIDE away, cells in which random starts find a loss lower than the lower
    branch's. difference: of the boundaries by bisection and by the crossing of the branches, in decades. gradient:
    largest at the branches' minima. error: median and largest standard error of a shift within 0.05.
    """
    ratio, exact = np.array(grid.ratio), np.array(grid.jump)
    sides = np.concatenate([exact * 10**-SIDE, exact * 10**SIDE])
    both = np.concatenate([ratio, ratio])
    ends = {name: branches.descend(name, both, sides) for name in branches.STARTS}
    least = np.minimum(*(end.loss for end in ends.values()))
    best = theory.exact_optimum(*branches.cells(both, sides), random_starts=starts)
    plain = branches.change(branches.differences(ratio, exact)["plain"])
    shift, error = (np.concatenate([numbers_of(row[key]) for row in rows]) for key in ("shift", "error"))
    small = np.abs(shift) <= 0.05
    diverged = np.concatenate([numbers_of(row["diverged"]) for row in rows])
    return {
        "checked": len(sides),
        "starts": best.starts,
        "lower": int((best.loss < least * (1 - LOWER)).sum()),
        "difference": np.abs(plain).max(),
        "gradient": max(end.gradient.max() for end in ends.values()),
        "step": float(np.diff(grid.offsets, axis=1).min()),
        "error": [np.median(error[small]), error[small].max()],
        "diverged": diverged.mean(),
        "settings_with_diverged": int((diverged > 0.01).sum()),
        "weight": float(np.abs(at.theta[branches.SUPERPOSED][:, 1]).min()),
    }


def by_cause(numbers: dict) -> str:
    """Shifts of single settings, by cause."""
    rows: Rows = []
    for one in numbers["causes"]:
        shown = "outside" if one["shift"] is None else f"{1000 * one['shift']:.1f} ({1000 * one['error']:.1f})"
        worst, seeds = ("" if one[key] is None else f"{1000 * one[key]:.1f}" for key in ("worst", "seeds"))
        shares = [f"{one[key][0]:.0%} / {one[key][1]:.0%}" for key in ("inside", "beyond")]
        rows.append([one["cause"], one["setting"], f"{one['value']:.2g}", shown, worst, seeds, *shares])
    head = ["cause", "setting", "rate or decay", "shift", "worst r", "seeds", "single, inside", "single, beyond"]
    return table(head, rows)


def by_cost(numbers: dict) -> str:
    """The cheapest setting within ENOUGH at every ratio, by optimizer."""
    rows: Rows = []
    for name, one in numbers["cheapest"].items():
        if one is None:
            rows.append([name, *["none"] * 7])
            continue
        how = f"{one['schedule']}, {one['noise']}"
        sizes = [f"{one[key]:,}" for key in ("steps", "batch", "replicas", "samples")]
        rows.append([name, how, f"{one['rate']:.2g}", *sizes, f"{1000 * one['worst']:.1f}"])
    return table(["optimizer", "schedule, streams", "rate", "steps", "batch", "K", "samples a cell", "worst r"], rows)


STUDY = Study("training", make, tables={"causes": by_cause, "cost": by_cost})
