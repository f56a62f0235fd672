"""The figure of vulnerability and of training against attacks."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.figures import Panel, panels


def vulnerability(numbers: dict) -> Any:
    """Vulnerability by 1/p, and what remains of superposition after training against attacks, by budget."""
    found, training = numbers["geometry"], numbers["training"]
    inverse = found["inverse"]
    curves = {
        "vulnerability": (inverse, found["analytic"]),
        "features per dimension, 1/D*": (inverse, found["per_dimension"]),
    }
    ascent = {"vulnerability, by gradient ascent": (inverse, found["ascent"])}
    positive = np.array(training["budget"]) > 0
    at = np.array(training["budget"])[positive]

    def by_probability(key: str) -> dict:
        rows = zip(training["p"], np.array(training[key], float)[:, positive], strict=True)
        return {f"p = {p:.2g}": (at, row) for p, row in rows}

    budget = "budget of training, of the root mean square norm"
    return panels(
        [
            Panel("trained without attacks, (200, 20)", "1/p", "relative to no superposition", curves, dots=ascent),
            Panel("trained with attacks, (8, 2)", budget, "features that share dimensions", by_probability("shared")),
            Panel("trained with attacks, (8, 2)", budget, "features represented", by_probability("represented")),
        ]
    )
