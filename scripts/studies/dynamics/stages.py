"""The share of a loss's decrease that falls into jumps, and the stages of W on the way to an octahedron.

Works on records of one model over steps (`history_*` of a run), as numpy arrays with steps as the first axis; the jumps
are those of tmsjax.analysis.dynamics.
"""

from __future__ import annotations

import numpy as np
from studies.correlated import sets

from tmsjax.analysis import polytopes
from tmsjax.analysis.dynamics import Jump
from tmsjax.kinds import REPRESENTED
from tmsjax.kinds.measures import norms

STAGES = ("incomplete", "collapsed", "splitting", "orthogonal sets", "octahedron")


def intervals_in(found: list[Jump], records: int) -> np.ndarray:
    """Whether each interval between consecutive records lies in a jump, (records - 1,)."""
    inside = np.zeros(records - 1, bool)
    for jump in found:
        inside[jump.start : jump.stop] = True
    return inside


def share_of_decrease(loss: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """The share of the decrease of the loss (step,) that falls into the intervals `inside` (step - 1,).

    Also returns their share of all intervals, which is what it would be on average if they lay anywhere. Intervals in
    which the loss rises count against the decrease.
    """
    drop = -np.diff(loss)
    return float(drop[inside].sum() / drop.sum()), float(inside.mean())


def stages(W: np.ndarray, size: int, near: float = sets.NEAR) -> np.ndarray:
    """The stage of every step of W (step, m, n) with sets of `size`: indices into STAGES, (step,).

    incomplete: a feature is not represented. collapsed: the features of each set share one direction (cosines within
    `near` of 1). orthogonal sets: cosines within sets are within `near` of 0. octahedron: moreover, every feature is
    antipodal to one other (cosine within `near` of -1), so that the feature graph is n / 2 digons; for n = 2 m these
    are the corners of a cross-polytope, for m = 3 of an octahedron. splitting: anything else.
    """
    i, j = sets.pairs(W.shape[-1], size)[0]
    cosine = polytopes.cosines(W)
    within = cosine[..., i, j]
    orthogonal = (np.abs(within) <= near).all(-1)
    paired = ((cosine <= near - 1).sum(-1) == 1).all(-1)
    conditions = [
        (norms(W) < REPRESENTED).any(-1),
        (within >= 1 - near).all(-1),
        orthogonal & paired,
        orthogonal,
    ]
    return np.select(
        conditions,
        [STAGES.index(s) for s in ("incomplete", "collapsed", "octahedron", "orthogonal sets")],
        STAGES.index("splitting"),
    )
