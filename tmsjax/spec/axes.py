"""Reads the [axes] table of a spec: names and coordinates of the dimensions that a sweep spans."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from tmsjax.kinds import MEASURES, REPLICA, RESERVED, RESERVED_PREFIXES
from tmsjax.spec.quantity import Axis, Report, is_number, shown
from tmsjax.spec.tables import LONGEST_AXIS, MOST_INSTANCES, XAVIER

FORMS = "{ log = [a, b], count = k }, { linear = [a, b], count = k }, { values = [...] } or { count = k }"
KEYS = ({"log", "count"}, {"linear", "count"}, {"values"}, {"count"})
TAKEN = RESERVED - {REPLICA} | {XAVIER}


def read_axes(raw: Any, report: Report) -> dict[str, Axis]:
    """The valid axes by name; problems go to `report`."""
    if not isinstance(raw, dict):
        report("axes", f"needs a table of axes, not {shown(raw)}")
        return {}
    axes = {}
    for name, body in raw.items():
        path = f"axes.{name}"
        built_in = name in MEASURES and MEASURES.source(name) is None
        taken = name in TAKEN or built_in or name.startswith(RESERVED_PREFIXES)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or taken:
            what = "is reserved" if taken else "needs a-z, then a-z, 0-9 and '_'"
            report(path, f"the axis name {shown(name)} {what}")
        elif (values := _values(body, path, report)) is not None:
            source = tuple((k, values if k == "values" else _floats(v)) for k, v in body.items())
            axes[name] = Axis(name, values, source)
    if math.prod(len(a) for a in axes.values()) > MOST_INSTANCES:
        report("axes", f"more than {MOST_INSTANCES:,} instances")
    return axes


def _values(body: Any, path: str, report: Report) -> tuple | None:
    if not isinstance(body, dict) or set(body) not in KEYS:
        report(path, f"an axis is {FORMS}; got {shown(body)}")
        return None
    if "values" in body:
        return _listed(body["values"], f"{path}.values", report)
    count = body["count"]
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= LONGEST_AXIS:
        report(f"{path}.count", f"needs a whole number in [1, {LONGEST_AXIS}], not {shown(count)}")
        return None
    if set(body) == {"count"}:
        return tuple(range(count))
    return _spaced("log" if "log" in body else "linear", body, path, report)


def _spaced(kind: str, body: dict, path: str, report: Report) -> tuple | None:
    """`count` values between two ends, both included."""
    ends, count = body[kind], body["count"]
    ok = isinstance(ends, list) and len(ends) == 2 and all(map(_is_finite, ends))
    if not ok or (kind == "log" and min(ends) <= 0):
        positive = "positive " if kind == "log" else ""
        report(f"{path}.{kind}", f"needs [a, b], two finite {positive}numbers, not {shown(ends)}")
        return None
    if count > 1 and ends[0] == ends[1]:
        report(f"{path}.{kind}", f"both ends are {shown(ends[0])}, but count is {count}")
        return None
    space = np.geomspace if kind == "log" else np.linspace
    return tuple(float(v) for v in space(ends[0], ends[1], count))


def _listed(values: Any, path: str, report: Report) -> tuple | None:
    if not isinstance(values, list) or not values:
        report(path, f"needs a list of at least one value, not {shown(values)}")
    elif not (all(map(_is_finite, values)) or all(isinstance(v, str) and v.isprintable() for v in values)):
        report(path, f"needs only finite numbers or only names, not {shown(values)}")
    elif len({v if isinstance(v, str) else float(v) for v in values}) < len(values):
        report(path, f"contains a value twice: {shown(values)}")
    else:
        return tuple(v if isinstance(v, str) else float(v) for v in values)
    return None


def _is_finite(value: Any) -> bool:
    return is_number(value) and abs(value) < 1e300


def _floats(value: Any) -> Any:
    return tuple(float(v) for v in value) if isinstance(value, list) else value
