"""Writes a spec as TOML and compares two specs. No jax."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tmsjax.kinds import REPLICA, SCHEDULES
from tmsjax.spec.quantity import is_number
from tmsjax.spec.tables import DEFAULT_STUDY, Spec, to_dict


def to_toml(spec: Spec) -> str:
    """The spec as TOML text. Loading the text gives an equal spec."""
    raw = to_dict(spec)
    lines = [f"{key} = {_toml(raw.pop(key))}" for key in ("name", "seed", "imports") if key in raw]
    for table, body in raw.items():
        if body:
            lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in body.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if is_number(value) else json.dumps(value, ensure_ascii=False)


def difference(old: Spec, new: Spec) -> list[str]:
    """A line 'key: old -> new' for each key that affects results and differs between two specs."""

    def flat(value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, dict) and path.count(".") < 1:
            items = [flat(v, f"{path}.{k}".lstrip(".")) for k, v in value.items()]
            return {k: v for item in items for k, v in item.items()}
        return {path: value}

    a, b = ({"study.kind": DEFAULT_STUDY} | flat(to_dict(spec), "") for spec in (old, new))
    keys = [k for k in dict.fromkeys([*a, *b]) if not k.startswith("checkpoint.") and k != "engine.unit"]
    return [f"{k}: {a.get(k, 'absent')} -> {b.get(k, 'absent')}" for k in keys if a.get(k) != b.get(k)]


def grows(old: Spec, new: Spec) -> bool:
    """Whether `new` differs from `old` only in training for more steps, so that it can continue the old run.

    Requires a schedule that does not depend on the number of steps, and that checkpoints are kept. `new` may record
    more steps beyond the old end.
    """
    schedule = SCHEDULES.get(old.train.schedule)
    if old.store.keep != "all" or schedule is None or not schedule.endless or new.train.steps <= old.train.steps:
        return False
    train, record = replace(old.train, steps=new.train.steps), replace(old.record, steps=new.record.steps)
    before = None if new.record.steps is None else [s for s in new.record.steps if s <= old.train.steps]
    kept = old.record.steps is None if before is None else before == list(old.record_steps)
    return kept and not difference(replace(old, train=train, record=record), new)


def extensions(old: Spec, new: Spec) -> tuple[list[Spec], str]:
    """The specs from `old` to `new`, in each of which one more axis has its new values after the old ones.

    Returns ([], why not) if axes differ in another way, ([], "") if something else differs.
    """
    names = [axis.name for axis in old.axes]
    if names != [axis.name for axis in new.axes] or difference(replace(old, axes=new.axes), new):
        return [], ""
    grown, axes = [], list(old.axes)
    for k, (before, after) in enumerate(zip(old.axes, new.axes, strict=True)):
        if before.values == after.values:
            continue
        if {"log", "linear"} & {key for axis in (before, after) for key, _ in axis.source}:
            return [], f"axes.{before.name}: a log or linear axis cannot grow, since its old values would move"
        if after.values[: len(before)] != before.values:
            return [], f"axes.{before.name}: an axis grows only behind its old values, which stay as they are"
        if before.name == REPLICA and old.store.keep == "best":
            return [], 'axes.replica: store.keep = "best" has not kept the replicas with which new ones would compete'
        axes[k] = after
        grown.append(replace(old, axes=tuple(axes)))
    return grown, ""
