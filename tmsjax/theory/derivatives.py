"""Value, gradient and Hessian of the exact loss of ReLU models, in one pass and elementwise over solutions.

Automatic differentiation of `models.expected` treats the kink of the innermost integral as a constant, which is right
for gradients only. Here second derivatives include the kink's movement. The loss is a sum over outputs i and sets of
active features; each term depends on a = |W_i|^2, z = b_i and the overlaps c_j = W_i . W_j with the other active
features. Its derivatives follow from those of the closed integral over x_i, integrated over the other features by the
same piecewise Gauss-Legendre quadrature. The chain rule then leads to W and b. Derived here; tests/theory/
test_derivatives.py checks it against finite differences and `models.expected`.

Letters: k solutions, t terms of one size, d = n (m + 1) parameters (n m without bias).
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.kinds import Drawn

NEAR_ZERO = 1e-30


def derivatives(theta: list, importance: list, probability: list, drawn: Drawn, bias: bool) -> tuple:
    """The loss (k,), its gradient (d entries (k,)) and the Hessian's lower triangle (rows of entries (k,)).

    theta: the entries of W row by row, then those of b if there is a `bias`; each a vector (k,), like the entries of
    `importance` and `probability`, one per feature.
    """
    n = len(importance)
    weights = theta[:-n] if bias else theta
    W = [weights[start : start + n] for start in range(0, len(weights), n)]
    b = theta[-n:] if bias else [jnp.zeros_like(theta[0])] * n
    gram = [[sum(row[i] * row[j] for row in W) for j in range(n)] for i in range(n)]
    value: Any = 0
    slopes = [[0] * (n + 1) for _ in range(n)]  # by output: with respect to gram[i][0], ..., gram[i][n - 1], b[i]
    curvatures = [[[0] * (n + 1) for _ in range(n + 1)] for _ in range(n)]
    for size in range(min(n, drawn.most_active() + 1)):
        terms = _terms(size, gram, b, importance, probability, drawn)
        if not terms:
            continue
        arrays = [jnp.stack(parts) for parts in zip(*(term[2] for term in terms), strict=True)]
        sums = _integrated(arrays[0], list(arrays[4:]), arrays[1], (arrays[2], arrays[3]))
        for t, (i, active, _) in enumerate(terms):
            names = [i, n, *reversed(active)]  # the order of the derivatives: a, z, innermost overlap first
            value = value + sums[0][t]
            for u, name in enumerate(names):
                slopes[i][name] = slopes[i][name] + sums[1][u][t]
                for v, other in enumerate(names):
                    low, high = min(u, v), max(u, v)
                    curvatures[i][name][other] = curvatures[i][name][other] + sums[2][high][low][t]
    value, slopes, curvatures = jax.lax.optimization_barrier((value, slopes, curvatures))
    return value, *_chained(W, slopes, curvatures, bias)


def _terms(size: int, gram: list, b: list, importance: list, probability: list, drawn: Drawn) -> list:
    """(i, other active features, [a, z, weight if i is inactive, weight if it is active, *overlaps]) of every term."""
    n, zero = len(b), jnp.zeros_like(b[0])
    terms = []
    for i in range(n):
        for active in combinations([j for j in range(n) if j != i], size):
            sets = (active, tuple(sorted((i, *active))))
            if any(drawn.possible(s) for s in sets):
                shares = [drawn.exactly(probability, s) if drawn.possible(s) else zero for s in sets]
                overlaps = [gram[i][j] for j in active]
                terms.append((i, active, [gram[i][i], b[i], *(importance[i] * s for s in shares), *overlaps]))
    return terms


def _integrated(a: Any, overlaps: list, z: Any, weights: tuple) -> tuple:
    """Value, gradient and lower Hessian of E[w_0 ReLU(z')^2 + w_1 (x - ReLU(a x + z'))^2], z' = z + sum_j c_j y_j.

    With respect to a, z and the overlaps c, the last of them first. x and y_j are uniform on [0, 1].
    """
    if not overlaps:
        return _innermost(a, z, *weights)
    first, inner = overlaps[0], overlaps[1:]
    pieces, shares = _quadrature(a, first, inner, z)

    def add(sums: Any, point: tuple[Any, Any]) -> tuple:
        return jax.tree.map(jnp.add, sums, _at(point[0], point[1], a, first, inner, z, weights)), None

    zeros = jax.tree.map(
        lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(lambda: _at(z, z, a, first, inner, z, weights))
    )
    return jax.lax.scan(add, zeros, (jnp.stack(pieces), jnp.stack(shares)))[0]


def _at(y: Any, share: Any, a: Any, first: Any, inner: list, z: Any, weights: tuple) -> tuple:
    """`_integrated` over the inner features at one y of the first, times its share; c_1 acts as y z does."""
    value, slope, curvature = _integrated(a, inner, z + first * y, tuple(share * w for w in weights))
    of_z = [curvature[1][0], *(curvature[v][1] for v in range(1, len(slope)))]
    return value, [*slope, y * slope[1]], [*curvature, [*(y * c for c in of_z), y * y * curvature[1][1]]]


def _innermost(a: Any, z: Any, silent: Any, active: Any) -> tuple:
    """silent ReLU(z)^2 + active J, J = integral over x in [0, 1] of (x - ReLU(a x + z))^2; derivatives by a and z.

    The kink t = clip(-z/a, 0, 1) moves by dt/dz = -1/a and dt/da = -t/a inside (0, 1).
    """
    inside = (z < 0) & (z > -a)
    inverse = jnp.where(inside, 1 / jnp.where(inside, a, jnp.ones_like(a)), jnp.zeros_like(a))
    t = jnp.where(inside, -z * inverse, jnp.where(z < 0, jnp.ones_like(z), jnp.zeros_like(z)))
    d, t2 = 1 - a, t * t
    t3, moved = t2 * t, 2 * t * inverse
    r1, r2, r3 = 1 - t, 1 - t2, 1 - t3
    positive = jnp.where(z > 0, silent, jnp.zeros_like(z))
    value = positive * z * z + active * ((t3 + d * d * r3) / 3 - d * z * r2 + z * z * r1)
    by_a = active * (z * r2 - d * r3 * (2 / 3))
    by_z = 2 * positive * z + active * (2 * z * r1 - d * r2)
    by_zz = 2 * positive + active * (2 * r1 - moved)
    by_az = active * (r2 - t * moved)
    by_aa = active * (r3 * (2 / 3) - t2 * moved)
    return value, [by_a, by_z], [[by_aa], [by_az, by_zz]]


def _quadrature(a: Any, first: Any, inner: list, z: Any) -> tuple[list, list]:
    """Points and weights on [0, 1] that are exact between the kinks of the integrand over the first feature."""
    sums = [sum(some, start=z) for size in range(len(inner) + 1) for some in combinations(inner, size)]
    flat = (first < NEAR_ZERO) & (first > -NEAR_ZERO)
    inverse = 1 / jnp.where(flat, jnp.ones_like(first), first)
    edges = _sorted([jnp.clip(-v * inverse, 0, 1) for s in sums for v in (s, s + a)])
    nodes, weights = np.polynomial.legendre.leggauss((5 + len(inner)) // 2)
    points, shares = [], []
    for low, high in zip([jnp.zeros_like(z), *edges], [*edges, jnp.ones_like(z)], strict=True):
        half, middle = (high - low) / 2, (high + low) / 2
        points += [middle + half * x for x in nodes.tolist()]
        shares += [half * w for w in weights.tolist()]
    return points, shares


def _sorted(values: list) -> list:
    out = list(values)
    for end in range(len(out) - 1, 0, -1):
        for k in range(end):
            out[k], out[k + 1] = jnp.minimum(out[k], out[k + 1]), jnp.maximum(out[k], out[k + 1])
    return out


def _chained(W: list, slopes: list, curvatures: list, bias: bool) -> tuple[list, list]:
    """Gradient and lower Hessian with respect to theta from those with respect to each output's gram row and bias."""
    m, n = len(W), len(W[0])
    size = n * (m + bias)
    gradient: list = [0] * size
    hessian: list = [[0] * (row + 1) for row in range(size)]

    def add(p: int, q: int, what: Any) -> None:
        hessian[max(p, q)][min(p, q)] = hessian[max(p, q)][min(p, q)] + what

    for i in range(n):
        rows = [_jacobian(W, i, j) for j in range(n)] + ([{m * n + i: 1.0}] if bias else [])
        for u, row in enumerate(rows):
            for p, factor in row.items():
                gradient[p] = gradient[p] + slopes[i][u] * factor
        products: list[dict] = []  # curvature times Jacobian
        for u in range(len(rows)):
            product: dict = {}
            for v, row in enumerate(rows):
                for q, factor in row.items():
                    product[q] = product.get(q, 0) + curvatures[i][u][v] * factor
            products.append(product)
        for row, product in zip(rows, products, strict=True):
            for p, factor in row.items():
                for q, entry in product.items():
                    if q <= p:
                        add(p, q, factor * entry)
        for h in range(m):
            for j in range(n):
                add(h * n + i, h * n + j, slopes[i][j] * (2 if i == j else 1))
    zero = jnp.zeros_like(W[0][0])
    return [g + zero for g in gradient], [[v + zero for v in row] for row in hessian]


def _jacobian(W: list, i: int, j: int) -> dict:
    """The derivatives of W_i . W_j by the entries of theta that it depends on."""
    n = len(W[0])
    if i == j:
        return {h * n + i: 2 * row[i] for h, row in enumerate(W)}
    return {h * n + i: row[j] for h, row in enumerate(W)} | {h * n + j: row[i] for h, row in enumerate(W)}
