"""Reads single keys of a spec: checks the TOML value against the key's rule.

A rule is the metadata of a dataclass field in tables.py, or `Option.rule`. It gives the type and the choices or range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tmsjax.kinds import REPLICA, Fixed
from tmsjax.spec.quantity import Axis, Report, is_number, parse, shown, suggest


def read_value(value: Any, path: str, rule: Mapping, axes: Mapping[str, Axis], report: Report, open_: bool) -> Any:
    """The value of one key, or None if it is invalid; the problem goes to `report`.

    `open_`: whether to accept unregistered names, because a file that may register them was not executed.
    """
    kind = rule["type"]
    if kind == "quantity":
        per_feature = rule.get("per_feature", False)
        return parse(value, path, axes, report, per_feature=per_feature, words=rule.get("words", ()))
    if kind == "choice":
        return _choice(value, path, rule["of"], report, open_)
    if kind == "choices":
        return _choices(value, path, rule["of"], report, open_)
    if kind == "axis":
        return _axis(value, path, axes, report)
    if kind == "path":
        return _path(value, path, report)
    if kind == "paths":
        return _paths(value, path, report)
    if kind == "numbers":
        return _fixed_numbers(value, path, rule, report)
    if kind == "by parameter":
        return _by_parameter(value, path, rule, axes, report)
    if kind == "steps":
        return _steps(value, path, report)
    if isinstance(value, str) and value in axes:
        report(path, f"needs a number {range_words(rule)}: {shown(value)} is an axis, which this key cannot name")
        return None
    return _number(value, path, rule, report)


def _known(value: Any, allowed: Any, open_: bool) -> bool:
    return isinstance(value, str) and (value in allowed or (open_ and isinstance(allowed, Mapping)))  # a registry


def _choice(value: Any, path: str, allowed: Any, report: Report, open_: bool) -> Any:
    if _known(value, allowed, open_):
        return value
    report(path, f"{shown(value)} is not known{suggest(value, list(allowed))}")
    return None


def _choices(value: Any, path: str, allowed: Any, report: Report, open_: bool) -> Any:
    if isinstance(value, list) and all(_known(v, allowed, open_) for v in value):
        return tuple(dict.fromkeys(value))
    report(path, f"needs a list of {', '.join(map(repr, allowed))}, not {shown(value)}")
    return None


def _axis(value: Any, path: str, axes: Mapping[str, Axis], report: Report) -> Any:
    if isinstance(value, str) and value in axes and value != REPLICA:
        return value
    report(path, f"no axis is named {shown(value)}{suggest(value, [a for a in axes if a != REPLICA])}")
    return None


def _path(value: Any, path: str, report: Report) -> Any:
    if isinstance(value, str) and value and value.isprintable():
        return Fixed(value)
    report(path, f"needs a path, not {shown(value)}")
    return None


def _paths(value: Any, path: str, report: Report) -> Any:
    if isinstance(value, list) and value and all(isinstance(v, str) and v and v.isprintable() for v in value):
        return Fixed(tuple(value))
    if isinstance(value, list):
        report(path, f"needs a path or a list of paths, not {shown(value)}")
        return None
    return _path(value, path, report)


def _fixed_numbers(value: Any, path: str, rule: Mapping, report: Report) -> Any:
    """A list of numbers, or a list of lists of the same length."""
    rows = value if isinstance(value, list) and value and all(isinstance(v, list) for v in value) else [value]
    numbers = all(isinstance(row, list) and all(is_number(v) and abs(v) < 1e300 for v in row) for row in rows)
    if not numbers or len({len(row) for row in rows}) > 1:
        report(path, f"needs a list of numbers, or a list of such lists of one length, not {shown(value)}")
    elif not within(np.asarray(rows), rule).all():
        report(path, f"needs numbers {range_words(rule)}, not {shown(value)}")
    else:
        return Fixed(tuple(map(tuple, rows)) if rows is value else tuple(value))
    return None


def _by_parameter(value: Any, path: str, rule: Mapping, axes: Mapping[str, Axis], report: Report) -> Any:
    if not isinstance(value, dict):
        report(path, f"needs factors by parameter, such as {{ b = 0.0 }}, not {shown(value)}")
        return None
    return tuple((key, parse(v, f"{path}.{key}", axes, report, per_feature=False)) for key, v in sorted(value.items()))


def _steps(value: Any, path: str, report: Report) -> Any:
    whole = isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if whole and value and min(value) >= 0:
        return tuple(sorted(set(value)))
    report(path, f"needs a list of whole numbers of at least 0, not {shown(value)}")
    return None


def _number(value: Any, path: str, rule: Mapping, report: Report) -> Any:
    whole = rule["type"] == "int"
    right_type = is_number(value) and (isinstance(value, int) or not whole) and abs(value) < 2**63
    if not right_type or not math.isfinite(value) or not within(np.asarray(value), rule):
        report(path, f"needs a {'whole ' * whole}number {range_words(rule)}, not {shown(value)}")
        return None
    return value if whole else float(value)


def within(values: np.ndarray, rule: Mapping) -> np.ndarray:
    """Elementwise mask of the values in the rule's range, and whole if it says so."""
    low, high = rule.get("low", -math.inf), rule.get("high", math.inf)
    values = np.where(values == np.rint(values), values, np.nan) if rule.get("whole") else values
    above = values > low if rule.get("low_open") else values >= low
    return above & (values < high if rule.get("high_open") else values <= high)


def range_words(rule: Mapping) -> str:
    """The allowed range as text, such as "in (0, 1]" or "of at least 1"."""
    if "low" not in rule:
        return f"of at most {rule['high']}" if "high" in rule else "that is finite"
    if "high" not in rule:
        return f"of at least {rule['low']}" if not rule.get("low_open") else f"above {rule['low']}"
    first, last = "(" if rule.get("low_open") else "[", ")" if rule.get("high_open") else "]"
    return f"in {first}{rule['low']}, {rule['high']}{last}"
