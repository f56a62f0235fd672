"""The two branches at the jump of the one-neuron phase diagram, under weight decay and under gradient noise.

Two features of importances 1 and r < 1, both active with probability p, in one dimension; uniform values. A model is a
row theta = (w1, w2, b1, b2). The dedicated branch has w2 near 0, the superposed one w2 near -0.7 w1. Both are local
minima at the jump; a little above it in p, the superposed one ends. Letters: k cells (r, p), each one row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc
from studies.corner.one_neuron import one_neuron_loss

DEDICATED, SUPERPOSED = "dedicated", "superposed"
STARTS = {DEDICATED: (1.0, 0.0), SUPERPOSED: (1.03, -0.72)}  # w1, w2 from which Newton's method starts
STEP = 1e-6  # of the differences of gradients that make a Hessian
ITERATIONS = 60
CONVERGED = 1e-12
LONGEST_STEP = 0.2
SAMPLES = 2**15  # for the covariance of gradients
NEAR = np.arange(-0.03, 0.0301, 0.002)
OFFSETS = np.concatenate([np.arange(-0.4, -0.035, 0.01), NEAR])  # decades of p from the jump, where losses are compared
DRAWS = 1000  # of normal parameters, for medians of excess losses


@dataclass(frozen=True)
class Ends:
    """Minima of loss + sum_i c_i theta_i^2 / 2: theta (k, 4), loss (k,) without and penalised (k,) with the sum.

    gradient (k,): norm of the gradient that is left.
    """

    theta: np.ndarray
    loss: np.ndarray
    penalised: np.ndarray
    gradient: np.ndarray


def cells(ratio: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(importance, probability), both (k, 2)."""
    ratio, p = np.broadcast_arrays(np.asarray(ratio, float), np.asarray(p, float))
    return np.stack([np.ones_like(ratio), ratio], -1), np.stack([p, p], -1)


def descend(name: str, ratio: np.ndarray, p: np.ndarray, decay: np.ndarray | float = 0.0) -> Ends:
    """The minimum on a branch. decay: c, broadcastable to (k, 4). NaN where Newton's method leaves the branch."""
    importance, probability = cells(ratio, p)
    c = np.broadcast_to(np.asarray(decay, float), (len(importance), 4))
    w1, w2 = STARTS[name]
    mean = probability[:, 0] / 2
    theta = np.stack([np.full_like(mean, w1), np.full_like(mean, w2), 0.1 * mean, mean * (1 - w2 * w2 + w1 * w2)], 1)

    rows = np.arange(len(theta))
    for _ in range(ITERATIONS):
        here = theta[rows]
        g = one_neuron_loss(here, importance[rows], probability[rows])[1] + c[rows] * here
        active = np.linalg.norm(g, axis=1) > CONVERGED
        if not active.any():
            break
        rows, here, g = rows[active], here[active], g[active]
        hessian = curvature(here, importance[rows], probability[rows]) + np.eye(4) * c[rows][:, None]
        value, vector = np.linalg.eigh(hessian)
        step = -(vector @ ((vector.swapaxes(1, 2) @ g[..., None]) / np.maximum(np.abs(value), 1e-3)[..., None]))[..., 0]
        step *= np.minimum(1, LONGEST_STEP / np.maximum(np.linalg.norm(step, axis=1), 1e-30))[:, None]
        theta[rows] = here + step
    loss, gradient = one_neuron_loss(theta, importance, probability)
    size = np.linalg.norm(gradient + c * theta, axis=1)
    superposed = (np.abs(theta[:, 1]) > 0.3) & (theta[:, 0] * theta[:, 1] < 0)
    lost = (superposed != (name == SUPERPOSED)) | (size > 1e-8)
    theta = np.where(lost[:, None], np.nan, theta)
    loss = np.where(lost, np.nan, loss)
    return Ends(theta, loss, loss + (c * theta**2).sum(1) / 2, np.where(lost, np.nan, size))


def curvature(theta: np.ndarray, importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Hessians (k, 4, 4) of the loss, by central differences of the exact gradient."""
    moves = STEP * np.concatenate([np.eye(4), -np.eye(4)])
    around = one_neuron_loss(theta[:, None] + moves, importance[:, None], probability[:, None])[1]
    hessian = (around[:, :4] - around[:, 4:]) / (2 * STEP)
    return (hessian + hessian.swapaxes(1, 2)) / 2


def covariance(theta: np.ndarray, importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The covariance (4, 4) of the gradient of one sample's loss, for theta (4,), importance and probability (2,)."""
    return np.cov(gradients(theta, importance, probability).T)


def gradients(theta: np.ndarray, importance: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The gradients (SAMPLES, 4) of the losses of single samples, which are the points of a Sobol' net."""
    u = qmc.Sobol(2, scramble=True, rng=np.random.default_rng(0)).random(SAMPLES)
    x = np.maximum(0, 1 - u / probability)
    w, b = theta[:2], theta[2:]
    h = x @ w
    out = h[:, None] * w + b
    error = 2 * importance * np.where(out > 0, out - x, 0)
    of_w = error * h[:, None] + (error @ w)[:, None] * x
    return np.concatenate([of_w, error], 1)


def change(difference: np.ndarray) -> np.ndarray:
    """The offset at which superposition ends, for rows of `difference` (k, OFFSETS): superposed minus dedicated loss.

    Where it rises through 0 (linear interpolation), or else where the superposed branch ends (NaN) while it is lower.
    NaN if it is nowhere lower.
    """
    out = np.full(len(difference), np.nan)
    for k, row in enumerate(difference):
        lower = np.flatnonzero(row < 0)
        if len(lower):
            i = lower[-1]
            after = row[i + 1] if i + 1 < len(row) else np.nan
            part = 0.5 if np.isnan(after) else row[i] / (row[i] - after)
            out[k] = OFFSETS[i] + part * (OFFSETS[min(i + 1, len(row) - 1)] - OFFSETS[i])
    return out


def differences(
    ratio: np.ndarray, jump: np.ndarray, decay: dict[str, np.ndarray] | float = 0.0
) -> dict[str, np.ndarray]:
    """Losses of the superposed minus the dedicated branch, (k, offsets), at OFFSETS from the probabilities `jump`.

    decay: c, or c of each branch, broadcastable to (k, 4). "penalised": with the penalty, "plain": without it, at the
    same minima.
    """
    k, many = len(ratio), len(OFFSETS)
    r, p = np.repeat(ratio, many), (jump[:, None] * 10**OFFSETS).reshape(-1)
    found = {}
    for name in (SUPERPOSED, DEDICATED):
        c = decay[name] if isinstance(decay, dict) else decay
        c = np.repeat(np.broadcast_to(np.asarray(c, float), (k, 4)), many, axis=0)
        found[name] = descend(name, r, p, c)
    one, two = found[SUPERPOSED], found[DEDICATED]
    return {
        "penalised": (one.penalised - two.penalised).reshape(k, many),
        "plain": (one.loss - two.loss).reshape(k, many),
    }


def ends(ratio: np.ndarray, jump: np.ndarray) -> np.ndarray:
    """How far above the jump the superposed branch ends, (k,), in decades of p, to half a step of OFFSETS."""
    lasts = np.isfinite(differences(ratio, jump)["plain"]).sum(1) - 1
    return OFFSETS[lasts] + (OFFSETS[-1] - OFFSETS[-2]) / 2


@dataclass(frozen=True)
class AtJump:
    """Both branches at the jump.

    Attributes:
        theta: parameters (k, 4) by branch.
        hessian: second derivatives (k, 4, 4) of the loss, by branch.
        noise: covariance (k, 4, 4) of one sample's gradient, by branch.
        slope: of the difference of losses (k,), per decade of p.
    """

    theta: dict[str, np.ndarray]
    hessian: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]
    slope: np.ndarray

    def excess(self, name: str, rate: float, batch: int, optimizer: str, best_of: int = 1) -> np.ndarray:
        """The median excess (k,) of the loss over a branch's minimum; the mean for the best of `best_of` models on it.

        In the stationary state of a constant learning rate, to first order: theta^T H theta / 2 of a normal theta.
        """
        C = stationary(self.hessian[name], self.noise[name], rate, batch, optimizer)
        normal = np.random.default_rng(list(STARTS).index(name)).normal(size=(DRAWS, best_of, 4))
        x = np.einsum("dbi,kji->kdbj", normal, np.linalg.cholesky(C))
        least = (np.einsum("kdbi,kij->kdbj", x, self.hessian[name]) * x).sum(-1).min(-1) / 2
        return least.mean(1) if best_of > 1 else np.median(least, axis=1)

    def shift(self, excess: dict[str, np.ndarray]) -> np.ndarray:
        """The shift (..., k) in decades of p if each branch's loss is higher by `excess` (..., k); to first order."""
        return (excess[DEDICATED] - excess[SUPERPOSED]) / self.slope


def at_jump(ratio: np.ndarray, jump: np.ndarray) -> AtJump:
    theta, hessian, noise = {}, {}, {}
    importance, probability = cells(ratio, jump)
    for name in STARTS:
        theta[name] = descend(name, ratio, jump).theta
        hessian[name] = curvature(theta[name], importance, probability)
        rows = zip(theta[name], importance, probability, strict=True)
        noise[name] = np.array([covariance(*row) for row in rows])
    small = 1e-3
    sides = []
    for sign in (1, -1):
        p = jump * 10 ** (sign * small)
        sides.append(descend(SUPERPOSED, ratio, p).loss - descend(DEDICATED, ratio, p).loss)
    return AtJump(theta, hessian, noise, (sides[0] - sides[1]) / (2 * small))


def stationary(hessian: np.ndarray, noise: np.ndarray, rate: float, batch: int, optimizer: str) -> np.ndarray:
    """The covariance C (k, 4, 4) of the parameters in the stationary state of a small constant learning rate.

    A C + C A^T = rate * D noise D / batch with A = D H. Gradient descent: D = 1. Adam and AdamW: D_ii^2 =
    batch / noise_ii, since the second moment of a batch's gradient at a minimum is its variance; momentum does not
    change C to first order in the rate.
    """
    eye, out = np.eye(4), []
    for H, S in zip(hessian, noise, strict=True):
        D = eye if optimizer == "sgd" else np.diag(np.sqrt(batch / np.diag(S)))
        A, Q = D @ H, rate * D @ S @ D / batch
        C = np.linalg.solve(np.kron(A, eye) + np.kron(eye, A), Q.reshape(-1)).reshape(4, 4)
        out.append((C + C.T) / 2)
    return np.array(out)


def decoupled(noise: np.ndarray, decay: float, batch: int) -> np.ndarray:
    """c (k, 4) of the penalty to which AdamW's decay amounts: decay * sqrt(noise_ii / batch).

    In the stationary state gradient_i / sqrt(noise_ii / batch) = -decay theta_i on average.
    """
    return decay * np.sqrt(np.diagonal(noise, axis1=1, axis2=2) / batch)
