"""The figure of dropped features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from studies.figures import lines

from tmsjax import theory

GROUPS = 10  # points per curve at n = 80, each the mean over neighbouring probabilities
TITLES = {
    "nonuniform_5_2": "(5, 2), independent",
    "nonuniform_5_2_tied": "(5, 2), active together",
    "nonuniform_80_20": "(80, 20), independent",
    "nonuniform_80_20_tied": "(80, 20), active together",
}


def dropped(cases: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Any:
    """The share of seeds that represent a feature against its probability, with v(p) for comparison.

    `cases`: of every run in TITLES, probability and share, both (least, feature), and the least probabilities.
    """
    fine = np.geomspace(0.004, 1, 60)
    panels = {}
    for name, title in TITLES.items():
        p, share, least = cases[name]
        groups = min(GROUPS, p.shape[1])
        p, share = (np.array([[part.mean() for part in np.array_split(row, groups)] for row in v]) for v in (p, share))
        panels[title] = {f"least p = {at:g}": (p[k], share[k]) for k, at in enumerate(least)}
    return lines(
        panels,
        x="feature probability",
        y="share of seeds that represent it",
        ticks=(0.01, 0.1, 1),
        floor=-0.03,
        reference=("v(p), largest = 1", fine, theory.variance(fine) * 9),
    )
