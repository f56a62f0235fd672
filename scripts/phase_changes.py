"""Everything in docs/phase_changes.md: trains its sweeps, computes its tables, draws its figures, writes the report.

    python scripts/phase_changes.py OUT [--quick] [--only three,budget] [--publish]

OUT gets runs/, figures/phase_changes/, phase_changes.json (all numbers) and phase_changes.md, which is
docs/phase_changes.template.md with numbers. A second call goes on where the first stopped. `--quick`: coarse grids and
short trainings, whose numbers are not those of the report. `--publish`: copies report, numbers and figures into docs/.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr
from phase_changes_report import RULES, render

import tmsjax
from tmsjax import analysis, boundary, comparison, metrics, optimum, plots, replicas, study_plots, theory
from tmsjax.cli import guarded
from tmsjax.files import write_json, write_text
from tmsjax.loader import json_copy

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "docs" / "phase_changes.template.md"
TIED = ["data.activity=tied", "data.masks_per_batch=2"]
COARSE = ["axes.feature_probability.count=12", "axes.extra_importance.count=12", "train.steps=2000"]
# name: sweep, changes, changes of --quick
RUNS: dict[str, tuple[str, list[str], list[str]]] = {
    "no-bias": ("one_neuron_no_bias", [], COARSE),
    "three-features": ("three_features", [], [*COARSE, "axes.replica.count=10"]),
    "selection": ("selection_rules", [], COARSE),
    "selection-stratified": ("selection_rules", ["init.signs=stratified"], COARSE),
    "init-scale": ("init_scale", [], COARSE),
    "zroe1-linear": ("zroe1_linear", [], COARSE),
    "zroe1-linear-tied": ("zroe1_linear", TIED, COARSE),
    "zroe1-relu": ("zroe1_relu", [], COARSE),
    "zroe1-relu-tied": ("zroe1_relu", TIED, COARSE),
    "constant": ("one_neuron_constant", [], COARSE),
    "half-normal": ("one_neuron_half_normal", [], COARSE),
    "gelu": ("one_neuron_gelu", [], COARSE),
}
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
COUNTS = tuple(range(1, 33))
STEPS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (4, 16, 64, 256)
SCHEDULES = ("constant", "linear", "cosine")
TWO_FEATURES = analysis.Layout("feature_probability", "extra_importance", 1, analysis.TWO_FEATURE_PHASES)
# Losses per sample in the replication's logs: the last epoch of each of its ten ReLU runs, and of the linear one.
# Each total is of 100,000 models and of two columns for every sample.
PUBLISHED_RELU = (
    29573.837,
    30166.458,
    29744.956,
    30021.857,
    29715.832,
    30079.181,
    29789.046,
    29765.594,
    29861.227,
    29568.698,
)
PUBLISHED_LINEAR = 13163.802
COLUMNS = 2 * 100_000


class Report:
    """Where results go: numbers by section and name, figures by name."""

    def __init__(self, out: Path, quick: bool):
        self.out, self.quick = out, quick
        self.path = out / "phase_changes.json"

    @property
    def numbers(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def run(self, name: str) -> Any:
        return tmsjax.open_run(self.out / "runs" / name)

    def figure(self, name: str, figure: Any) -> None:
        for path in plots.save(figure, self.out / "figures" / "phase_changes" / name):
            print(f"  {path}")

    def keep(self, section: str, numbers: dict) -> None:
        write_json(self.path, self.numbers | {section: json_copy(numbers)})


def train(name: str, report: Report) -> None:
    """`tmsjax run` of one sweep; a complete run is left as it is."""
    sweep, changes, quick = RUNS[name]
    command = [sys.executable, "-m", "tmsjax.cli", "run", str(ROOT / "sweeps" / f"{sweep}.toml")]
    command += ["--out", str(report.out / "runs" / name)]
    for change in [*changes, *(quick if report.quick else [])]:
        command += ["--set", change]
    print("$ tmsjax", *command[3:], flush=True)
    done = subprocess.run(command, check=False).returncode
    if done:
        raise SystemExit(done)


def cells_of(grid: tuple[np.ndarray, np.ndarray], features: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """(importance, feature_probability) (cells, n) of a grid of (extra importance, probability), rows probability."""
    r, p = (g.reshape(-1) for g in np.meshgrid(*grid))
    return np.stack([*[np.ones_like(r)] * (features - 1), r], 1), np.repeat(p[:, None], features, axis=1)


def certified(features: int, count: int, random_starts: int, **options: Any) -> dict:
    """How many cells of a coarse grid the extra random starts improve by more than 1e-9 of the loss."""
    grid = np.geomspace(0.1, 10, count), np.geomspace(1, 0.01, count)
    cells = cells_of(grid, features)
    usual = optimum.exact_optimum(*cells, **options)
    more = optimum.exact_optimum(*cells, random_starts=random_starts, **options)
    better = more.loss < usual.loss * (1 - 1e-9)
    return {"cells": count**2, "starts": usual.starts, "random_starts": random_starts, "improved": int(better.sum())}


def grid_of(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    return dataset["extra_importance"].to_numpy(), dataset["feature_probability"].to_numpy()


def of_map(run: Any, select: str = "best") -> dict:
    """What `tmsjax compare` says of a run, and its training time."""
    facts = tmsjax.compare(run, select)
    info = run.directory.info()
    kept = {k: facts[k]["agreement"] for k in ("candidate", "exact") if k in facts}
    return {
        "models": run.spec.instances,
        "seconds": info["seconds_of_training"],
        "success": facts["mean_success"],
        "diverged": facts["diverged_models"],
        **kept,
    }


def exact(report: Report) -> dict:
    """1. The exact map of n = 2, m = 1, its jump and onset, and the models without bias."""
    size = 40 if report.quick else 400
    grid = np.geomspace(0.1, 10, size), np.geomspace(1, 0.01, size)
    cells = cells_of(grid)
    best, without = (optimum.exact_optimum(*cells, bias=bias) for bias in (True, False))
    shape = (size, size)
    maps = {
        "candidate theory": analysis.signed_phases(theory.candidate_weights(*cells)),
        "exact theory": analysis.signed_phases(best.W),
        "exact theory, no bias": analysis.signed_phases(without.W),
    }
    maps = {name: phases.reshape(shape) for name, phases in maps.items()}
    curve = theory.candidate_boundary(grid[0])
    report.figure("exact_maps", study_plots.class_maps(maps, grid, curve=curve))
    ratio = np.linspace(0.05, 1, 24 if report.quick else 96)
    fine, listed = boundary.jump(ratio), boundary.jump(np.array(RATIOS))
    at = np.linspace(0.02, 1, 500)
    onset = np.interp(ratio, [theory.onset(p) for p in at], at)
    first = onset > fine.probability  # where it comes before the jump, for falling probability
    curves = {
        "candidate curve": theory.candidate_boundary(ratio),
        "jump of the exact optimum": fine.probability,
        "continuous onset": np.where(first, onset, np.nan),
    }
    names = ("$w$ of the major feature", "$w$ of the minor", "$b$ of the major", "$b$ of the minor")
    weights = dict(zip(names, fine.inside.T, strict=True))
    report.figure("boundaries", study_plots.boundaries(ratio, curves, weights))
    both = np.isfinite(best.second_loss)
    none, signed = analysis.SIGNED_PHASES.index, maps["exact theory, no bias"]
    trained = report.run("no-bias")
    return {
        "cells": size**2,
        "candidate_agreement": np.mean(maps["candidate theory"] == maps["exact theory"]),
        "candidate_superposed": np.mean(maps["candidate theory"] == none("antipodal")),
        "exact_superposed": np.mean(maps["exact theory"] == none("antipodal")),
        "exact_same_sign": int((maps["exact theory"] == none("same sign")).sum()),
        "largest_gradient": best.gradient.max(),
        "two_minima": both.mean(),
        "second_ratio_median": np.median(best.second_loss[both] / best.loss[both]),
        "largest_gain_on_candidates": np.max(1 - best.loss / theory.candidate_losses(*cells).min(-1)),
        "no_bias_antipodal": np.mean(signed == none("antipodal")),
        "no_bias_same_sign": np.mean(signed == none("same sign")),
        "no_bias_same_sign_least_probability": np.min(cells[1][signed.reshape(-1) == none("same sign"), 0]),
        "no_bias_largest_excess": np.max(without.loss / best.loss),
        "no_bias_trained": of_map(trained),
        "certified": certified(2, 8 if report.quick else 30, 200),
        "certified_no_bias": certified(2, 8 if report.quick else 30, 200, bias=False),
        "meeting_ratio": float(ratio[first].min()),
        "jump": {
            "ratio": listed.ratio,
            "candidate": theory.candidate_boundary(listed.ratio),
            "probability": listed.probability,
            "onset": [float(np.interp(r, [theory.onset(p) for p in at], at)) for r in listed.ratio],
            "inside": listed.inside,
            "outside": listed.outside,
            "precision": listed.precision,
        },
    }


def three(report: Report) -> dict:
    """2. Three features in two dimensions."""
    run = report.run("three-features")
    facts = of_map(run)
    stored = comparison.stored_exact_map(run)
    assert stored is not None
    report.figure("three_features", plots.panels(*comparison.plotted(run, "best")))
    report.figure("three_features_agreement", plots.agreement(*comparison.plotted(run, "best")[:2]))
    W = stored["W"].to_numpy()
    classes = analysis.classify(metrics.norms(W), metrics.superposition(W), 2)
    triangle = (classes == 2).all(-1)
    losses = theory.candidate_losses(*analysis.cell_inputs(run.dataset))
    gain = 1 - stored["loss"].to_numpy() / losses.min(-1)
    p, r = run.dataset["feature_probability"].to_numpy(), run.dataset["extra_importance"].to_numpy()
    gram = np.swapaxes(W, -1, -2) @ W
    unit = gram / np.maximum(np.sqrt(np.einsum("...ii,...jj->...ij", gram, gram)), 1e-9)
    regular = triangle & (np.abs(unit[..., [0, 0, 1], [1, 2, 2]] + 0.5).max(-1) < 0.1)
    ratio = (analysis.phase_map(run.dataset)["loss"] / stored["loss"]).to_numpy()
    return {
        **facts,
        "replicas": len(run.spec.axis["replica"]),
        "triangle": triangle.mean(),
        "regular": regular.mean(),
        "largest_gain": gain.max(),
        "largest_gain_at": [
            p[np.unravel_index(gain.argmax(), gain.shape)[0]],
            r[np.unravel_index(gain.argmax(), gain.shape)[1]],
        ],
        "median_loss_ratio": np.median(ratio),
        "largest_loss_ratio": ratio.max(),
        "smallest_loss_ratio": ratio.min(),
        "certified": certified(3, 5 if report.quick else 16, 64),
    }


def selection(report: Report) -> dict:
    """3. Selection rules, number of replicas, inits."""
    run, stratified, scales = (report.run(n) for n in ("selection", "selection-stratified", "init-scale"))
    facts = {name: of_map(r) for name, r in (("random", run), ("stratified", stratified))}
    stored = comparison.stored_exact_map(run)
    assert stored is not None
    phases = stored["phase"].to_numpy()
    grid = grid_of(run.dataset)
    counts = [k for k in COUNTS if k <= len(run.spec.axis["replica"])]
    curves, ten = {}, run.dataset.isel(replica=slice(10))
    for rule in RULES:
        curves[rule] = replicas.agreement_by_count(run.dataset, phases, rule, counts)
    curves["stratified"] = replicas.agreement_by_count(stratified.dataset, phases, "best", counts)
    shown = {RULES[rule]: (counts, 100 * np.array(curves[rule])) for rule in RULES}
    shown["best loss, stratified signs"] = (counts, 100 * np.array(curves["stratified"]))
    label = "cells as in exact theory, %"
    report.figure(
        "selection_curves",
        study_plots.lines({"": shown}, x="replicas a cell", y=label, ticks=[k for k in counts if k & (k - 1) == 0]),
    )
    coloured = {}
    for rule, text in RULES.items():
        mapped = analysis.phase_map(ten, rule)
        coloured[text] = (mapped["norm"].to_numpy()[..., 1], mapped["superposition"].to_numpy()[..., 1])
    curve = theory.candidate_boundary(grid[0])
    grids, same = dict.fromkeys(coloured, grid), dict.fromkeys(coloured, curve)
    report.figure("selection_maps", study_plots.colour_maps(coloured, grids, same))
    near = np.abs(np.log(grid[0])) <= math.log(2)
    inside = (phases == 3) & near[None]
    return {
        **facts,
        "counts": counts,
        "agreement": curves,
        "signs": {
            "random": by_sign(run.dataset, phases, inside),
            "stratified": by_sign(stratified.dataset, phases, inside),
        },
        "scales": by_scale(scales, report),
    }


def by_sign(dataset: xr.Dataset, phases: np.ndarray, inside: np.ndarray) -> dict:
    """Share of inits that succeed, by the sign of w1 w2 at init: in superposition at importances from 1/2 to 2, at
    others, and elsewhere."""
    good, opposite = replicas.success(dataset), replicas.opposite_at_init(dataset)
    regions = {"near": inside, "far": (phases == 3) & ~inside, "elsewhere": phases != 3}
    out = {}
    for name, cells in regions.items():
        there = np.broadcast_to(cells[..., None], good.shape)
        out[name] = {
            "opposite": good[there & opposite].mean(),
            "equal": good[there & ~opposite].mean(),
            "all": good[there].mean(),
        }
    return out


def by_scale(run: Any, report: Report) -> dict:
    """Success by the scale of the init, and its maps."""
    dataset = run.dataset
    good, opposite = replicas.success(dataset), replicas.opposite_at_init(dataset)
    grid = grid_of(dataset)
    stored = comparison.exact_map(dataset.isel(init_scale=slice(1)))
    assert stored is not None
    inside = (stored["phase"].to_numpy()[0] == 3) & (np.abs(np.log(grid[0])) <= math.log(2))[None]
    scales = dataset["init_scale"].to_numpy()
    maps = {f"scale {s:g}": 1 - good[k].mean(-1) for k, s in enumerate(scales)}
    report.figure("init_scale", study_plots.share_maps(maps, grid, "share of inits that fail", columns=4))
    there = inside[..., None] & np.ones(good.shape[-1], bool)
    failed = int((dataset["status"] != 0).sum())
    rows: list[dict] = [
        {
            "scale": s,
            "all": good[k].mean(),
            "near": good[k][there].mean(),
            "opposite": good[k][there & opposite[k]].mean(),
            "equal": good[k][there & ~opposite[k]].mean(),
        }
        for k, s in enumerate(scales)
    ]
    return {
        "rows": rows,
        "models": run.spec.instances,
        "seconds": run.directory.info()["seconds_of_training"],
        "diverged": failed,
    }


def zroe1_class(W: np.ndarray) -> np.ndarray:
    """1 where |w1| > 0.8 and |w2| < 0.2, -1 in reverse, else 0: the replication's thresholds."""
    first, second = np.abs(W[..., 0, 0]), np.abs(W[..., 0, 1])
    return ((first > 0.8) & (second < 0.2)).astype(int) - ((first < 0.2) & (second > 0.8))


def agreement_of(kind: np.ndarray, expected: np.ndarray, grid: tuple[np.ndarray, np.ndarray]) -> float:
    """The share of cells of one class, but for importance 1, where linear models' directions tie."""
    there = ~np.isclose(grid[0], 1)
    return float(np.mean(kind[:, there] == expected[:, there]))


def zroe1(report: Report) -> dict:
    """4. The 1,000,000-model replication, with independent and with its accidental data."""
    runs = {name: report.run(f"zroe1-{name}") for name in ("relu", "relu-tied", "linear", "linear-tied")}
    out: dict[str, Any] = {
        "published": {"relu": np.mean(PUBLISHED_RELU) / COLUMNS, "linear": PUBLISHED_LINEAR / COLUMNS}
    }
    grid = grid_of(runs["relu"].dataset)
    importance, probability = analysis.cell_inputs(runs["relu"].dataset)
    candidate = theory.candidate_weights(importance, probability)
    expected = zroe1_class(candidate)
    # his averages include importance 0 and probability 0, where a trained model's loss is 0: 1000 x 100 cells
    cells = len(grid[0]) * len(grid[1])
    share = cells / ((len(grid[0]) + 1) * (len(grid[1]) + 1))
    more_important = np.broadcast_to(np.where(grid[0] < 1, 1, -1), expected.shape)  # which linear models keep
    maps = {"candidate theory": expected}
    for name, run in runs.items():
        dataset = run.dataset
        ok = dataset["status"].to_numpy() == 0
        loss = float(dataset["loss"].to_numpy()[ok].mean())
        kind = zroe1_class(dataset["W"].to_numpy())
        if "replica" in dataset.dims:
            net = kind.sum(-1)
            kind = np.where(net > 5, 1, np.where(net < -5, -1, 0))
        facts = {
            "models": run.spec.instances,
            "seconds": run.directory.info()["seconds_of_training"],
            "diverged": int((~ok).sum()),
            "mean_loss": loss,
            "mean_loss_with_zeros": loss * share,
            "agreement": agreement_of(kind, expected if name.startswith("relu") else more_important, grid),
            "neither": np.mean(kind == 0),
        }
        if name.startswith("relu"):
            facts["compare"] = of_map(run)
            facts["by_class"] = {str(k): np.mean(kind[expected == k] == k) for k in (1, 0, -1)}
            maps["his vote, independent" if name == "relu" else "his vote, his data"] = kind
        out[name] = facts
    stored = comparison.stored_exact_map(runs["relu-tied"])
    assert stored is not None
    optimal = analysis.signed_phases(stored["W"].to_numpy())
    W, b = stored["W"].to_numpy()[..., 0, :], stored["b"].to_numpy()
    bound = importance.sum(-1) * probability[..., 0] / 6
    dropped = importance.min(-1) * theory.variance(probability[..., 0])
    at_one = int(np.abs(grid[0] - 1).argmin())
    out["tied_optimum"] = {
        "antipodal_cells": int((W[..., 0] * W[..., 1] < -1e-6).sum()),
        "same_sign": np.mean(optimal == analysis.SIGNED_PHASES.index("same sign")),
        "least_excess_of_antipodal": np.min(bound / dropped),
        "at_ratio_one": [*np.abs(W[len(grid[1]) // 2, at_one]), *b[len(grid[1]) // 2, at_one]],
    }
    coloured = {name: np.select([v == 1, v == -1], [1, 2], 0) for name, v in maps.items()}
    coloured["exact optimum, his data"] = optimal
    coloured["best of 10, independent"] = analysis.signed_phases(analysis.best_weights(runs["relu"].dataset))
    curve = theory.candidate_boundary(grid[0])
    drawn = study_plots.class_maps(coloured, grid, log=False, curve=curve, names={0: "neither alone"})
    report.figure("zroe1_maps", drawn)
    for name in ("relu", "relu-tied"):
        W = runs[name].dataset["W"].to_numpy()
        antipodal = analysis.signed_phases(W) == analysis.SIGNED_PHASES.index("antipodal")
        by_importance = antipodal.mean((0, 2))
        out[name]["antipodal_models"] = antipodal.mean()
        out[name]["antipodal_by_importance"] = by_importance
        out[name]["antipodal_at_one"] = by_importance[at_one]
    shares = {
        text: (grid[0], 100 * np.array(out[name]["antipodal_by_importance"]))
        for name, text in (("relu", "independent features"), ("relu-tied", "his data"))
    }
    report.figure(
        "zroe1_antipodal",
        study_plots.lines(
            {"": shares},
            x=study_plots.IMPORTANCE,
            y="models that end antipodal, %",
            ticks=(0.1, 0.3, 1, 3, 10),
            floor=0,
        ),
    )
    return out


def budget(report: Report) -> dict:
    """5. Agreement with exact theory against steps, batch, schedule and learning rate."""
    steps, batches = (STEPS[2:4], BATCHES[1:3]) if report.quick else (STEPS, BATCHES)
    rows: list[dict] = []
    start = time.monotonic()
    for schedule in SCHEDULES:
        for batch in batches:
            for count in steps:
                found = one_budget(report, schedule, batch, count)
                at = {"schedule": schedule, "batch": batch, "steps": count, "samples": batch * count}
                rows += [{**at, **row} for row in found]
                text = ", ".join(f"{row['agreement']:.1%} at {row['rate']:g}" for row in found)
                print(
                    f"  {schedule}, batch {batch}, {count} steps: {text}  ({time.monotonic() - start:.0f} s)",
                    flush=True,
                )

    def best(schedule: str, batch: int) -> list[float]:
        of = [row for row in rows if (row["schedule"], row["batch"]) == (schedule, batch)]
        return [100 * max(row["agreement"] for row in of if row["steps"] == count) for count in steps]

    panels = {f"{s} schedule": {f"batch {b}": (steps, best(s, b)) for b in batches} for s in SCHEDULES}
    drawn = study_plots.lines(panels, x="steps", y="cells as in exact theory, %", ticks=steps[::2], floor=80)
    report.figure("budget", drawn)
    least = {}
    for schedule in SCHEDULES:
        enough = [row for row in rows if row["schedule"] == schedule and row["agreement"] >= 0.99]
        least[schedule] = {
            "samples": min(enough, key=lambda row: (row["samples"], row["steps"]), default=None),
            "steps": min(enough, key=lambda row: (row["steps"], row["samples"]), default=None),
        }
    training = sum(row["seconds"] for row in rows) / len({row["rate"] for row in rows})
    sizes = {"cells": rows[0]["cells"], "replicas": rows[0]["replicas"]}
    return {"rows": rows, "least": least, **sizes, "seconds_of_training": training}


def one_budget(report: Report, schedule: str, batch: int, steps: int) -> list[dict]:
    """Agreement at every learning rate; kept in OUT/budgets by the spec's hash."""
    changes = [*(COARSE[:2] if report.quick else []), f"train.steps={steps}", f"train.batch={batch}"]
    spec = tmsjax.load_spec(ROOT / "sweeps" / "budget.toml", [*changes, f"train.schedule={schedule}"])
    path = report.out / "budgets" / f"{spec.hash[:16]}.json"
    if path.exists():
        return json.loads(path.read_text())
    start = time.monotonic()
    dataset = tmsjax.run_sweep(spec).dataset
    seconds = time.monotonic() - start
    phase = analysis.phase_map(dataset)["phase"].to_numpy()
    expected = exact_phases(*(v.tobytes() for v in grid_of(dataset)))
    shape = {"cells": phase[0].size, "replicas": len(spec.axis["replica"]), "seconds": seconds}
    rates = dataset["learning_rate"].to_numpy()
    rows = [{"rate": r, "agreement": np.mean(phase[k] == expected), **shape} for k, r in enumerate(rates)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, json_copy(rows))
    return rows


@cache
def exact_phases(importance: bytes, probability: bytes) -> np.ndarray:
    """The exact phases of a grid, given as the bytes of its float64 coordinates."""
    grid = np.frombuffer(importance), np.frombuffer(probability)
    W = optimum.exact_optimum(*cells_of(grid)).W.reshape(len(grid[1]), len(grid[0]), 1, 2)
    return analysis.phases_of(W, TWO_FEATURES)


def activations(report: Report) -> dict:
    """6. GELU, and values that are not uniform."""
    base = report.run("selection").dataset.isel(replica=slice(10))
    runs = {name: report.run(name) for name in ("constant", "half-normal", "gelu")}
    titles = {"constant": "ReLU, constant 1", "half-normal": "ReLU, half-normal", "gelu": "GELU, uniform"}
    datasets = {"ReLU, uniform": base} | {titles[name]: run.dataset for name, run in runs.items()}
    grids = {title: grid_of(dataset) for title, dataset in datasets.items()}
    curves = {
        title: theory.candidate_boundary(grids[title][0], analysis.spec_of(dataset).data.values)
        for title, dataset in datasets.items()
        if not title.startswith("GELU")
    }
    colours = {}
    for title, dataset in datasets.items():
        mapped = analysis.phase_map(dataset)
        colours[title] = mapped["norm"].to_numpy()[..., 1], mapped["superposition"].to_numpy()[..., 1]
    report.figure("activations", study_plots.colour_maps(colours, grids, curves))
    out: dict[str, Any] = {}
    for name, run in runs.items():
        signed = analysis.signed_phases(analysis.best_weights(run.dataset))
        shares = {p: np.mean(signed == k) for k, p in enumerate(analysis.SIGNED_PHASES)}
        apex = float(theory.candidate_boundary(1.0, run.spec.data.values))
        relu = analysis.phases_of(
            theory.candidate_weights(*analysis.cell_inputs(run.dataset)), analysis.layout(run.spec)
        )
        same = np.mean(analysis.phase_map(run.dataset)["phase"].to_numpy() == relu)
        out[name] = {**of_map(run), "shares": shares, "apex": apex, "as_uniform_relu": same}
    return out


SECTIONS: dict[str, Callable[[Report], dict]] = {
    "exact": exact,
    "three": three,
    "selection": selection,
    "zroe1": zroe1,
    "budget": budget,
    "activations": activations,
}
NEEDS = {
    "exact": ["no-bias"],
    "three": ["three-features"],
    "selection": ["selection", "selection-stratified", "init-scale"],
    "zroe1": ["zroe1-relu", "zroe1-relu-tied", "zroe1-linear", "zroe1-linear-tied"],
    "budget": [],
    "activations": ["selection", "constant", "half-normal", "gelu"],
}


def main(
    out: Annotated[Path, typer.Argument(help="The folder of runs, figures and report.")],
    quick: Annotated[bool, typer.Option("--quick", help="Coarse grids, short trainings; minutes.")] = False,
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(SECTIONS)}, by commas.")] = ",".join(SECTIONS),
    publish: Annotated[bool, typer.Option("--publish", help="Copy report, numbers and figures into docs/.")] = False,
) -> None:
    chosen = [part.strip() for part in only.split(",")]
    unknown = [part for part in chosen if part not in SECTIONS]
    if unknown:
        raise typer.BadParameter(f"--only knows {', '.join(SECTIONS)}, not {', '.join(unknown)}")
    report = Report(out, quick)
    for name in dict.fromkeys(run for part in chosen for run in NEEDS[part]):
        train(name, report)
    for part in chosen:
        print(f"{SECTIONS[part].__doc__}", flush=True)
        start = time.monotonic()
        numbers = SECTIONS[part](report)
        spent = time.monotonic() - start
        before = report.numbers.get(part, {}).get("seconds", 0)  # what a second call finds done took its time then
        report.keep(part, {**numbers, "seconds": max(spent, before)})
    report.keep("all", {**time_spent(report), "quick": quick})
    write_text(out / "phase_changes.md", render(TEMPLATE.read_text(encoding="utf-8"), report.numbers))
    print(out / "phase_changes.md")
    if publish:
        for path in (report.path, out / "phase_changes.md", *(out / "figures" / "phase_changes").glob("*.png")):
            goal = ROOT / "docs" / path.relative_to(out)
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, goal)


def time_spent(report: Report) -> dict:
    """Seconds of all trainings and of all the rest, and on what."""
    known = report.numbers
    runs = [report.run(name) for name in RUNS if (report.out / "runs" / name / "results.nc").exists()]
    infos = [run.directory.info() for run in runs]
    of_budgets = known.get("budget", {}).get("seconds_of_training", 0)
    training = sum(info["seconds_of_training"] for info in infos) + of_budgets
    rest = max(sum(known[part]["seconds"] for part in SECTIONS if part in known) - of_budgets, 0)
    return {
        "seconds_of_training": training,
        "seconds_of_rest": rest,
        "minutes": (training + rest) / 60,
        "device": infos[0]["device"] if infos else "n/a",
    }


if __name__ == "__main__":
    guarded(lambda: typer.run(main))
