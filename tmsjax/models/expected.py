"""The exact expected loss of ReLU models with few features, by piecewise quadrature instead of samples.

The loss is the sum over features and the mean over samples: E sum_i I_i (x_i - x'_i)^2, x' = ReLU(W^T W x + b), with
active values uniform on [0, 1]. All functions are elementwise and work with numpy (float64, without jax) and with jax.

Method: the pre-activation of output i is a x_i + z with `a = |W_i|^2` and z = b_i + sum_j c_j x_j over the other active
features, c_j = W_i . W_j. The integral over x_i has a closed form (`_own_integral`), a piecewise cubic in z. The
integrals over the other features are nested. As a function of x_j, each integrand is a polynomial between known kinks,
so that Gauss-Legendre quadrature on every piece is exact. Nothing is divided by an a or c that can be 0. Derived here;
tests/models/test_expected.py checks it against quadrature, closed forms for a cube (Lasserre's formula) and Monte
Carlo.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from tmsjax.kinds import Drawn, drawn_by
from tmsjax.kinds.arrays import Array, Floats, Numbers

NEAR_ZERO = 1e-30
Given = Floats | Sequence  # an array or nested lists
Row = Sequence[Floats]  # over features
Pair = tuple[Numbers, Numbers]
Term = tuple[Floats, list[Floats], Floats, list[Numbers]]
MOST_FEATURES = 5  # pieces x nodes of the nested integrals: 6, 90, 2430, 165,240 points for 2, 3, 4, 5 features


def relu_loss(
    W: Given, b: Given, importance: Given, probability: Given, *, activity: str = "independent", **options: float
) -> Floats:
    """Exact loss of x' = ReLU(W^T W x + b), of shape (...); numpy or jax.

    With numpy, memory grows with n: 15 points per model for n = 3, 405 for n = 4, 27,540 for n = 5.

    Args:
        W: (..., m, n), with n <= 5 unless at most one feature is active at a time; any m.
        b: (..., n), like all that follow.
        importance: At least 0.
        probability: Of each feature, in (0, 1].
        activity: Which features are active together, by name.
        options: Of the activity, such as `size=2`.

    Raises:
        ValueError: There are too many features, the last axes differ, or no exact loss is known for the activity.

    Examples:
        >>> W, b = np.array([[1.0, -1.0]]), np.zeros(2)
        >>> round(float(tmsjax.exact_loss(W, b, np.ones(2), np.full(2, 0.5))), 4)  # 2 p^2 E min(x, y)^2
        0.0833
    """
    arrays = (W, b, importance, probability)
    W, b, importance, probability = (v if isinstance(v, Array) else np.asarray(v, float) for v in arrays)
    n = W.shape[-1] if W.ndim > 1 else 0
    if not n or any(v.shape[-1:] != (n,) for v in (b, importance, probability)):
        shapes = ", ".join(str(v.shape) for v in (W, b, importance, probability))
        raise ValueError(f"W must be (..., m, n) and b, importance, probability (..., n), not {shapes}")
    drawn = drawn_by(activity, n, **options)
    if drawn.activity.exactly is None:
        raise ValueError(f"no exact loss is known for activity {activity!r}")
    if drawn.most_active() == 1:
        gram = W.__array_namespace__().swapaxes(W, -1, -2) @ W
        return relu_loss_of_single_features(gram, b, importance, drawn.marginal(probability))
    if n > MOST_FEATURES:
        raise ValueError(f"the exact loss is known for at most {MOST_FEATURES} features, not {n}")
    lists = [[(W[..., i] * W[..., j]).sum(-1) for j in range(n)] for i in range(n)]
    each = [[v[..., i] for i in range(n)] for v in (b, importance, probability)]
    return relu_loss_elementwise(lists, each[0], each[1], each[2], drawn)


def relu_loss_elementwise(gram: Sequence[Row], b: Row, importance: Row, probability: Row, drawn: Drawn) -> Floats:
    """`relu_loss` from gram[i][j] = W_i . W_j and lists over features."""
    n = len(b)
    total: Floats = 0  # type: ignore[assignment]  # every feature adds an array
    looped: dict[int, list[Term]] = {}  # by size of the active set
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(min(n, drawn.most_active() + 1)):
            for active in combinations(others, size):
                off, on = active, tuple(sorted((i, *active)))
                if not (drawn.possible(off) or drawn.possible(on)):
                    continue
                overlaps = [gram[i][j] for j in active]
                shares = [drawn.exactly(probability, s) if drawn.possible(s) else None for s in (off, on)]
                if n > 3 and size and not isinstance(b[i], (np.ndarray, np.generic)):
                    weights: list[Numbers] = [b[i] * 0 if s is None else importance[i] * s for s in shares]
                    looped.setdefault(size, []).append((gram[i][i], overlaps, b[i], weights))
                    continue
                means = _means(gram[i][i], overlaps, b[i])
                losses = [share * mean for share, mean in zip(shares, means, strict=True) if share is not None]
                total = total + importance[i] * sum(losses[1:], losses[0])
    return total + sum(map(_looped_sum, looped.values()))


def _looped_sum(terms: list[Term]) -> Floats:
    """The sum over terms (a, overlaps, z, weights) of weights x `_means`, as a jax loop.

    The loop compiles one body for all active sets of a size. Unrolled, 4 features take 3 times as long to compile.
    """
    import jax

    @jax.checkpoint
    def add(total: Floats, term: Term) -> tuple[Floats, None]:
        a, overlaps, z, weights = term
        square, error = _means(a, overlaps, z)
        return total + weights[0] * square + weights[1] * error, None

    stacked = jax.tree.map(lambda *parts: jax.numpy.stack(parts), *terms)
    return jax.lax.scan(add, jax.numpy.zeros_like(terms[0][2]), stacked)[0]


def relu_loss_of_single_features(gram: Floats, b: Floats, importance: Floats, marginal: Floats) -> Floats:
    """`relu_loss` from W^T W (..., n, n) if at most one feature is active, feature i with probability marginal_i.

    The pre-activation of output i is a x_i + b_i if feature i is active, and c x_j + b_i if feature j is.
    """
    xp = gram.__array_namespace__()
    n = gram.shape[-1]
    eye = xp.broadcast_to(xp.eye(n, dtype=gram.dtype), gram.shape)
    own = (gram * eye).sum(-1)
    column = xp.broadcast_to(b[..., :, None], gram.shape)
    of_others = _means(xp.broadcast_to(own[..., :, None], gram.shape), [gram], column)[0]
    square, error = _means(own, [], b)
    none_active = 1 - marginal.sum(-1, keepdims=True)
    interference = (marginal[..., None, :] * of_others * (1 - eye)).sum(-1)
    return (importance * (marginal * error + interference + none_active * square)).sum(-1)


def _means(a: Floats, overlaps: Row, z: Floats) -> Pair:
    """E ReLU(z')^2 and E (x - ReLU(a x + z'))^2 over x and y uniform on [0, 1], z' = z + sum_j overlaps_j y_j."""
    if not overlaps:
        return _relu(z) ** 2, _own_integral(a, z)
    first, inner = overlaps[0], overlaps[1:]
    sums = [sum(some, start=z) for size in range(len(inner) + 1) for some in combinations(inner, size)]
    inverse = _inverse(first)
    edges = _sorted([_clip01(-s * inverse) for s in sums] + [_clip01(-(s + a) * inverse) for s in sums])
    nodes, weights = _gauss_legendre(3 + len(inner))
    pieces = list(zip([0, *edges], [*edges, 1], strict=True))
    halves, middles = [(v - u) / 2 for u, v in pieces], [(v + u) / 2 for u, v in pieces]
    points = [middle + half * x for half, middle in zip(halves, middles, strict=True) for x in nodes]
    shares = [half * w for half in halves for w in weights]
    if not inner:  # unrolled: faster than small arrays with one more axis
        means = [_means(a, inner, z + first * y) for y in points]
        square, error = (sum(w * m[k] for w, m in zip(shares, means, strict=True)) for k in (0, 1))
        return square, error
    return _outer_means(a, first, inner, z, points, shares)


def _outer_means(
    a: Floats, first: Floats, inner: Row, z: Floats, points: Sequence[Numbers], shares: Sequence[Numbers]
) -> Pair:
    """Sums of shares x `_means` at the points of one outer feature: on a new leading axis in numpy, by a loop in jax.

    In jax, arrays with this axis were 5 times slower, since they pass through memory, while the body of the loop is one
    kernel. The checkpoint keeps residuals out of memory.
    """
    xp = z.__array_namespace__()
    y, w = xp.stack(points), xp.stack(shares)
    if xp is np:
        square, error = _means(a, inner, z + first * y)
        return (w * square).sum(0), (w * error).sum(0)
    import jax

    @jax.checkpoint
    def add(sums: Pair, point: Pair) -> tuple[Pair, None]:
        square, error = _means(a, inner, z + first * point[0])
        return (sums[0] + point[1] * square, sums[1] + point[1] * error), None

    zero = xp.zeros_like(y[0])
    return jax.lax.scan(add, (zero, zero), (y, w))[0]


def _gauss_legendre(degree: int) -> tuple[list[float], list[float]]:
    """Nodes on [-1, 1] and weights that integrate polynomials up to `degree` exactly."""
    nodes, weights = np.polynomial.legendre.leggauss((degree + 2) // 2)
    return nodes.tolist(), weights.tolist()


def _own_integral(a: Floats, z: Floats) -> Floats:
    """The integral over x in [0, 1] of (x - ReLU(a x + z))^2, a >= 0: split at the kink t = -z/a."""
    t = _kink(a, z)
    d = 1 - a
    return (t**3 + d**2 * (1 - t**3)) / 3 - d * z * (1 - t**2) + z**2 * (1 - t)


def _kink(a: Floats, z: Floats) -> Floats:
    """clip(-z/a, 0, 1) without 0/0, as a constant to differentiation, since the integrand is continuous there."""
    xp = z.__array_namespace__()
    inside = (z < 0) & (z > -a)
    return _constant(xp.where(inside, -z * _inverse(a), xp.where(z < 0, xp.ones_like(z), xp.zeros_like(z))))


def _sorted(values: list[Floats]) -> list[Floats]:
    """`values` in ascending order, elementwise, as constants to differentiation (integrands are continuous there)."""
    out = list(values)
    for end in range(len(out) - 1, 0, -1):
        for k in range(end):
            u, v = out[k], out[k + 1]
            xp = u.__array_namespace__()
            out[k], out[k + 1] = xp.where(u < v, u, v), xp.where(u < v, v, u)
    return [_constant(v) for v in out]


def _inverse(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / x, and 1 near 0. Computed once for all kinks, since divisions dominated the time of the exact loss."""
    xp = x.__array_namespace__()
    return 1 / xp.where((x > NEAR_ZERO) | (x < -NEAR_ZERO), x, xp.ones_like(x))


def _relu(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    xp = z.__array_namespace__()
    return xp.where(z > 0, z, xp.zeros_like(z))


def _clip01(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    xp = z.__array_namespace__()
    return xp.where(z > 0, xp.where(z < 1, z, xp.ones_like(z)), xp.zeros_like(z))


def _constant(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` as a constant to jax's differentiation."""
    if isinstance(x, (np.ndarray, np.generic)):
        return x
    from jax.lax import stop_gradient

    return stop_gradient(x)
