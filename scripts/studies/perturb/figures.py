"""The figure of the two branches."""

from __future__ import annotations

from typing import Any

from studies.figures import Panel, panels

X = "probability of the first feature"


def branches(numbers: dict) -> Any:
    """The losses of the two minima, the norms along the pentagon, and what trained models form."""
    pentagon, digons, trained = (numbers[key] for key in ("pentagon", "digons", "trained"))
    marks = {"snap": numbers["snap"]}
    if numbers["pentagon_end"] is not None:
        marks["pentagon ends"] = numbers["pentagon_end"]
    losses = {"pentagon": (pentagon["at"], pentagon["loss"]), "two digons": (digons["at"], digons["loss"])}
    norms = {
        "first feature": (pentagon["at"], pentagon["norm"]),
        "largest of the others": (pentagon["at"], pentagon["norm_most"]),
        "smallest of the others": (pentagon["at"], pentagon["norm_least"]),
    }
    shares = {
        "pentagon": (trained["at"], trained["pentagon"]),
        "two digons": (trained["at"], trained["digons"]),
        "first feature represented": (trained["at"], trained["first"]),
    }
    best = {"best trained model": (trained["at"], trained["loss"])}
    return panels(
        [
            Panel("exact minima", X, "exact loss", losses, dots=best, marks=marks, log=(True, True)),
            Panel("the pentagon stretches", X, r"norm $|W_i|$", norms, marks=marks),
            Panel("trained models", X, "share of seeds", shares, marks=marks, limits=(-0.03, 1.03)),
        ]
    )
