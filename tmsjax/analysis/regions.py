"""Regions: parts of a map, given as the lowest and the highest value along some axes, both included."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tmsjax.errors import SpecError
from tmsjax.kinds import REPLICA
from tmsjax.spec import Axis, Box, Spec, shown, suggest

Region = Mapping[str, tuple[float, float]]


def read_region(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """The region that texts such as "feature_probability=0.4:0.7" give. Raises SpecError for other texts."""
    region: dict[str, tuple[float, float]] = {}
    problems = []
    for text in texts:
        axis, *rest = re.split("[=:]", text)
        ends = [_number(part) for part in rest]
        if not re.fullmatch("[^=:]+=[^=:]+:[^=:]+", text) or None in ends:
            problems.append(("", f"needs AXIS=LOW:HIGH, such as feature_probability=0.4:0.7, not {shown(text)}"))
        elif axis in region:
            problems.append((axis, "given twice"))
        else:
            region[axis] = ends[0], ends[1]  # type: ignore[assignment]
    if problems:
        raise SpecError("--region", problems)
    return region


def region_box(spec: Spec, region: Region | None) -> Box:
    """The cells of a region in the grid without the replica axis; all cells if `region` is None.

    Raises SpecError, with all problems, for axes without such values.
    """
    axes = {a.name: a for a in spec.axes if a.name != REPLICA}
    problems = []
    ranges = {name: range(len(axis)) for name, axis in axes.items()}
    for name, ends in (region or {}).items():
        if name not in axes:
            problems.append((str(name), f"no axis of the map has this name{suggest(str(name), list(axes))}"))
        elif isinstance(found := _positions(axes[name], ends), str):
            problems.append((name, found))
        else:
            ranges[name] = found
    if problems:
        raise SpecError("region", problems)
    return Box(tuple(ranges.values()))


def _positions(axis: Axis, ends: Any) -> range | str:
    """The positions of an axis between two values, or what is wrong."""
    if any(isinstance(v, str) for v in axis.values):
        return "the axis holds names, not numbers"
    pair = isinstance(ends, (tuple, list)) and len(ends) == 2
    if not pair or not all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends):
        return f"needs two finite numbers, the lowest and the highest value, not {shown(ends)}"
    low, high = ends
    values = np.asarray(axis.values, np.float64)
    if low > high:
        return f"the lowest value comes first, not {low:g}, {high:g}"
    if len(set(np.sign(np.diff(values)))) > 1:
        return "the values of the axis are neither ascending nor descending"
    found = np.flatnonzero((values >= low) & (values <= high))
    if not len(found):
        return f"no value between {low:g} and {high:g}; the axis goes from {values.min():g} to {values.max():g}"
    return range(int(found[0]), int(found[-1]) + 1)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
