"""Studies: kinds of figures, with the sweeps that each can show and those that it suits.

A spec or `--kind` names a study; `misfit` and `unequal` give the reason if it cannot show a sweep. If no study is
named, `suited` chooses by the shape of the sweep: its numbers of axes, cells, features and hidden dimensions. The
functions that draw the built-in studies are registered by `draws` when tmsjax.plots is imported.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from tmsjax.kinds.families import FAMILIES
from tmsjax.kinds.registry import Registry, checked_callables
from tmsjax.kinds.sweep import Axis, Sweep

REPLICA = "replica"  # the axis that repeats a cell; the only axis that no quantity has to name
MOST_PANELS = 30  # of a phase map with a third axis, if no study is named
MOST_NEURONS, MOST_STACKED = 200, 200_000  # in a stack plot: neurons of a model; weights of all panels
Draw = Callable[[Any], dict[str, Any]]  # run -> figures by file name
View = Literal["map", "line"]
# W's columns as directions; recorded measures; recorded loss with W or dimensionality
Need = Literal["directions", "history", "trajectory"]
F = TypeVar("F", bound=Draw)


def _fits(spec: Sweep) -> None:
    return None


def _never(spec: Sweep) -> bool:
    return False


@dataclass
class Study:
    """A kind of figures.

    Attributes:
        sentence: What it shows.
        draw: Run -> figures by file name; of a built-in study None until tmsjax.plots is imported.
        most_axes: The largest number of axes besides replica; None: any.
        most_cells: The largest number of cells; None: any.
        view: How the explorer shows runs whose spec names it: a map of cells, or a chart along a line of cells.
        misfit: Spec -> why the figures cannot show a sweep of this shape, or None.
        unequal: Spec -> why they cannot show these importances and probabilities, or None.
        suits: Spec -> whether they suit a sweep of this shape; if no kind is named, suitable figures are drawn.
        needs: What the results must contain.
    """

    sentence: str
    draw: Draw | None = None
    most_axes: int | None = None
    most_cells: int | None = None
    view: View = "map"
    misfit: Callable[[Sweep], str | None] = _fits
    unequal: Callable[[Sweep], str | None] = _fits
    suits: Callable[[Sweep], bool] = _never
    needs: tuple[Need, ...] = ()


def _axes(spec: Sweep) -> list[Axis]:
    """The axes that distinguish cells: all but replica with more than one value."""
    return [a for a in spec.axes if a.name != REPLICA and len(a) > 1]


def _cells(spec: Sweep) -> int:
    return math.prod(len(a) for a in _axes(spec))


def mappable(spec: Sweep) -> bool:
    """Whether a phase map can show the sweep: two monotonic numeric axes, and at most one further axis."""
    y, x = spec.map_axes
    if x is None or y is None or REPLICA in (x, y):
        return False
    others = [a for a in spec.axes if a.name not in (REPLICA, y, x)]
    return len(others) <= 1 and all(_is_scale(spec.axis[a].values) for a in (x, y))


def _is_scale(values: tuple) -> bool:
    """Whether an axis holds at least two numbers in ascending or descending order."""
    if len(values) < 2 or any(isinstance(v, str) for v in values):
        return False
    steps = [b - a for a, b in itertools.pairwise(values)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def _suits_map(spec: Sweep) -> bool:
    return mappable(spec) and _cells(spec) <= MOST_PANELS * math.prod(len(spec.axis[a]) for a in spec.map_axes if a)


def _suits_curves(spec: Sweep) -> bool:
    """One axis, one cell with several replicas, or axes that a map cannot show."""
    axes = _axes(spec)
    return len(axes) == 1 or (not axes and spec.instances > 1) or (len(axes) > 1 and not _suits_map(spec))


def _suits_vectors(spec: Sweep) -> bool:
    """Whether there are few cells; `_plane` checks that there are two hidden dimensions."""
    cells = _cells(spec)
    return cells <= 20 and cells * spec.model.features <= 1000


def _suits_gram(spec: Sweep) -> bool:
    cells = _cells(spec)
    return cells <= 12 and spec.model.features <= (20 if cells > 1 else 200)


def _suits_norms(spec: Sweep) -> bool:
    """Two axes that a map cannot show, such as named cases."""
    return (
        len(_axes(spec)) == 2
        and not mappable(spec)
        and _cells(spec) <= 24
        and spec.instances * spec.model.features**2 <= 2e7
    )


def _suits_dynamics(spec: Sweep) -> bool:
    return _cells(spec) <= 6 and spec.model.features <= 40


def without_lengths(spec: Sweep) -> str | None:
    """Why lengths of the directions W have no meaning, so that models have no phases; None if they have one."""
    family = FAMILIES.get(spec.model.family)
    if family is None or family.writes is None:
        return None
    return (
        f"no phase map: phases compare lengths |W_i|, and neurons of {spec.model.family!r} can scale W freely "
        f"({family.writes} makes up for it); `tmsjax plot RUN --kind neurons` shows them"
    )


def _suits_neurons(spec: Sweep) -> bool:
    family = FAMILIES.get(spec.model.family)
    return family is not None and family.neurons and len(_axes(spec)) <= 1 and _cells(spec) <= 12


def _stackable(spec: Sweep) -> str | None:
    """Why stack plots cannot show the spec's neurons; None if they can."""
    family, (features, hidden) = FAMILIES.get(spec.model.family), (spec.model.features, spec.model.hidden)
    if family is not None and not family.neurons:
        able = ", ".join(repr(name) for name, one in FAMILIES.items() if one.neurons)
        return f"'neurons' needs a hidden layer h = ReLU(W x) (families {able}), not the family {spec.model.family!r}"
    if features is None or hidden is None:  # could not be read, which is reported elsewhere
        return None
    if hidden > MOST_NEURONS:
        return f"'neurons' shows at most {MOST_NEURONS} neurons of a model (model.hidden), not {hidden:,}"
    if (weights := _cells(spec) * features * hidden) > MOST_STACKED:
        return f"'neurons' shows at most {MOST_STACKED:,} weights (cells x features x hidden), not {weights:,}"
    return None


def _unrecorded(spec: Sweep) -> str | None:
    """Why a run of the spec will not record what 'dynamics' shows; None if it will."""
    measures, steps = spec.record.measures, spec.record.steps
    if measures is None or ("loss" in measures and {"W", "dimensionality"} & {*measures} and len(steps or "many") > 1):
        return None
    needs = '[record] measures = ["loss", "W"], or "dimensionality" in place of "W", at several steps'
    return f"'dynamics' needs {needs}"


def _plane(spec: Sweep) -> str | None:
    if spec.model.hidden in (2, None):  # None: could not be read, which is reported elsewhere
        return None
    return f"'vectors' draws a plane: it needs model.hidden = 2, not {spec.model.hidden}"


def _one_probability_a_cell(spec: Sweep) -> str | None:
    values = spec.evaluate("feature_probability")
    axes = {a.name: len(a) for a in spec.axes if a.name != REPLICA}
    if (values != values[..., :1]).any():
        return "'geometry' needs one probability for all features of a model"
    different = len(np.unique(values))
    if different < 2 or different != math.prod(axes.values()):
        named = ", ".join(axes) or "no axis"
        return f"'geometry' needs an axis of at least 2 distinct probabilities; got {different} along {named}"
    return None


STUDIES: Registry[Study] = Registry(
    "study",
    {
        "phase-map": Study(
            "norm and superposition of one feature over two axes, with one panel per value of a third axis",
            misfit=without_lengths,
            suits=_suits_map,
            needs=("directions",),
        ),
        "curves": Study(
            "noise-free loss, features represented and D* along one axis, for every model and the best of each cell",
            view="line",
            suits=_suits_curves,
        ),
        "vectors": Study(
            "the columns of W in the plane (m = 2)",
            view="line",
            most_axes=2,
            most_cells=100,
            misfit=_plane,
            suits=_suits_vectors,
            needs=("directions",),
        ),
        "gram": Study(
            "W^T W, biases and norms of the best models",
            view="line",
            most_axes=1,
            most_cells=40,
            suits=_suits_gram,
            needs=("directions",),
        ),
        "geometry": Study(
            "D*, dimensionalities and feature graphs against 1/p",
            view="line",
            most_axes=1,
            unequal=_one_probability_a_cell,
            needs=("directions",),
        ),
        "norms": Study(
            "norms coloured by interference, number of features represented, Frobenius norms",
            view="line",
            most_axes=2,
            most_cells=100,
            suits=_suits_norms,
            needs=("directions",),
        ),
        "neurons": Study(
            "weights of every neuron as a stack, coloured by feature (families with a ReLU hidden layer)",
            view="line",
            most_axes=2,
            most_cells=40,
            misfit=_stackable,
            suits=_suits_neurons,
            needs=("directions",),
        ),
        "learning": Study(
            "every recorded measure during training: median, and 10 to 90 % quantiles",
            view="line",
            suits=lambda spec: True,
            needs=("history",),
        ),
        "dynamics": Study(
            "recorded W at several steps and as an animation (GIF), recorded dimensionalities, with the loss",
            view="line",
            most_cells=6,
            misfit=_unrecorded,
            suits=_suits_dynamics,
            needs=("trajectory",),
        ),
    },
)


def suited(spec: Sweep, has: Collection[str] | None = None) -> list[str]:
    """The kinds whose figures suit a sweep of this shape; "curves" if none does.

    Args:
        spec: The sweep.
        has: What its results contain of what studies need; None: what they will contain once it is trained.
    """
    has = _will_have(spec) if has is None else has
    able = {name: study for name, study in STUDIES.items() if set(study.needs) <= set(has)}
    return [name for name, study in able.items() if study.suits(spec) and misfit(spec, name) is None] or ["curves"]


def _will_have(spec: Sweep) -> list[str]:
    recorded = set(spec.record.measures) if len(spec.record_steps) > 1 else set()
    will_have = {
        "directions": FAMILIES[spec.model.family].directions is not None,
        "history": recorded - {"W"},
        "trajectory": "loss" in recorded and recorded & {"W", "dimensionality"},
    }
    return [name for name, there in will_have.items() if there]


def draws(name: str) -> Callable[[F], F]:
    """Decorates the function that draws the built-in study `name`."""

    def register(function: F) -> F:
        STUDIES[name].draw = function
        return function

    return register


def misfit(spec: Sweep, kind: str) -> str | None:
    """Why figures of this kind cannot show the spec's sweep; None if they can."""
    study = STUDIES[kind]
    axes = [a for a in spec.axes if a.name != REPLICA]
    if study.most_axes is not None and len(axes) > study.most_axes:
        few = f"at most {study.most_axes} {'axes' if study.most_axes > 1 else 'axis'} besides replica"
        return f"{kind!r} shows {few}, not {', '.join(a.name for a in axes)}"
    if study.most_cells is not None and _cells(spec) > study.most_cells:
        return f"{kind!r} shows at most {study.most_cells} cells, not {_cells(spec):,}"
    return study.misfit(spec)


def add_study(
    name: str,
    draw: Draw,
    *,
    sentence: str = "",
    most_axes: int | None = None,
    most_cells: int | None = None,
    view: View = "map",
) -> None:
    """Adds a kind of figures that `[study] kind` and `tmsjax plot --kind` can name.

    Args:
        name: By which specs and `--kind` find it.
        draw: Maps a run (see `tmsjax.open_run`) to a dict of matplotlib figures by file name.
        sentence: Describes it in help and tables.
        most_axes: The largest number of axes, besides replica, of sweeps that it can show; None: any.
        most_cells: The largest number of cells of sweeps that it can show; None: any.
        view: How `tmsjax explore` shows runs whose spec names this kind: "map", cells coloured over two axes (if two
            axes have several values), or "line", a chart of a measure over all cells.

    Raises:
        RegistryError: The name is taken or an argument is invalid.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> def losses(run):
        ...     figure = Figure()
        ...     figure.subplots().hist(run.dataset["loss"].values.ravel())
        ...     return {"losses": figure}
        >>> tmsjax.add_study("losses", losses)
        >>> list(tmsjax.figures(run, kind="losses"))
        ['losses']
    """
    checked_callables(STUDIES, name, draw=draw)
    for what, most in (("most_axes", most_axes), ("most_cells", most_cells)):
        if most is not None and (not isinstance(most, int) or most < 0):
            raise STUDIES.refuse(name, f"{what} must be a whole number or None, not {most!r}")
    if view not in get_args(View):
        raise STUDIES.refuse(name, f"view must be 'map' or 'line', not {view!r}")
    STUDIES.add(name, Study(sentence, draw, most_axes, most_cells, view))
