"""Quantities: numbers per instance, given as a number, a list, a curve over features, or the name of an axis.

A quantity is stored as plain frozen data (`float`, axis name, tuple, `Curve`, `Select`) and evaluated by
broadcasting: axis k of K lies along dimension k, features along the last dimension.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

Report = Callable[[str, str], None]  # (path of the key, what is wrong)

CURVES = ("geometric", "linear")  # given by their first and last value
KEYED_CURVES = {"ratio": ("first", "ratio"), "mean": ("mean", "last_over_first"), "power": ("sum", "power")}


@dataclass(frozen=True)
class Axis:
    """One dimension of a sweep. `values` are its coordinates, in order: numbers, or names for `select`."""

    name: str
    values: tuple[float | int | str, ...]
    source: tuple[tuple[str, Any], ...]  # as written in the spec, for writing it back

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Curve:
    """A quantity that varies over features i = 0 .. n-1.

    geometric: first * (last/first)**(i/(n-1));  linear: first + (last-first)*i/(n-1);  ratio: first * ratio**i;
    mean: a geometric curve with geometric mean `first` and last/first = `second`;
    power: a falling power law (i+1)**-second, scaled so that its sum over features is `first`.
    `permute` names an axis; each of its values gets its own random order of features.
    """

    kind: str
    first: Any
    second: Any  # last, ratio, last over first, or exponent
    permute: str | None = None


@dataclass(frozen=True)
class Select:
    """One of several quantities, chosen by the position along an axis."""

    axis: str
    of: tuple[Any, ...]


def shown(value: Any) -> str:
    """`repr(value)` for a message, cut to 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def hash64(*parts: object) -> int:
    """A 64-bit hash of the text of `parts`, the same on every machine and Python version.

    Rounds numbers to 12 significant digits: 0 and 0.0 hash alike, and rounding errors of a machine do not matter.
    """
    texts = (f"{float(p):.12g}" if isinstance(p, (int, float)) else str(p) for p in parts)
    digest = hashlib.blake2b("\x1f".join(texts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def suggest(name: str, allowed: list[str]) -> str:
    """The end of a message: "; did you mean X?" if there is a close match, then the allowed names."""
    close = get_close_matches(str(name), allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (allowed: {', '.join(map(repr, allowed)) or 'none'})"


def is_number(value: Any) -> bool:
    """Whether `value` is an int or a float; a bool is not a number here."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def parse(
    value: Any,
    path: str,
    axes: Mapping[str, Axis],
    report: Report,
    *,
    per_feature: bool,
    words: tuple[str, ...] = (),
) -> Any:
    """Parses a TOML value into a quantity; problems go to `report` and give None.

    `per_feature`: whether lists and curves over features are allowed. `words`: names that are values, such as "xavier".
    """

    def inner(v: Any, where: str, per_feature: bool = False) -> Any:
        return parse(v, where, axes, report, per_feature=per_feature, words=words)

    if is_number(value):
        if not abs(value) < 1e300:
            report(path, f"needs a finite number, not {shown(value)}")
            return None
        return float(value)
    if isinstance(value, str):
        if value in words:
            return value
        if value not in axes:
            report(path, f"no axis is named {shown(value)}{suggest(value, [*axes, *words])}")
            return None
        if any(isinstance(v, str) for v in axes[value].values):
            report(path, f"axis {shown(value)} holds names, not numbers; use {{ select = {shown(value)}, of = [...] }}")
            return None
        return value
    if isinstance(value, list):
        if not per_feature:
            report(path, f"a single value is expected here, not a list: {shown(value)}")
            return None
        if not value:
            report(path, "the list is empty; it needs one entry for each feature")
            return None
        return tuple(inner(v, f"{path}[{i}]") for i, v in enumerate(value))
    if isinstance(value, dict):
        if "select" in value:
            return _parse_select(value, path, axes, report, inner, per_feature)
        if per_feature:
            return _parse_curve(value, path, axes, report, inner)
    kinds = "a number, the name of an axis or { select = axis, of = [...] }"
    kinds += ", a list or a curve over features" if per_feature else ""
    report(path, f"expected {kinds}, not {shown(value)}")
    return None


def _parse_select(
    value: dict, path: str, axes: Mapping[str, Axis], report: Report, inner: Callable, per_feature: bool
) -> Select | None:
    for key in sorted(value.keys() - {"select", "of"}):
        report(f"{path}.{key}", f"unknown key{suggest(key, ['select', 'of'])}")
    axis, of = value["select"], value.get("of")
    if not isinstance(axis, str) or axis not in axes:
        report(f"{path}.select", f"no axis is named {shown(axis)}{suggest(axis, list(axes))}")
        return None
    if not isinstance(of, list) or len(of) != len(axes[axis]):
        got = len(of) if isinstance(of, list) else shown(of)
        report(f"{path}.of", f"needs a list of {len(axes[axis])}, one for each value of axis {shown(axis)}; got {got}")
        return None
    return Select(axis, tuple(inner(v, f"{path}.of[{i}]", per_feature) for i, v in enumerate(of)))


def _parse_curve(value: dict, path: str, axes: Mapping[str, Axis], report: Report, inner: Callable) -> Curve | None:
    permute = value.get("permute")
    if permute is not None and (not isinstance(permute, str) or permute not in axes):
        report(f"{path}.permute", f"no axis is named {shown(permute)}{suggest(permute, list(axes))}")
        return None
    body = {k: v for k, v in value.items() if k != "permute"}
    for kind, keys in KEYED_CURVES.items():
        if set(body) == set(keys):
            first, second = (inner(body[key], f"{path}.{key}") for key in keys)
            return Curve(kind, first, second, permute)
    if len(body) == 1 and (kind := next(iter(body))) in CURVES:
        ends = body[kind]
        if isinstance(ends, list) and len(ends) == 2:
            first, last = (inner(v, f"{path}.{kind}[{i}]") for i, v in enumerate(ends))
            return Curve(kind, first, last, permute)
        report(f"{path}.{kind}", f"needs [first, last], not {shown(ends)}")
        return None
    allowed = "{ geometric = [first, last] }, { linear = [first, last] }, { first = a, ratio = q }, "
    allowed += "{ mean = a, last_over_first = q } or { sum = s, power = a }"
    report(path, f"expected one of {allowed}, each with optional permute = axis; got {shown(value)}")
    return None


def axes_used(quantity: Any) -> Iterator[str]:
    """Names of the axes that `quantity` depends on."""
    if isinstance(quantity, str):
        yield quantity
    elif isinstance(quantity, tuple):
        for part in quantity:
            yield from axes_used(part)
    elif isinstance(quantity, Curve):
        yield from axes_used((quantity.first, quantity.second))
        if quantity.permute is not None:
            yield quantity.permute
    elif isinstance(quantity, Select):
        yield quantity.axis
        yield from axes_used(quantity.of)


def evaluate(
    quantity: Any,
    axes: Mapping[str, Axis],
    *,
    features: int = 1,
    seed: int = 0,
    words: Mapping[str, float] | None = None,
    part: Mapping[str, slice] | None = None,
) -> np.ndarray:
    """Values of `quantity`, float64, shape (1 or length of each axis ..., 1 or features).

    A dimension that the quantity does not depend on has length 1. `words` maps names such as "xavier" to numbers.
    `part`: the positions to evaluate along some axes.
    """
    words, part = words or {}, part or {}
    names = list(axes)

    def along(name: str, values: np.ndarray) -> np.ndarray:
        values = values[part.get(name, slice(None))]
        shape = [1] * (len(names) + 1)
        shape[names.index(name)] = len(values)
        return values.reshape(shape)

    def value(q: Any) -> np.ndarray:
        if isinstance(q, str) and q in words:
            q = words[q]
        if isinstance(q, str):
            return along(q, np.asarray(axes[q].values, np.float64))
        if isinstance(q, tuple):
            return np.concatenate(np.broadcast_arrays(*(value(v) for v in q)), axis=-1)
        if isinstance(q, Select):
            index = along(q.axis, np.arange(len(axes[q.axis])))
            options = [value(v) for v in q.of]
            return np.select([index == k for k in range(len(options))], options)
        if isinstance(q, Curve):
            return curve(q)
        return np.full([1] * (len(names) + 1), float(q))

    def curve(q: Curve) -> np.ndarray:
        first, second = value(q.first), value(q.second)
        position = np.arange(features, dtype=np.float64)
        if q.kind == "ratio":
            out = first * second**position
        elif q.kind == "power":
            falling = (position + 1) ** -second
            out = first * falling / falling.sum(-1, keepdims=True)
        else:
            t = position / max(features - 1, 1)
            if q.kind == "mean":
                out = first * second ** (t - t.mean())
            else:
                out = first * (1 - t) + second * t if q.kind == "linear" else first ** (1 - t) * second**t
        if q.permute is None:
            return out
        axis = axes[q.permute]
        values = axis.values[part.get(axis.name, slice(None))]
        ranks = [[hash64("permute", str(seed), axis.name, v, i) for i in range(features)] for v in values]
        order = np.argsort(np.array(ranks, np.uint64), axis=1)
        shape = [1] * len(names) + [features]
        shape[names.index(q.permute)] = len(values)
        out, order = np.broadcast_arrays(out, order.reshape(shape))
        return np.take_along_axis(out, order, axis=-1)

    return value(quantity)
