"""What happens during training: jumps of recorded values, losses beside them, one frame for all steps.

Works on records of one model over steps (`history_*` of a run), as numpy arrays with steps as the first axis. Source:
Elhage et al. 2022, section "Superposition and learning dynamics".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tmsjax.kinds import REPRESENTED
from tmsjax.kinds.measures import norms

JUMP = 0.2  # least change of a dimensionality in a jump
WINDOW = 4  # recorded steps that a jump takes at most
SETTLED = 0.01  # share of its decrease by which the loss falls at most within WINDOW records after the initial phase


@dataclass(frozen=True)
class Jump:
    """A fast change of one feature's value, from record `start` to record `stop`."""

    feature: int
    start: int
    stop: int
    before: float
    after: float


def jumps(values: np.ndarray, least: float = JUMP, window: int = WINDOW) -> list[Jump]:
    """The jumps in recorded values (step, feature): changes of at least `least` within `window` records.

    Windows that follow each other with such a change of one sign are one jump; it is placed at the largest change.
    """
    change = values[window:] - values[:-window]
    found = []
    for feature, moved in enumerate(change.T):
        signs = np.where(np.abs(moved) >= least, np.sign(moved), 0)
        borders = np.flatnonzero(np.diff(signs)) + 1
        for run in np.split(np.arange(len(signs)), borders):
            if run.size and signs[run[0]]:
                k = int(run[np.argmax(np.abs(moved[run]))])
                before, after = float(values[k, feature]), float(values[k + window, feature])
                found.append(Jump(feature, k, k + window, before, after))
    return sorted(found, key=lambda jump: (jump.start, jump.feature))


def settled(loss: np.ndarray, share: float = SETTLED, window: int = WINDOW) -> int:
    """The record at which the initial phase of the loss (step,) ends, in which most features find a place.

    It is the first record, after half of the whole decrease, from which the loss falls by less than `share` of the
    whole decrease within `window` records; the last record if there is none.
    """
    whole = loss[0] - loss.min()
    fall = loss[:-window] - loss[window:]
    still = (fall < share * whole) & (loss[0] - loss[:-window] >= whole / 2)
    return int(np.argmax(still)) if still.any() else len(loss) - 1


def in_frame_of_last(W: np.ndarray) -> np.ndarray:
    """W (step, m, n) in one orthonormal frame for all steps, that of the last step.

    There the first represented feature points along the first axis, the next one outside that line lies in the plane
    of the first two axes, and so on (for m = 2 the frame of `in_one_frame`). Rotating W does not change the loss.
    """
    m = W.shape[-2]
    axes: list[np.ndarray] = []
    for column in [*W[-1].T[norms(W[-1]) >= REPRESENTED], *np.eye(m)]:
        rest = column - sum((axis * (axis @ column) for axis in axes), np.zeros(m))
        length = np.linalg.norm(rest)
        if len(axes) < m and length >= min(REPRESENTED, 0.9 / np.sqrt(m)):
            axes.append(rest / length)
    return np.array(axes) @ W


def spread_steps(W: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` indices of steps, first and last included, at equal parts of the path of W^T W (step, n, n)."""
    gram = np.swapaxes(W, -1, -2) @ W
    path = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(gram, axis=0), axis=(1, 2)))])
    parts = np.linspace(0, path[-1], count)
    return np.unique(np.abs(path[:, None] - parts[None]).argmin(0))
