"""Measures of how features are represented: functions of W, whose column W_i is the direction of feature i.

They work with numpy (float64) as well as with jax. Source: the paper, sections "Demonstrating superposition" and "The
geometry of superposition".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tmsjax.kinds.arrays import ArrayT
from tmsjax.kinds.registry import RESERVED, RESERVED_PREFIXES, Registry, checked_callables
from tmsjax.kinds.trial import Refuse, attempt

TINY = 1e-30  # avoids 0/0; smaller than any norm after float32 training
SUCCESS = 1.01  # an init succeeds if its loss is at most this times the best loss of its cell
REPRESENTED = 0.3  # a feature is represented if |W_i| is at least this


def norms(W: Float[ArrayT, "*instance hidden feature"]) -> Float[ArrayT, "*instance feature"]:
    """`|W_i|`."""
    xp = W.__array_namespace__()
    return xp.sqrt(xp.sum(W**2, axis=-2))


def overlaps(W: Float[ArrayT, "*instance hidden feature"]) -> Float[ArrayT, "*instance feature feature"]:
    """`(w_i . W_j)^2` with `w_i = W_i / |W_i|`, rows i; a row of zeros where W_i = 0."""
    xp = W.__array_namespace__()
    unit = W / xp.maximum(norms(W), TINY)[..., None, :]
    return (xp.swapaxes(unit, -1, -2) @ W) ** 2


def superposition(W: Float[ArrayT, "*instance hidden feature"]) -> Float[ArrayT, "*instance feature"]:
    """sum_{j != i} (w_i . W_j)^2.

    0 if W_i is orthogonal to all other columns; 1 if they overlap with w_i as much as one parallel unit vector.
    """
    xp = W.__array_namespace__()
    squared = overlaps(W)
    others = xp.broadcast_to(1 - xp.eye(W.shape[-1], dtype=W.dtype), squared.shape)
    return xp.sum(squared * others, axis=-1)


def dimensionality(W: Float[ArrayT, "*instance hidden feature"]) -> Float[ArrayT, "*instance feature"]:
    """`D_i = |W_i|^2 / sum_j (w_i . W_j)^2`, in [0, 1]; 0 where W_i = 0."""
    xp = W.__array_namespace__()
    return norms(W) ** 2 / xp.maximum(xp.sum(overlaps(W), axis=-1), TINY)


def dimensions_per_feature(W: Float[ArrayT, "*instance hidden feature"]) -> Float[ArrayT, "*instance"]:
    """`D* = m / |W|_F^2`; infinite for W = 0."""
    xp = W.__array_namespace__()
    return W.shape[-2] / xp.sum(W**2, axis=(-1, -2))


def frobenius(W: Float[ArrayT, "*instance hidden feature"]) -> Float[ArrayT, "*instance"]:
    """`|W|_F`."""
    xp = W.__array_namespace__()
    return xp.sqrt(xp.sum(W**2, axis=(-1, -2)))


def represented(W: Float[ArrayT, "*instance hidden feature"]) -> Int[ArrayT, "*instance"]:
    """The number of features with `|W_i| >= REPRESENTED`."""
    return (norms(W) >= REPRESENTED).sum(-1)


@dataclass(frozen=True)
class Measure:
    """A quantity computed from W, for records and figures.

    Attributes:
        function: `W (..., hidden, feature) -> (..., *dims)`; None for the noise-free loss, which the engine computes.
        dims: Dimensions of one model's value, from "hidden" and "feature".
        label: Axis label in figures.
    """

    function: Callable[[Float[np.ndarray, "*instance hidden feature"]], np.ndarray] | None
    dims: tuple[str, ...]
    sentence: str
    label: str = ""


MEASURES: Registry[Measure] = Registry(
    "measure",
    {
        "loss": Measure(None, (), "the noise-free loss, summed over features", "noise-free loss"),
        "norm": Measure(norms, ("feature",), "|W_i|", r"norm $|W_i|$"),
        "superposition": Measure(
            superposition, ("feature",), "sum over j != i of (w_i . W_j)^2", r"$\sum_{j\neq i}(\hat w_i\cdot W_j)^2$"
        ),
        "dimensionality": Measure(
            dimensionality, ("feature",), "D_i = |W_i|^2 / sum over j of (w_i . W_j)^2", r"dimensionality $D_i$"
        ),
        "represented": Measure(
            represented, (), f"number of features with |W_i| >= {REPRESENTED}", "features represented"
        ),
        "frobenius": Measure(frobenius, (), "the Frobenius norm of W", r"Frobenius norm $\|W\|_F$"),
        "dimensions_per_feature": Measure(
            dimensions_per_feature, (), "D* = m / |W|_F^2", r"dimensions per feature $D^*$"
        ),
        "W": Measure(lambda W: W, ("hidden", "feature"), "the weights W"),
    },
)


def add_measure(
    name: str,
    function: Callable[[Float[np.ndarray, "*instance hidden feature"]], np.ndarray],
    *,
    dims: tuple[str, ...] = (),
    sentence: str = "",
    label: str = "",
) -> None:
    """Adds a measure of W that `[record] measures` can name and `tmsjax.measures` computes.

    Args:
        name: By which specs find it, and the name of its variable in results.
        function: Maps W (..., hidden, feature), a numpy array with any leading axes, to `(..., *dims)`.
        dims: "hidden" and "feature", each at most once.
        sentence: Describes it in help and tables.
        label: Describes it on the axes of figures.

    Raises:
        RegistryError: The name is taken or the function is invalid.

    Examples:
        >>> tmsjax.add_measure("participation", lambda W: (W**2).sum(-2) ** 2 / (W**4).sum(-2), dims=("feature",))
        >>> tmsjax.measures(run.dataset)["participation"].dims
        ('feature_probability', 'extra_importance', 'replica', 'feature')
    """
    checked_callables(MEASURES, name, function=function)
    if not name.isidentifier():
        raise MEASURES.refuse(
            name, "a measure's name is a-z, then a-z, 0-9 and '_', since it names a variable of the results"
        )
    if name in RESERVED or name.startswith(RESERVED_PREFIXES):
        raise MEASURES.refuse(name, "the name is reserved for results")
    if not isinstance(dims, tuple) or not all(d in ("hidden", "feature") for d in dims) or len(set(dims)) < len(dims):
        raise MEASURES.refuse(name, f"dims must be a tuple of 'hidden' and 'feature', each at most once; got {dims!r}")
    measure = Measure(function, dims, sentence, label or name.replace("_", " "))
    check_measure(measure, (4, 5, 2, 3), lambda why: MEASURES.refuse(name, why))
    MEASURES.add(name, measure)


def check_measure(measure: Measure, shape: tuple[int, ...], refuse: Refuse) -> None:
    """Raises `refuse(...)` if a measure does not give real numbers over its dimensions for W of `shape`."""
    size = dict(zip(("hidden", "feature"), shape[-2:], strict=True))
    expected = (*shape[:-2], *(size[d] for d in measure.dims))
    W = np.linspace(-1, 1, math.prod(shape)).reshape(shape)
    assert measure.function is not None  # users add no other
    found = np.asarray(attempt(f"the function of W {shape}", refuse, measure.function, W))
    if found.shape != expected or found.dtype.kind not in "fiub":
        kind = f"real numbers of shape {expected}, not {found.dtype} of shape {found.shape}"
        raise refuse(f"the function of W {shape} must give {kind}")
