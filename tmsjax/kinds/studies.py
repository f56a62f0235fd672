"""Studies: which figures show a sweep, and which sweeps they can show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from tmsjax.kinds.registry import Registry, checked_callables

REPLICA = "replica"  # the axis that repeats a cell; the one axis that no quantity need name


def _fits(spec: Any) -> None:
    return None


@dataclass(frozen=True)
class Study:
    """draw: run -> figures by file name; a built-in one is "module:function", imported when it is first used.

    most_axes:  besides replica; None: any number
    most_cells: None: any number
    misfit:     (spec) -> why its figures cannot show models of this shape, or None
    unequal:    (spec) -> why they cannot show these importances and probabilities, or None
    """

    draw: str | Callable[[Any], dict[str, Any]]
    sentence: str
    most_axes: int | None = None
    most_cells: int | None = None
    misfit: Callable[[Any], str | None] = _fits
    unequal: Callable[[Any], str | None] = _fits

    @property
    def drawer(self) -> Callable[..., dict[str, Any]]:
        """The function that draws."""
        if not isinstance(self.draw, str):
            return self.draw
        module, _, function = self.draw.partition(":")
        return getattr(import_module(module), function)


def _plane(spec: Any) -> str | None:
    if spec.model.hidden in (2, None):  # None: could not be read, and is told already
        return None
    return f"'vectors' draws a plane: it needs model.hidden = 2, not {spec.model.hidden}"


def _one_probability_a_cell(spec: Any) -> str | None:
    values = spec.evaluate("feature_probability")
    axes = {a.name: len(a) for a in spec.axes if a.name != REPLICA}
    if (values != values[..., :1]).any():
        return "'geometry' needs one probability for all features of a model"
    different = len(np.unique(values))
    if different < 2 or different != math.prod(axes.values()):
        named = ", ".join(axes) or "no axis"
        return f"'geometry' needs an axis of at least 2 probabilities, none twice; got {different} along {named}"
    return None


STUDIES: Registry[Study] = Registry(
    "study",
    {
        "phase-map": Study(
            "tmsjax.plots.studies:phase_map",
            "norm and superposition of one feature over two axes; a third axis gives a panel a value",
        ),
        "vectors": Study(
            "tmsjax.plots.studies:vectors",
            "W's columns in the plane (m = 2)",
            most_axes=2,
            most_cells=100,
            misfit=_plane,
        ),
        "gram": Study(
            "tmsjax.plots.studies:gram", "W^T W, bias and norms of the best models", most_axes=1, most_cells=40
        ),
        "geometry": Study(
            "tmsjax.plots.studies:geometry",
            "D*, dimensionalities and feature graphs over 1/p",
            most_axes=1,
            unequal=_one_probability_a_cell,
        ),
        "norms": Study(
            "tmsjax.plots.studies:norms",
            "norms by interference, number represented, Frobenius norms",
            most_axes=2,
            most_cells=100,
        ),
    },
)


def misfit(spec: Any, kind: str) -> str | None:
    """Why the figures of a study of this kind cannot show the spec's models; None if they can."""
    study = STUDIES[kind]
    axes = [a for a in spec.axes if a.name != REPLICA]
    cells = math.prod(len(a) for a in axes)
    if study.most_axes is not None and len(axes) > study.most_axes:
        few = f"at most {study.most_axes} {'axes' if study.most_axes > 1 else 'axis'} besides replica"
        return f"{kind!r} shows {few}, not {', '.join(a.name for a in axes)}"
    if study.most_cells is not None and cells > study.most_cells:
        return f"{kind!r} shows at most {study.most_cells} cells, not {cells:,}"
    return study.misfit(spec)


def add_study(
    name: str,
    draw: Callable[[Any], dict[str, Any]],
    *,
    sentence: str = "",
    most_axes: int | None = None,
    most_cells: int | None = None,
) -> None:
    """Adds a kind of figures that `[study] kind` and `tmsjax plot --kind` can name.

    `draw` maps a run (see `tmsjax.open_run`) to matplotlib figures by file name; `most_axes` (besides replica) and
    `most_cells` limit the sweeps that it can show. Raises RegistryError if the name is taken or an argument does not
    fit.
    """
    checked_callables(STUDIES, name, draw=draw)
    for what, most in (("most_axes", most_axes), ("most_cells", most_cells)):
        if most is not None and (not isinstance(most, int) or most < 0):
            raise STUDIES.refuse(name, f"{what} must be a whole number or None, not {most!r}")
    STUDIES.add(name, Study(draw, sentence, most_axes, most_cells))
