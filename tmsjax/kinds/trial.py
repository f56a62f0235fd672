"""Checks of user functions before they are registered: traces them with jax and evaluates them on a few inputs."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

Refuse = Callable[[str], Exception]  # reason -> the error to raise

POINTS = 2**16  # quadrature points
NEAR = 2e-3  # largest error of a stated moment, relative to the larger of 1 and the quadrature's value


def first_line(error: BaseException) -> str:
    """The type and first line of an error, for a message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def traced(function: Callable, what: str, refuse: Refuse, *arguments: Any) -> Any:
    """Shape and dtype of `function(*arguments)`, traced by jax. Raises `refuse(...)` if tracing fails."""
    import jax

    try:
        with jax.numpy_rank_promotion("raise"):
            return jax.eval_shape(function, *arguments)
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise refuse(f"jax cannot trace {what} ({first_line(error)})") from error


def floats(*shape: int) -> Any:
    """An abstract float32 array of `shape`, for tracing."""
    import jax

    return jax.ShapeDtypeStruct(shape, np.float32)


def evaluated(function: Callable, what: str, refuse: Refuse, *arguments: Any) -> np.ndarray:
    """`function(*arguments)` as a numpy array. Raises `refuse(...)` if it fails."""
    try:
        return np.asarray(function(*arguments))
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise refuse(f"{what} fails ({first_line(error)})") from error


def _check_same_shape(function: Callable, what: str, refuse: Refuse, *shapes: tuple[int, ...]) -> None:
    for shape in shapes:
        out = traced(function, what, refuse, floats(*shape))
        if getattr(out, "shape", None) != shape or out.dtype != np.float32:
            got = f"{out.dtype}{list(out.shape)}" if hasattr(out, "shape") else type(out).__name__
            raise refuse(f"{what} must map float32{list(shape)} to float32{list(shape)}; it gives {got}")


def trial_activation(function: Callable, refuse: Refuse) -> bool:
    """Whether an activation is elementwise. Raises `refuse(...)` if it is not a valid activation."""
    import jax.numpy as jnp

    _check_same_shape(function, "the function", refuse, (4,), (1,))
    points = jnp.asarray([-3.0, -1.0, -0.25, 0.125, 0.5, 2.0])
    together = evaluated(function, "the function", refuse, points)
    if not np.isfinite(together).all():
        raise refuse(f"the function gives {together.tolist()} at {points.tolist()}; all must be finite")
    try:  # a function of whole vectors may reject a scalar, or return another value for it
        _check_same_shape(function, "the function", ValueError, ())
        alone = np.asarray([function(point) for point in points])
    except (Exception, SystemExit):
        return False
    return bool(np.allclose(together, alone, rtol=1e-5, atol=1e-6))


def trial_values(quantile: Callable, mean: Any, square: Any, refuse: Refuse) -> float | None:
    """E min(x, y)^2 of two independent values; None if they can be negative or the quantile decreases.

    Raises `refuse(...)` if the quantile is invalid or the moments do not match it.
    """
    import jax.numpy as jnp

    for name, moment in (("mean", mean), ("square", square)):
        if not isinstance(moment, numbers.Real) or isinstance(moment, bool) or not math.isfinite(moment):
            raise refuse(f"{name} must be a finite number, not {moment!r}")
    _check_same_shape(quantile, "the quantile", refuse, (), (4,), (2, 3))
    middles = (np.arange(POINTS) + 0.5) / POINTS
    x = evaluated(quantile, "the quantile", refuse, jnp.asarray(middles, jnp.float32)).astype(np.float64)
    last = evaluated(quantile, "the quantile", refuse, jnp.float32(1))
    some = [evaluated(quantile, "the quantile", refuse, jnp.float32(u)) for u in middles[:: POINTS // 4]]
    if not np.allclose(some, x[:: POINTS // 4], rtol=1e-5, atol=1e-6):
        raise refuse("the quantile must treat each element alone")
    if not (np.isfinite(x).all() and np.isfinite(last)):
        raise refuse("the quantile must be finite for every u in (0, 1], including 1")
    scale = np.sqrt((x**2).mean())
    for name, given, found, size in (("mean", mean, x.mean(), scale), ("square", square, scale**2, scale**2)):
        if not abs(given - found) <= NEAR * size:
            raise refuse(f"{name} = {given:.6g} does not fit the quantile: by quadrature it is {found:.6g}")
    ordered = x.min() >= 0 and bool((np.diff(x) >= -1e-6).all())
    # the smaller of two uniforms has density 2 (1 - u)
    return float((x**2 * 2 * (1 - middles)).mean()) if ordered else None
