"""Basic results: linear and ReLU models from dense to sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
from studies.reporting import Report, Rows, Study, Sweep, table
from studies.summaries import FEW, SHORT, draw, of_run

from tmsjax import analysis, theory

SIZES = ("20_5", "80_20")
TINY = ("axes.feature_probability.values=[1.0, 0.1]", "train.steps=20", "train.batch=16")


def make(report: Report) -> dict:
    out: dict[str, Any] = {}
    for size in SIZES:
        relu, linear = report.run(f"basic_relu_{size}"), report.run(f"basic_linear_{size}")
        draw(report, f"basic_relu_{size}", beside=linear)
        best = analysis.best(analysis.measures(relu.dataset))
        classes = best["class"].to_numpy()
        out[f"n{size}"] = {
            "relu": of_run(relu),
            "linear": of_run(linear) | projector(linear),
            "probability": best["feature_probability"].to_numpy(),
            "dedicated": (classes == 1).sum(-1),
            "shared": (classes == 2).sum(-1),
            "loss": best["loss"].to_numpy(),
        }
    return out


def projector(run: Any) -> dict:
    """The largest deviation of linear models from theory, over probabilities and seeds.

    In theory W^T W is the projector on the m most important features, and the loss v(p) times the dropped importances.
    """
    W = run.dataset["W"].to_numpy().astype(float)
    m, n = W.shape[-2:]
    importance, probability = (
        run.dataset[f"instance_{name}"].to_numpy().astype(float) for name in ("importance", "feature_probability")
    )
    expected = (theory.variance(probability) * importance)[..., m:].sum(-1)
    gram = np.swapaxes(W, -1, -2) @ W
    return {
        "gram_error": np.abs(gram - np.diag(np.arange(n) < m)).max(),
        "loss_excess": (run.dataset["loss"].to_numpy() / expected - 1).max(),
    }


def features(numbers: dict) -> str:
    """Dedicated and shared features of the best models, and their losses."""
    rows: Rows = []
    for key, text in (("n20_5", "(20, 5)"), ("n80_20", "(80, 20)")):
        found = numbers[key]
        for name in ("dedicated", "shared"):
            rows.append([text, name, *(str(v) for v in found[name])])
        rows.append([text, "loss", *(f"{v:.3g}" for v in found["loss"])])
    return table(["n, m", "", *(f"p = {p:.3g}" for p in numbers["n20_5"]["probability"])], rows)


STUDY = Study(
    name="basic",
    make=make,
    runs={
        "basic_linear_20_5": Sweep("basic_linear_20_5.toml", quick=FEW, smallest=TINY),
        "basic_relu_20_5": Sweep("sweeps/basic_relu_20_5.toml", quick=(*SHORT, *FEW), smallest=TINY),
        "basic_linear_80_20": Sweep("basic_linear_80_20.toml", quick=FEW, smallest=TINY),
        "basic_relu_80_20": Sweep("basic_relu_80_20.toml", quick=(*SHORT, *FEW), smallest=TINY),
    },
    tables={"features": features},
    drawn=True,
)
