"""Where a minimum of the exact loss ends along a path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tmsjax import theory

Model = tuple[np.ndarray, np.ndarray]  # W (m, n) and b (n,)
Path = Callable[[float], tuple[np.ndarray, np.ndarray]]  # t -> importance (n,) and feature probability (n,)


def branch_end(
    model: Model,
    path: Path,
    inside: float,
    outside: float,
    *,
    jump: float = 0.2,
    precision: float = 1e-3,
    activity: str = "independent",
    **options: float,
) -> float:
    """The last t at which a minimum exists, followed along `path` from `inside`, where it does, towards `outside`.

    model: the minimum at `inside`, W (m, n) and b (n,). path: t -> importance (n,), feature_probability (n,).
    `activity`: a name in kinds.ACTIVITIES, its options as keywords. The minimum has ended where an entry of W^T W
    changes by more than `jump` in a step, however short: steps are halved down to a relative `precision`. Returns
    `outside` if the minimum exists up to there.
    """
    step = outside - inside
    while abs(step) > precision * abs(inside):
        ahead = inside + step
        importance, probability = (np.stack(rows) for rows in zip(path(inside), path(ahead), strict=True))
        branch = theory.follow(model[0], model[1], importance, probability, activity=activity, **options)
        if branch.moved[1] > jump:
            step /= 2
        else:
            inside, model = ahead, (branch.W[1], branch.b[1])
            step = np.clip(outside - inside, -abs(step), abs(step))
    return inside
