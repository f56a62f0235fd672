"""The exact optimum of n = 2 ReLU models: multi-start descent on the exact loss, then Newton in float64.

The descent is an ordinary sweep of this engine with loss = "exact" whose instances are (cell, start) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tmsjax import grid, theory
from tmsjax.ensemble import Ensemble
from tmsjax.loader import load_spec
from tmsjax.spec import Spec

DESCENT_STEPS = 800
SIGNED_STARTS = (
    (1.0, 0.1),
    (0.1, 1.0),
    (1.0, -0.1),
    (-0.1, 1.0),
    (0.9, -0.9),
    (0.7, 0.7),
    (1.0, -0.6),
    (-0.6, 1.0),
)


@dataclass(frozen=True)
class Optimum:
    """Global minima of the exact loss for k cells, as found: the best of `starts` descents each.

    W (k, m, 2), b (k, 2), loss (k,), gradient (k,): the norm of the gradient that is left, starts: their number.
    """

    W: np.ndarray
    b: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    starts: int


def exact_optimum(
    importance: np.ndarray, feature_probability: np.ndarray, *, hidden: int = 1, tied: bool = False
) -> Optimum:
    """The optimum for every row of `importance`, `feature_probability` (k, 2); float64.

    Starts: for hidden = 1 the eight sign and size patterns of SIGNED_STARTS, each feature's bias 0 if it starts
    large and p/2 if small. For hidden > 1 the same in the first dimension, and W_2 also has a part between 1 and 0.1
    in the second.
    """
    importance = np.atleast_2d(np.asarray(importance, np.float64))
    probability = np.atleast_2d(np.asarray(feature_probability, np.float64))
    if importance.shape != probability.shape or importance.shape[-1] != 2:
        raise ValueError(f"importance {importance.shape} and feature_probability {probability.shape} must be (k, 2)")
    if not (np.isfinite(importance).all() and (importance >= 0).all()):
        raise ValueError("importance must be finite and not negative")
    if not ((probability > 0) & (probability <= 1)).all():
        raise ValueError("feature_probability must be in (0, 1]")
    cells, inverse = np.unique(np.concatenate([importance, probability], axis=1), axis=0, return_inverse=True)
    importance, probability = cells[:, :2], cells[:, 2:]
    W, b, loss = _descend(importance, probability, hidden, tied)
    best = np.argmin(np.where(np.isfinite(loss), loss, np.inf), axis=1)
    rows = np.arange(len(cells))
    W, b, loss, gradient = theory.refine(W[rows, best], b[rows, best], importance, probability, tied)
    inverse = inverse.reshape(-1)
    return Optimum(W[inverse], b[inverse], loss[inverse], gradient[inverse], len(SIGNED_STARTS))


def _starts(probability: np.ndarray, hidden: int) -> tuple[np.ndarray, np.ndarray]:
    """W (k, starts, m, 2) and b (k, starts, 2) before the descent."""
    patterns = np.array(SIGNED_STARTS)
    W = np.zeros((len(patterns), hidden, 2))
    W[:, 0, :] = patterns
    if hidden > 1:
        W[:, 1, 1] = np.linspace(1, 0.1, len(patterns))
    small = np.abs(patterns) <= 0.1
    b = small[None] * probability[:, None, :] / 2
    return np.broadcast_to(W, (len(probability), *W.shape)), b


def _descend(
    importance: np.ndarray, probability: np.ndarray, hidden: int, tied: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(W, b, loss) of every cell and start after the descent, leading axes (cell, start)."""
    W, b = _starts(probability, hidden)
    cells, starts = W.shape[:2]
    spec = _descent_spec(importance, probability, starts, hidden, tied)
    ensemble = Ensemble(spec)
    table = grid.instances(spec)
    ensemble.table = ensemble.place(
        replace(
            table,
            importance=np.repeat(importance, starts, axis=0).astype(np.float32),
            feature_probability=np.repeat(probability, starts, axis=0).astype(np.float32),
        )
    )
    params = {
        "W": W.reshape(-1, hidden, 2).astype(np.float32),
        "b": b.reshape(-1, 2).astype(np.float32),
    }
    placed = zip(ensemble.init(), ensemble.place(params), strict=True)
    states = [replace(state, params=start) for state, start in placed]
    states = ensemble.advance(states, spec.train.steps)
    params, loss = ensemble.gather(states).params, ensemble.noise_free_loss(states)
    return (
        params["W"].reshape(cells, starts, hidden, 2),
        params["b"].reshape(cells, starts, 2),
        loss.reshape(cells, starts),
    )


def _descent_spec(importance: np.ndarray, probability: np.ndarray, starts: int, hidden: int, tied: bool) -> Spec:
    return load_spec(
        {
            "name": "exact-optimum",
            "model": {"features": 2, "hidden": hidden, "activation": "relu"},
            "axes": {"replica": {"count": starts * len(probability)}},
            "instance": {"feature_probability": 0.5},
            "data": {"activity": "tied" if tied else "independent"},
            "train": {
                "loss": "exact",
                "optimizer": "adam",
                "learning_rate": 2e-2,
                "schedule": "cosine",
                "steps": DESCENT_STEPS,
            },
            "record": {"measures": []},
        }
    )
