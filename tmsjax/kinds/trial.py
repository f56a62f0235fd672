"""Tries functions that users add, before any work. models/trial.py tries what depends on a spec's sizes."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from tmsjax.errors import first_line
from tmsjax.kinds.arrays import Array, Elementwise, Params

T = TypeVar("T")
HINTS = (  # part of an error of jax, what to write instead
    ("jax_numpy_rank_promotion", "give both the same number of dimensions, by keepdims=True or x[None]"),
    ("TracerArrayConversionError", "use jax.numpy instead of numpy"),
    ("TracerBoolConversionError", "use jnp.where or jax.lax.cond instead of `if`"),
)
Refuse = Callable[[str], Exception]  # reason -> the error to raise
POINTS = 2**16  # of the quadrature
NEAR = 2e-3  # largest error of a stated moment, relative to the scale of the values


def attempt(what: str, refuse: Refuse, function: Callable[..., T], *arguments: object) -> T:
    """`function(*arguments)`. Raises `refuse(...)` if it fails."""
    try:
        with np.errstate(all="ignore"):
            return function(*arguments)
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise refuse(f"{what} fails ({_shortened(first_line(error))})") from error


def _shortened(text: str) -> str:
    """An error of jax with what to write instead, in place of its configuration."""
    hints = [hint for sign, hint in HINTS if sign in text]
    return "; ".join([text.partition(" and with the config")[0], *hints])


def check_traced(
    what: str, refuse: Refuse, function: Callable, arguments: tuple, like: Array | np.number | Params
) -> None:
    """Raises `refuse(...)` unless jax traces `function(*arguments)` to arrays with the types and shapes of `like`."""
    import jax

    with jax.numpy_rank_promotion("raise"):
        found = attempt(what, refuse, jax.eval_shape, function, *arguments)
    gives, wanted = (str(jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)) for tree in (found, like))
    if gives != wanted:
        raise refuse(f"{what} gives {gives}, not {wanted}".replace("'", ""))


def quadrature(
    quantile: Elementwise, mean: float | np.floating, square: float | np.floating, refuse: Refuse
) -> Float64[np.ndarray, "points"]:
    """Values at evenly spaced u. Raises `refuse(...)` if the quantile is invalid or does not have these moments."""
    import jax.numpy as jnp

    check_traced("the quantile", refuse, quantile, (np.zeros(4, np.float32),), np.zeros(4, np.float32))
    u = np.append((np.arange(POINTS) + 0.5) / POINTS, 1)
    x = np.asarray(attempt("the quantile", refuse, quantile, jnp.asarray(u, np.float32)), np.float64)
    if not np.isfinite(x).all():
        raise refuse("the quantile must be finite for every u in (0, 1], including 1")
    first, second = x[:-1].mean(), (x[:-1] ** 2).mean()
    for name, given, found, scale in (("mean", mean, first, second**0.5), ("square", square, second, second)):
        if not isinstance(given, numbers.Real) or not abs(given - found) <= NEAR * scale:
            raise refuse(f"{name} = {given!r:.40} does not fit the quantile: by quadrature it is {found:.6g}")
    return x[:-1]
