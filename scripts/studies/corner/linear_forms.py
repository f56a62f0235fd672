"""Moments of one or two values where a linear form of them is positive: what the exact loss of a ReLU consists of.

Values are uniform on (0, 1], constant 1, or half-normal (|z|, z standard normal); everything is in closed form or, for
two uniform values, a quadrature that is exact. No function divides without a guard, so coefficients may be 0. All
arguments broadcast. numpy and SciPy, float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

Array = np.ndarray

HALF = np.sqrt(2 / np.pi)  # density of a half-normal value at 0, and its mean
NODES = (0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12))  # Gauss-Legendre on [0, 1], exact for cubics
FAR = 40.0  # standard deviations at which the normal density is 0 in float64


@dataclass(frozen=True)
class Forms:
    """Moments where a linear form is positive.

    one(g, b):    (3, ...): E [1, x, x^2] where g x + b > 0
    two(a, c, b): (6, ...): E [1, x, y, x^2, x y, y^2] where a x + c y + b > 0, for a >= 0 and independent x, y
    """

    one: Callable[[Array, Array], Array]
    two: Callable[[Array, Array, Array], Array]


def _divided(above: Array, below: Array) -> Array:
    """above / below; where below is 0: +-inf with the sign of above, or 0."""
    safe = np.where(below == 0, 1.0, below)
    with np.errstate(over="ignore"):
        return np.where(below == 0, np.where(above == 0, 0.0, np.copysign(np.inf, above)), above / safe)


def _constant_one(g: Array, b: Array) -> Array:
    return np.stack([np.asarray(g + b > 0, float)] * 3)


def _constant_two(a: Array, c: Array, b: Array) -> Array:
    return np.stack([np.asarray(a + c + b > 0, float)] * 6)


def _uniform_one(g: Array, b: Array) -> Array:
    g, b = np.broadcast_arrays(np.asarray(g, float), np.asarray(b, float))
    s = np.clip(_divided(-b, g), 0, 1)
    above = np.stack([(1 - s**k) / k for k in (1, 2, 3)])
    below = np.stack([s**k / k for k in (1, 2, 3)])
    flat = np.stack([(b > 0) / k for k in (1, 2, 3)])
    return np.where(g > 0, above, np.where(g < 0, below, flat))


def _uniform_two(a: Array, c: Array, b: Array) -> Array:
    """For each y the x above a kink -(c y + b) / a, clipped to [0, 1]; cubic in y between the two kinks of the clip."""
    a, c, b = np.broadcast_arrays(*(np.asarray(v, float) for v in (a, c, b)))
    ends = np.sort(np.clip([_divided(-b, c), _divided(-(a + b), c)], 0, 1), axis=0)
    edges = [np.zeros_like(a), *ends, np.ones_like(a)]
    out = np.zeros((6, *a.shape))
    for low, high in pairwise(edges):
        for node in NODES:
            y = low + node * (high - low)
            form = c * y + b
            s = np.where(a > 0, np.clip(_divided(-form, a), 0, 1), form <= 0)
            x = [(1 - s**k) / k for k in (1, 2, 3)]
            out += (high - low) / 2 * np.stack([x[0], x[1], x[0] * y, x[2], x[1] * y, x[0] * y * y])
    return out


def _density(t: Array) -> Array:
    return np.exp(-np.minimum(t * t, FAR**2) / 2) / np.sqrt(2 * np.pi)


def _half_normal_one(g: Array, b: Array) -> Array:
    g, b = np.broadcast_arrays(np.asarray(g, float), np.asarray(b, float))
    s = np.clip(_divided(-b, g), 0, FAR)
    tail, density = special.erfc(s / np.sqrt(2)), HALF * np.exp(-s * s / 2)
    above = np.stack([tail, density, tail + s * density])
    whole = np.stack([np.ones_like(s), np.full_like(s, HALF), np.ones_like(s)])
    return np.where(g > 0, above, np.where(g < 0, whole - above, whole * (b > 0)))


def _half_normal_two(a: Array, c: Array, b: Array) -> Array:
    """By parts: E x f(x) = f(0) density(0) + E f'(x). Lines are at `distance` from the origin, along `angle`.

    The probability that the form is positive is Owen's function T of distance and slopes; its derivatives in a, c
    and b are integrals of the normal density along the line, within the quadrant.
    """
    a, c, b = np.broadcast_arrays(*(np.asarray(v, float) for v in (a, c, b)))
    length = np.hypot(a, c)
    cos, sin = (np.where(length > 0, _divided(v, length), e) for v, e in ((a, 1.0), (c, 0.0)))
    distance = np.clip(_divided(-b, length), -FAR, FAR)
    first = _half_normal_one(a, b)  # moments of x at y = 0
    second = _half_normal_one(c, b)  # moments of y at x = 0
    # the part of the line inside the quadrant
    along = np.where(sin > 0, distance >= 0, distance < 0)  # if cos = 0, the line is parallel to an edge
    low = np.where(cos > 0, -distance * sin / np.where(cos > 0, cos, 1.0), np.where(along, -np.inf, np.inf))
    cut = distance * cos / np.where(sin == 0, 1.0, sin)
    high = np.where(sin > 0, cut, np.inf)
    low = np.where(sin < 0, np.maximum(low, cut), low)
    high = np.where((sin == 0) & (distance < 0), -np.inf, high)
    inside = (high > low) & (length > 0)
    low, high = np.clip(low, -FAR, FAR), np.clip(high, -FAR, FAR)
    scale = np.where(inside, 4 * _density(distance) / np.where(length > 0, length, 1.0), 0.0)
    mass, step = special.ndtr(high) - special.ndtr(low), _density(high) - _density(low)
    line = scale * mass
    line_x = scale * (distance * cos * mass + sin * step)
    line_y = scale * (distance * sin * mass - cos * step)
    some = np.where(length > 0, _beyond(distance, cos, sin), b > 0)
    return np.stack(
        [
            some,
            HALF * second[0] + a * line,
            HALF * first[0] + c * line,
            some + a * line_x,
            HALF * second[1] + a * line_y,
            some + c * line_y,
        ]
    )


def _beyond(distance: Array, cos: Array, sin: Array) -> Array:
    """P(x cos + y sin > distance) for half-normal x, y, cos >= 0."""
    far, near = _sector(np.abs(distance), cos, sin), _sector(np.abs(distance), -cos, -sin)
    return np.where(distance >= 0, far, 1 - near)


def _sector(distance: Array, cos: Array, sin: Array) -> Array:
    """The same for distance >= 0 and any direction: T at the slopes of the quadrant's ends against the direction."""
    angle = np.arctan2(sin, cos)
    right = np.pi / 2
    ends = np.clip([-angle, right - angle], -right, right)
    slopes = np.where(np.abs(ends) >= right, np.copysign(np.inf, ends), np.tan(ends))
    return 4 * (special.owens_t(distance, slopes[1]) - special.owens_t(distance, slopes[0]))


FORMS = {
    "uniform": Forms(_uniform_one, _uniform_two),
    "constant": Forms(_constant_one, _constant_two),
    "half-normal": Forms(_half_normal_one, _half_normal_two),
}
