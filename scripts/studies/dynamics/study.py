"""Learning dynamics: jumps between energy levels, and learning as geometric transformations."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.dynamics import stages, tables
from studies.reporting import Report, Study, Sweep
from studies.summaries import arrangement, draw, of_run

from tmsjax import analysis
from tmsjax.analysis import dynamics

LEVELS = {"0": 0.0, "1/4": 1 / 4, "2/5": 2 / 5, "1/2": 1 / 2, "2/3": 2 / 3, "1": 1.0}
AT_LEVEL = 0.02  # largest distance of a dimensionality from a level that it is at
NEARLY = 0.1  # likewise at the end of the initial phase, where features still move


def make(report: Report) -> dict:
    for name in STUDY.runs:
        draw(report, name)
    return {"levels": of_levels(report.run("dynamics_100_10")), "octahedron": of_stages(report.run("dynamics_6_3"))}


def of_levels(run: Any) -> dict[str, Any]:
    """Jumps of dimensionalities, the loss beside them, and the levels at the end, for every seed."""
    data = run.dataset.transpose("replica", ...).sortby("step")
    step = data["step"].to_numpy()
    final = data["history_dimensionality"].isel(step=-1).to_numpy()
    rows = [
        of_seed(step, loss.astype(float), values.astype(float))
        for loss, values in zip(data["history_loss"].to_numpy(), data["history_dimensionality"].to_numpy(), strict=True)
    ]
    late = [row for row in rows if row["late_jumps"]]
    known = np.isfinite(final)
    near = {name: np.abs(final - level) <= AT_LEVEL for name, level in LEVELS.items()}
    return of_run(run) | {
        "jump": dynamics.JUMP,
        "window": dynamics.WINDOW,
        "settled": dynamics.SETTLED,
        "at_level": AT_LEVEL,
        "seeds": rows,
        "with_late_jumps": len(late),
        "largest_in_jump": sum(row["largest_drop_in_jump"] for row in rows),
        "largest_elsewhere": max((row["largest_drop"] for row in rows if not row["largest_drop_in_jump"]), default=0.0),
        "least_in_jump": min((row["largest_drop"] for row in rows if row["largest_drop_in_jump"]), default=0.0),
        "paired_at_first": [f([row["paired_at_first"] for row in rows]) for f in (min, max)],
        "highest": max(row["highest"] for row in late) if late else np.nan,
        "jumps": sum(row["jumps"] for row in rows),
        "late_jumps": sum(row["late_jumps"] for row in rows),
        "in_jumps": total(rows, "decrease_in_jumps") / total(rows, "late_decrease"),
        "by_chance": total(rows, "decrease_by_chance") / total(rows, "late_decrease"),
        "correlation": float(np.median([row["correlation"] for row in rows])),
        "levels": {name: float(yes[known].mean()) for name, yes in near.items()},
        "at_no_level": float((~np.any(list(near.values()), axis=0))[known].mean()),
        "digons": [int((yes.sum()) // 2) for yes in near["1/2"]],
    }


def total(rows: list[dict], key: str) -> float:
    return sum(row[key] for row in rows)


def of_seed(step: np.ndarray, loss: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Jumps of one model, and how much of the loss's decrease after the initial phase is in them."""
    found = dynamics.jumps(values)
    first = min(dynamics.settled(loss), len(step) - 2)  # one interval at least, also where training ends too early
    late = [jump for jump in found if jump.start >= first]
    inside = stages.intervals_in(late, len(step))[first:]
    drop = -np.diff(loss)[first:]
    decrease = loss[first] - loss[-1]
    in_jumps, by_chance = stages.share_of_decrease(loss[first:], inside)
    moved = np.abs(np.diff(values, axis=0)).max(1)[first:]
    largest = int(drop.argmax())
    return {
        "jumps": len(found),
        "first_step": int(step[first]),
        "late_jumps": len(late),
        "late_steps": [[int(step[jump.start]), int(step[jump.stop])] for jump in late],
        "late_decrease": decrease,
        "in_jumps": in_jumps,
        "by_chance": by_chance,
        "decrease_in_jumps": in_jumps * decrease,
        "decrease_by_chance": by_chance * decrease,
        "correlation": float(np.corrcoef(moved, drop)[0, 1]) if len(drop) > 2 else np.nan,
        "largest_drop": float(drop[largest]),
        "largest_drop_steps": [int(step[first + largest]), int(step[first + largest + 1])],
        "largest_drop_in_jump": bool(inside[largest]),
        "loss": float(loss[-1]),
        "paired_at_first": int((np.abs(values[first] - 0.5) <= NEARLY).sum()),
        "late_levels": [[jump.before, jump.after] for jump in late],
        "highest": float(max((values[first:, jump.feature].max() for jump in late), default=np.nan)),
    }


def of_stages(run: Any) -> dict[str, Any]:
    """Which stages the models of each init scale go through, when, and at which loss."""
    size = dict(run.spec.data.options)["size"]
    data = run.dataset.transpose("init_scale", "replica", ...).sortby("step")
    step, n = data["step"].to_numpy(), len(run.spec.axis["replica"])
    out: dict[str, Any] = {}
    for scale in range(data.sizes["init_scale"]):
        cell = data.isel(init_scale=scale)
        loss = cell["history_loss"].to_numpy().astype(float)
        paths = cell["history_W"].transpose("replica", "step", "hidden", "feature").to_numpy().astype(float)
        every = [stages.stages(W, size) for W in paths]
        rows = []
        for k, name in enumerate(stages.STAGES):
            at = [(r, np.flatnonzero(stage == k)) for r, stage in enumerate(every) if (stage == k).any()]
            rows.append(
                {
                    "stage": name,
                    "share": len(at) / n,
                    "begins": float(np.median([step[where[0]] for _, where in at])) if at else None,
                    "loss": float(np.median([loss[r][where[0]] for r, where in at])) if at else None,
                    "axes": float(np.median([opposite(paths[r][where[0]], size) for r, where in at])) if at else None,
                    "last_loss": float(np.median([loss[r][where[-1]] for r, where in at])) if at else None,
                }
            )
        last = [arrangement(W.astype(float)) for W in cell["W"].transpose("replica", "hidden", "feature").to_numpy()]
        names = [tuple(stages.STAGES[k] for k in dict.fromkeys(stage)) for stage in every]
        out[f"scale_{scale}"] = {
            "scale": float(data["init_scale"][scale]),
            "stages": rows,
            "octahedron": float(np.mean([stage[-1] == stages.STAGES.index("octahedron") for stage in every])),
            "three_digons": last.count("3 digons") / n,
            "ways": {" > ".join(way): names.count(way) / n for way in sorted(set(names), key=names.count)[::-1]},
        }
    return of_run(run) | {"replicas": n, **out}


def opposite(W: np.ndarray, size: int) -> float:
    """The cosine between the sums of the columns of the first two sets of W (m, n)."""
    sums = np.stack([W[:, :size].sum(1), W[:, size : 2 * size].sum(1)], axis=1)
    return float(analysis.polytopes.cosines(sums)[0, 1])


STUDY = Study(
    name="dynamics",
    make=make,
    runs={
        "dynamics_100_10": Sweep(
            "dynamics_100_10.toml",
            quick=(
                "train.batch=64",
                "train.steps=1000",
                "axes.replica.count=2",
                "record.steps=[0,50,100,200,400,600,800,1000]",
            ),
            smallest=("train.batch=16", "train.steps=7", "record.steps=[0,1,2,3,4,5,6,7]"),
        ),
        "dynamics_6_3": Sweep(
            "sweeps/dynamics_6_3.toml",
            quick=(
                "train.batch=128",
                "train.steps=3000",
                "train.learning_rate=3e-3",
                "axes.replica.count=3",
                "record.steps=[0,30,60,100,150,200,300,400,500,700,900,1200,1500,2000,2500,3000]",
            ),
            smallest=("train.batch=16", "train.steps=30", "record.steps=[0,1,2,5,10,30]", "axes.replica.count=2"),
        ),
    },
    tables=tables.TABLES,
    drawn=True,
)
