"""ReLU models of one-hot data: the exact loss in closed form, and its critical regular polygons.

Exactly one of n features is active, feature j with share q_j (1/n unless given), its value uniform on [0, 1];
importances are 1. Output i then sees W_i . W_j x + b_i, so that the loss is a sum of integrals over one variable,

    sum_i [q_i own(|W_i|^2, b_i) + sum_{j != i} q_j cross(W_i . W_j, b_i)].

numpy and SciPy only, float64.
Source: Chen, Lau, Mendel, Wei, Murfet 2023 (arXiv 2310.06301), who give the loss and the k-gons; derived here, and
checked by tests/theory/test_one_hot.py against `models.expected` and their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize

LARGEST_ZERO_LOSS = 4  # features that a plane holds without interference, at right angles or more
SILENT = -0.5  # bias of an excluded feature that is never active; any negative number has the same loss
STEP = 1e-5  # of the differences of gradients in `one_hot_curvature`
START_SCALE = 0.6  # standard deviation of random weights at the start of a descent
SAME = 1e-7  # difference of the losses of two minima that count as one


@dataclass(frozen=True)
class KGon:
    """A critical point: features 0 to k - 1 on a regular k-gon, the others at W_i = 0.

    positive: how many of the others have the bias 1 / (2 n), at which their output is best; the rest are silent. The
    paper writes k^{s+} for `positive` = s.
    """

    k: int
    positive: int
    W: np.ndarray  # (2, n)
    b: np.ndarray  # (n,)
    norm: float  # of the features of the polygon
    bias: float  # of these
    loss: float


@dataclass(frozen=True)
class OneHotMinima:
    """k local minima by ascending loss: W (k, m, n), b (k, n), loss (k,), gradient norm (k,).

    count (k,): the number of starts that led to each.
    """

    W: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    count: np.ndarray


def one_hot_loss(W: np.ndarray, b: np.ndarray, share: np.ndarray | None = None) -> np.ndarray:
    """The exact loss (...,) of x' = ReLU(W^T W x + b): sum over features, mean over samples.

    W (..., m, n), b (..., n). share (..., n): how often each feature is the active one, adding up to 1; None: 1/n.
    """
    return _terms(np.asarray(W, float), np.asarray(b, float), share)[0]


def one_hot_gradient(W: np.ndarray, b: np.ndarray, share: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of `one_hot_loss`, shaped like W and b. It is continuous, also where b_i = 0.

    W (..., m, n), b and share (..., n) as in `one_hot_loss`.
    """
    return _terms(np.asarray(W, float), np.asarray(b, float), share)[1:]


def one_hot_curvature(W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Eigenvalues (n (m + 1),), ascending, of the Hessian at W (m, n), b (n,), by central differences of the gradient.

    Where a bias is exactly 0 the loss is not twice differentiable, and an eigenvalue is the mean of both sides.
    """
    theta = _packed(W, b)
    moved = theta + STEP * np.concatenate([np.eye(len(theta)), -np.eye(len(theta))])
    slopes = _packed(*one_hot_gradient(*_unpacked(moved, np.shape(W))))
    hessian = (slopes[: len(theta)] - slopes[len(theta) :]) / (2 * STEP)
    return np.linalg.eigvalsh((hessian + hessian.T) / 2)


def k_gon(k: int, features: int, positive: int = 0) -> KGon:
    """The critical k-gon of `features` features with `positive` excluded features of positive bias.

    k from 1 to `features`. Up to k = 4, norm 1 and bias 0 reproduce the features of the polygon exactly (for k = 2
    and 3 any angles of 90 degrees and more do); beyond, norm and bias solve the two equations of a critical point.
    Raises ValueError for other numbers, for k = 1 with a positive bias, which is not critical, and if no solution is
    found.
    """
    if not 1 <= k <= features or not 0 <= positive <= features - k or (k == 1 and positive):
        raise ValueError(f"no critical {k}-gon with {positive} positive biases has {features} features")
    square, bias = (1.0, 0.0) if k <= LARGEST_ZERO_LOSS else _corner(k)
    angle = 2 * np.pi * np.arange(features) / k
    used = np.arange(features) < k
    W = np.sqrt(square) * used * np.stack([np.cos(angle), np.sin(angle)])
    b = np.where(used, bias, np.where(np.arange(features) < k + positive, 1 / (2 * features), SILENT))
    return KGon(k, positive, W, b, float(np.sqrt(square)), float(bias), float(one_hot_loss(W, b)))


def one_hot_minima(features: int, hidden: int = 2, *, starts: int = 64, seed: int = 0) -> OneHotMinima:
    """The distinct local minima that BFGS descents from `starts` random models reach, for equal shares.

    features: n. hidden: m. seed: of the random models.
    """
    shape = hidden, features
    rng = np.random.default_rng(seed)

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, *slopes = _terms(*_unpacked(theta, shape), None)
        return float(loss), _packed(*slopes)

    ends = []
    for _ in range(starts):
        start = _packed(START_SCALE * rng.normal(size=shape), np.zeros(features))
        found = optimize.minimize(value, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 3000})
        ends.append((found.fun, np.linalg.norm(found.jac), found.x))
    ends.sort(key=lambda end: end[0])
    first = np.flatnonzero(np.diff([end[0] for end in ends], prepend=-np.inf) > SAME)
    loss, gradient, theta = (np.array(part)[first] for part in zip(*ends, strict=True))
    return OneHotMinima(*_unpacked(theta, shape), loss, gradient, np.diff(first, append=starts))


@cache
def _corner(k: int) -> tuple[float, float]:
    """|W|^2 and b of the critical k-gon of lowest loss: a root of the loss's two derivatives."""
    cosines = np.cos(2 * np.pi * np.arange(1, k) / k)

    def equations(at: np.ndarray) -> np.ndarray:
        a, z = at
        _, by_c, by_z = _cross(a * cosines, np.full(k - 1, z))
        own = _own(np.array(a), np.array(z))
        return np.array([own[1] + by_c @ cosines, own[2] + by_z.sum()])

    roots = []
    for a in np.linspace(1.0, 3.0, 9):
        for z in (-0.2, -0.5, -1.0, -1.5):
            found = optimize.root(equations, [a, z], tol=1e-14)
            a_, z_ = found.x
            if np.abs(equations(found.x)).max() < 1e-12 and -a_ < z_ < 0:
                loss = _own(np.array(a_), np.array(z_))[0] + _cross(a_ * cosines, np.full(k - 1, z_))[0].sum()
                roots.append((float(loss), float(a_), float(z_)))
    if not roots:
        raise ValueError(f"there is no critical {k}-gon")
    return min(roots)[1:]


def _terms(W: np.ndarray, b: np.ndarray, share: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss (...,) and its gradients by W (..., m, n) and b (..., n)."""
    n = W.shape[-1]
    q = np.full(n, 1 / n) if share is None else np.asarray(share, float)
    gram = np.swapaxes(W, -1, -2) @ W
    others = q[..., None, :] * (1 - np.eye(n))
    cross, cross_c, cross_z = (v * others for v in _cross(gram, np.broadcast_to(b[..., :, None], gram.shape)))
    own, own_a, own_z = _own(np.diagonal(gram, axis1=-2, axis2=-1), b)
    by_W = 2 * W * (q * own_a)[..., None, :] + W @ (cross_c + np.swapaxes(cross_c, -1, -2))
    return (q * own + cross.sum(-1)).sum(-1), by_W, q * own_z + cross_z.sum(-1)


def _cross(c: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The integral of ReLU(c x + z)^2 over [0, 1], and its derivatives by c and z."""
    end = c + z
    rises, falls, whole = (z <= 0) & (end > 0), (z > 0) & (end < 0), (z > 0) & (end >= 0)
    slope = np.where(rises | falls, c, 1.0)
    value = np.where(rises, end**3 / (3 * slope), np.where(falls, -(z**3) / (3 * slope), 0.0))
    by_c = np.where(rises, end**2 / slope - end**3 / (3 * slope**2), np.where(falls, z**3 / (3 * slope**2), 0.0))
    by_z = np.where(rises, end**2 / slope, np.where(falls, -(z**2) / slope, 0.0))
    return (
        np.where(whole, z**2 + z * c + c**2 / 3, value),
        np.where(whole, z + 2 * c / 3, by_c),
        np.where(whole, 2 * z + c, by_z),
    )


def _own(a: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The integral of (x - ReLU(a x + z))^2 over [0, 1], split at the kink t; its derivatives by a >= 0 and z."""
    inside = (z < 0) & (z > -a)
    t = np.where(inside, -z / np.where(inside, a, 1.0), np.where(z < 0, 1.0, 0.0))
    d = 1 - a
    value = (t**3 + d**2 * (1 - t**3)) / 3 - d * z * (1 - t**2) + z**2 * (1 - t)
    return value, z * (1 - t**2) - 2 * d * (1 - t**3) / 3, 2 * z * (1 - t) - d * (1 - t**2)


def _packed(W: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([np.reshape(W, (*np.shape(W)[:-2], -1)), b], axis=-1)


def _unpacked(theta: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    size = shape[0] * shape[1]
    return theta[..., :size].reshape(*theta.shape[:-1], *shape), theta[..., size:]
