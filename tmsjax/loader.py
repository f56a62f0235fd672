"""From a TOML file, or a dict of the same form, to a checked Spec: every problem at once, each with its place.

No jax: a spec is read, checked and refused before anything heavy is imported.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tmsjax import quantity as quantities
from tmsjax.quantity import Axis, axes_used, is_number, parse, shown, suggest
from tmsjax.spec import (
    ADAMW_DECAY,
    LONGEST_AXIS,
    MEASURES,
    MOST_WEIGHTS,
    QUANTITIES,
    REPLICA,
    TABLES,
    XAVIER,
    Spec,
    SpecError,
    misfit,
    to_dict,
    unequal,
)

AXIS_FORMS = "{ log = [a, b], count = k }, { linear = [a, b], count = k }, { values = [...] } or { count = k }"


def load_spec(source: Spec | Mapping | str | PathLike, overrides: Sequence[str] = ()) -> Spec:
    """The spec in a TOML file, or in a dict of the same form, with `overrides` such as "train.steps=2000".

    Raises SpecError, which lists every problem with its key, what was given and what is allowed.
    """
    overrides = [overrides] if isinstance(overrides, str) else overrides
    if isinstance(source, Spec):
        source = to_dict(source)
    name = "spec" if isinstance(source, Mapping) else str(source)
    problems: list[tuple[str, str]] = []
    try:
        raw = json_copy(source) if isinstance(source, Mapping) else _read_toml(Path(source))
        for override in overrides:
            _apply_override(raw, override, problems)
        spec = _Loader(problems).spec(raw)
    except RecursionError:
        raise SpecError(name, [("", "nested too deeply")]) from None
    if problems or spec is None:
        raise SpecError(name, problems)
    return spec


def spec_of_toml(text: Any, source: str) -> Spec:
    """The spec in TOML that stands somewhere else than in a file. Raises SpecError."""
    try:
        raw = tomllib.loads(text)
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise SpecError(source, [("spec", f"not valid TOML: {error}")]) from error
    return load_spec(raw)


def json_copy(value: Any) -> Any:
    """A deep copy with plain dicts, lists and Python numbers, so that numpy values may stand in a dict."""
    if isinstance(value, Mapping):
        return {str(k): json_copy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_copy(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpecError(str(path), [("", f"cannot be read: {reason}")]) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(str(path), [("", f"not valid TOML: {error}")]) from error


def _apply_override(raw: dict, override: str, problems: list[tuple[str, str]]) -> None:
    key, equals, text = override.partition("=")
    parts = [p.strip() for p in key.split(".")]
    if not equals or not all(parts):
        given = f"--set {shown(override)}"
        problems.append((given, "an override is table.key=value, such as train.steps=2000"))
        return
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    for part in parts[:-1]:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            problems.append((f"--set {shown(key)}", f"{shown(part)} is not a table"))
            return
    raw[parts[-1]] = value


class _Loader:
    """Turns a raw dict into a Spec, adding each problem to a list; None stands for what could not be read."""

    def __init__(self, problems: list[tuple[str, str]]):
        self.problems = problems
        self.axes: dict[str, Axis] = {}

    def report(self, path: str, message: str) -> None:
        self.problems.append((path if len(path) <= 120 else f"{path[:117]}...", message))

    def spec(self, raw: Any) -> Spec | None:
        top = {"name", "seed", "axes", *TABLES}
        for key in sorted(raw.keys() - top):
            self.report(key, f"unknown key{suggest(key, sorted(top))}")
        name, seed = raw.get("name"), raw.get("seed", 0)
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-]{1,100}", name):
            given = "missing" if name is None else f"{shown(name)}"
            self.report("name", f"needs 1 to 100 of a-z, 0-9 and '-'; {given}")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            self.report("seed", f"needs a whole number from 0 to 2**63 - 1, not {shown(seed)}")
        self.axes = self.read_axes(raw.get("axes", {}))
        tables = {table: self.table(table, cls, raw.get(table, {})) for table, cls in TABLES.items()}
        if any(table is None for table in tables.values()):
            return None
        spec = Spec(str(name), seed=seed, axes=tuple(self.axes.values()), **tables)  # parts may be None here
        self.check_whole(spec)
        return spec

    def read_axes(self, raw: Any) -> dict[str, Axis]:
        if not isinstance(raw, dict):
            self.report("axes", f"needs a table of axes, not {shown(raw)}")
            return {}
        reserved = {
            XAVIER,
            "feature",
            "hidden",
            "instance",
            "step",
            *MEASURES,
            "b",
            "status",
            "phase",
            "success",
            "failed",
            "gradient",
            "second_loss",
            "class",
            "represented",
            "frobenius",
            "dimensions_per_feature",
        }
        axes = {}
        for name, body in raw.items():
            path = f"axes.{name}"
            taken = name in reserved or name.startswith(("instance_", "history_"))
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or taken:
                what = "is reserved" if taken else "needs a-z, then a-z, 0-9 and '_'"
                self.report(path, f"the axis name {shown(name)} {what}")
            elif (values := self.axis_values(body, path)) is not None:
                source = tuple((k, values if k == "values" else _floats(v)) for k, v in body.items())
                axes[name] = Axis(name, values, source)
        if math.prod(len(a) for a in axes.values()) > 2**31 - 1:
            self.report("axes", "more than 2**31 - 1 instances")
        return axes

    def axis_values(self, body: Any, path: str) -> tuple | None:
        if not isinstance(body, dict) or set(body) not in (
            {"log", "count"},
            {"linear", "count"},
            {"values"},
            {"count"},
        ):
            self.report(path, f"an axis is {AXIS_FORMS}; got {shown(body)}")
            return None
        if "values" in body:
            return self.listed_values(body["values"], f"{path}.values")
        count = body["count"]
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= LONGEST_AXIS:
            self.report(f"{path}.count", f"needs a whole number in [1, {LONGEST_AXIS}], not {shown(count)}")
            return None
        if set(body) == {"count"}:
            return tuple(range(count))
        kind = "log" if "log" in body else "linear"
        ends = body[kind]
        ok = isinstance(ends, list) and len(ends) == 2 and all(map(_is_finite, ends))
        if not ok or (kind == "log" and min(ends) <= 0):
            positive = "positive " if kind == "log" else ""
            self.report(f"{path}.{kind}", f"needs [a, b], two finite {positive}numbers, not {shown(ends)}")
            return None
        if count > 1 and ends[0] == ends[1]:
            self.report(f"{path}.{kind}", f"both ends are {shown(ends[0])}, but count is {count}")
            return None
        space = np.geomspace if kind == "log" else np.linspace
        return tuple(float(v) for v in space(ends[0], ends[1], count))

    def listed_values(self, values: Any, path: str) -> tuple | None:
        if not isinstance(values, list) or not values:
            self.report(path, f"needs a list of at least one value, not {shown(values)}")
        elif not (all(map(_is_finite, values)) or all(isinstance(v, str) and v.isprintable() for v in values)):
            self.report(path, f"needs finite numbers only or names only, not {shown(values)}")
        elif len({v if isinstance(v, str) else float(v) for v in values}) < len(values):
            self.report(path, f"a value stands there twice: {shown(values)}")
        else:
            return tuple(v if isinstance(v, str) else float(v) for v in values)
        return None

    def table(self, name: str, cls: type, raw: Any) -> Any:
        if not isinstance(raw, dict):
            self.report(name, f"needs a table, not {shown(raw)}")
            return None
        known = {f.name: f for f in fields(cls)}
        for key in sorted(raw.keys() - known.keys()):
            self.report(f"{name}.{key}", f"unknown key{suggest(key, sorted(known))}")
        values = {}
        for key, spec_field in known.items():
            if key in raw:
                values[key] = self.value(raw[key], f"{name}.{key}", spec_field.metadata)
            elif spec_field.default is MISSING:
                self.report(f"{name}.{key}", "is missing")
        if name == "train" and values.get("optimizer") == "adamw":
            values.setdefault("weight_decay", ADAMW_DECAY)
        return cls(**({f: None for f in known if known[f].default is MISSING} | values))

    def value(self, value: Any, path: str, rule: Mapping) -> Any:
        kind = rule["type"]
        if kind == "quantity":
            words = rule.get("words", ())
            per_feature = rule.get("per_feature", False)
            return parse(value, path, self.axes, self.report, per_feature=per_feature, words=words)
        if kind == "choice" and (not isinstance(value, str) or value not in rule["of"]):
            self.report(path, f"{shown(value)} is not known{suggest(value, list(rule['of']))}")
        elif kind == "choices":
            if not isinstance(value, list) or not all(isinstance(v, str) and v in rule["of"] for v in value):
                self.report(path, f"needs a list of {', '.join(map(repr, rule['of']))}, not {shown(value)}")
            else:
                return tuple(dict.fromkeys(value))
        elif kind == "axis" and (not isinstance(value, str) or value not in self.axes or value == REPLICA):
            known = [a for a in self.axes if a != REPLICA]
            self.report(path, f"no axis is named {shown(value)}{suggest(value, known)}")
        elif kind == "steps":
            whole = isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
            if not whole or not value or min(value) < 0:
                self.report(path, f"needs a list of whole numbers of at least 0, not {shown(value)}")
            else:
                return tuple(sorted(set(value)))
        elif kind in ("int", "float"):
            return self.number(value, path, rule)
        else:
            return value
        return None

    def number(self, value: Any, path: str, rule: Mapping) -> Any:
        whole = rule["type"] == "int"
        right_type = is_number(value) and (isinstance(value, int) or not whole) and abs(value) < 2**63
        if not right_type or not math.isfinite(value) or not _within(np.asarray(value), rule):
            self.report(path, f"needs a {'whole ' * whole}number {_range(rule)}, not {shown(value)}")
            return None
        return value if whole else float(value)

    def check_whole(self, spec: Spec) -> None:
        """Rules that need more than one key. Keys that could not be read are None here and told already."""
        used = {name for table, key in QUANTITIES for name in axes_used(getattr(getattr(spec, table), key))}
        unread = any(_unread(getattr(getattr(spec, table), key)) for table, key in QUANTITIES)
        for name in sorted(spec.axis.keys() - used - {REPLICA}):
            if not unread:
                self.report(f"axes.{name}", "no quantity names this axis; use it, or drop it (repeats go by 'replica')")
        if spec.model.features is not None:
            self.check_features(spec)
        weights = spec.instances * (spec.model.features or 0) * (spec.model.hidden or 0)
        if weights > MOST_WEIGHTS:
            self.report("model", f"{weights:,} weights in all instances; at most {MOST_WEIGHTS:,}")
        train = spec.train
        if train.weight_decay not in (0.0, None) and train.optimizer in ("adam", "sgd", "rmsprop"):
            self.report("train.weight_decay", f"only adamw uses it; the optimizer is {train.optimizer!r}")
        if train.momentum and train.optimizer in ("adam", "adamw"):
            self.report("train.momentum", f"only sgd and rmsprop use it; the optimizer is {train.optimizer!r}")
        if train.loss == "exact" and spec.exact_loss is None and not self.problems:
            known = "relu with 2 or 3 features and uniform values, or linear"
            self.report("train.loss", f"no exact loss is known for this model (known: {known}); use 'sampled'")
        if train.streams == "sobol" and train.loss == "sampled" and train.batch and spec.model.features:
            self.check_sobol(spec)
        if spec.init.signs == "stratified":
            self.check_signs(spec)
        if spec.model.family == "tied-no-bias" and spec.init.bias_scale not in (0.0, None):
            self.report("init.bias_scale", "the family 'tied-no-bias' has no bias")
        if spec.data.masks_per_batch and train.loss == "exact":
            self.report("data.masks_per_batch", "only the sampled loss draws masks; the loss is 'exact'")
        elif spec.data.masks_per_batch and train.batch and train.batch % spec.data.masks_per_batch:
            self.report("data.masks_per_batch", f"needs a divisor of train.batch = {train.batch}, or 0")
        if spec.engine.microbatch and train.batch and train.batch % spec.engine.microbatch:
            self.report("engine.microbatch", f"needs a divisor of train.batch = {train.batch}")
        if spec.record.steps and train.steps and max(spec.record.steps) > train.steps:
            self.report("record.steps", f"step {max(spec.record.steps)} lies beyond train.steps = {train.steps}")
        if spec.study.x is not None and spec.study.x == spec.study.y:
            self.report("study.x", f"x and y are both {spec.study.x!r}")
        kind = spec.study.kind
        if kind is not None and (problem := misfit(spec, kind) or (not self.problems and unequal(spec, kind))):
            self.report("study.kind", problem)

    def check_signs(self, spec: Spec) -> None:
        replica = spec.axis.get(REPLICA)
        counted = replica is not None and len(replica) > 1 and [key for key, _ in replica.source] == ["count"]
        if not counted or spec.model.hidden not in (1, None) or spec.model.features == 1:
            needs = "replica = { count = K } with K of at least 2, model.hidden = 1 and at least 2 features"
            self.report("init.signs", f"'stratified' needs {needs}")

    def check_sobol(self, spec: Spec) -> None:
        """A batch is a net; with more columns than a quarter of its points, columns repeat each other's activity."""
        if spec.data.masks_per_batch:
            self.report("data.masks_per_batch", "needs streams 'independent' or 'shared': a net has no masks to repeat")
        batch, columns = spec.train.batch, spec.model.features + (spec.data.activity == "tied")
        if batch & (batch - 1):
            self.report("train.batch", f"is {batch}; streams = 'sobol' needs a power of two")
        elif columns > max(2, batch // 4):
            self.report("train.streams", f"'sobol' needs a batch of at least 4 x {columns} features; it is {batch}")

    def check_features(self, spec: Spec) -> None:
        """Rules that need the number of features."""
        for table, cls in TABLES.items():
            for f in fields(cls):
                if f.metadata["type"] == "quantity" and not _unread(getattr(getattr(spec, table), f.name)):
                    self.check_quantity(spec, table, f.name, f.metadata)
        if spec.study.feature is not None and spec.study.feature >= spec.model.features:
            self.report("study.feature", f"features count from 0 to {spec.model.features - 1}")

    def check_quantity(self, spec: Spec, table: str, key: str, rule: Mapping) -> None:
        value = getattr(getattr(spec, table), key)
        path = f"{table}.{key}"
        for length in _list_lengths(value):
            if length != spec.model.features:
                self.report(path, f"a list of {length} values, but model.features = {spec.model.features}")
                return
        if "words" in rule and spec.model.hidden is None:
            return
        with np.errstate(all="ignore"):
            values = spec.evaluate(key).astype(np.float32)  # as they are trained with
        bad = ~(np.isfinite(values) & (values < np.finfo(np.float32).max) & _within(values, rule))
        if bad.any():
            first = tuple(np.argwhere(bad)[0])
            where = [f"feature {first[-1]}"] if values.shape[-1] > 1 else []
            along = zip(spec.axes, first, values.shape, strict=False)
            where += [f"{axis.name} = {shown(axis.values[k])}" for axis, k, size in along if size > 1]
            text = f" for {', '.join(where)}" if where else ""
            self.report(path, f"needs numbers {_range(rule)}; got {float(values[first])!r}{text}")


def _unread(quantity: Any) -> bool:
    """Whether any part of a quantity could not be read."""
    if isinstance(quantity, quantities.Curve):
        return _unread((quantity.first, quantity.second))
    if isinstance(quantity, quantities.Select):
        return _unread(quantity.of)
    return any(map(_unread, quantity)) if isinstance(quantity, tuple) else quantity is None


def _is_finite(value: Any) -> bool:
    return is_number(value) and abs(value) < 1e300


def _floats(value: Any) -> Any:
    return tuple(float(v) for v in value) if isinstance(value, list) else value


def _list_lengths(value: Any) -> list[int]:
    """Lengths of the lists over features in a quantity."""
    if isinstance(value, quantities.Select):
        return [n for option in value.of for n in _list_lengths(option)]
    return [len(value)] if isinstance(value, tuple) else []


def _within(values: np.ndarray, rule: Mapping) -> np.ndarray:
    low, high = rule.get("low", -math.inf), rule.get("high", math.inf)
    above = values > low if rule.get("low_open") else values >= low
    return above & (values < high if rule.get("high_open") else values <= high)


def _range(rule: Mapping) -> str:
    """The allowed range in words: "in (0, 1]", "of at least 1"."""
    if "high" not in rule:
        return f"of at least {rule['low']}" if not rule.get("low_open") else f"above {rule['low']}"
    return (
        f"in {'(' if rule.get('low_open') else '['}{rule['low']}, {rule['high']}{')' if rule.get('high_open') else ']'}"
    )
