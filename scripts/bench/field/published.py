"""Numbers that others published with one seed, trained again with several."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import tmsjax
from bench.field.measure import prepare
from bench.suite import circumstances
from tmsjax.runs import Run

TOLERANCE = 0.03  # relative
Numbers = Float[np.ndarray, "seed"]


@dataclass(frozen=True)
class Published:
    """A number that someone published.

    Attributes:
        name: What it is.
        source: Where it stands.
        number: The number.
        spec: The spec that trains it, with `overrides`.
        measure: A finished run -> the number of every seed, and further facts.
    """

    name: str
    source: str
    number: float
    spec: str
    overrides: tuple[str, ...]
    measure: Callable[[Run], tuple[Numbers, dict[str, Any]]]


def responses(run: Run) -> tuple[Numbers, dict[str, Any]]:
    """alpha = mean diagonal of R = V ReLU(W), times features over neurons; how far R is from a multiple of 1.

    The closest multiple of R has |s R - 1|^2 = n - (tr R)^2 / |R|^2, at least n - m. Features that the same neurons
    read share a codeword.
    """
    W, V = (run.dataset[name].to_numpy().astype(float) for name in ("W", "V"))
    seeds, m, n = W.shape
    R = V @ np.maximum(W, 0)
    trace = R.trace(axis1=1, axis2=2)
    distance = n - trace**2 / (R**2).sum((1, 2))
    least = 0.1 * W.max(axis=(1, 2), keepdims=True)
    read = least < W
    words = Counter(str(sorted(Counter(map(tuple, read[seed].T.tolist())).values())) for seed in range(seeds))
    facts = {"distance": [float(distance.min()), float(distance.max())], "bound": n - m}
    return trace / m, facts | {"seeds_by_codewords": dict(words)}


def loss_per_feature(run: Run) -> tuple[Numbers, dict[str, Any]]:
    return run.dataset["loss"].to_numpy().reshape(-1) / run.spec.model.features, {}


_L4 = ("train.batch=2048", "train.steps=10000", "instance.init_scale=0.01", "axes.replica.count=16")
NUMBERS = (
    Published(
        "alpha of |error|^4, 10 features and 1 neuron", "FranciscoHS/cis-toy-models",
        3.044, "fourth-power", _L4, responses,
    ),
    Published(
        "alpha of |error|^4, 20 features and 2 neurons", "FranciscoHS/cis-toy-models",
        3.243, "fourth-power", (*_L4, "model.features=20", "model.hidden=2"), responses,
    ),
    Published(
        "loss per feature of a residual MLP 100-1000-50", "goodfire-ai/spd, pull request 95",
        0.000696, "residual-mlp-100", ("axes.replica.count=3",), loss_per_feature,
    ),
)  # fmt: skip


def run(folder: Path, quick: bool, say: Callable[[str], None]) -> dict:
    """Trains all; prints each and returns what `--json` writes. `quick`: few steps, to try the code."""
    prepare(folder, ())
    found = []
    for one in NUMBERS:
        overrides = [*one.overrides, *(["train.steps=20"] if quick else [])]
        start, busy = time.perf_counter(), time.process_time()
        trained = tmsjax.run_sweep(folder / f"{one.spec}.toml", overrides=overrides, progress=False)
        seconds = {"wall_seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - busy}
        values, facts = one.measure(trained)
        found.append(summary(one, values) | seconds | facts)
        say(table(found[-1:]).splitlines()[-1])
        for key, value in facts.items():
            say(f"  {key}: {value}")
    return circumstances() | {"published": found}


def summary(one: Published, values: Numbers) -> dict[str, Any]:
    """A number beside the published one, with the standard error of its mean over seeds."""
    mean = float(values.mean())
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {
        "name": one.name,
        "source": one.source,
        "published": one.number,
        "seeds": len(values),
        "mean": mean,
        "standard_error": error,
        "least": float(values.min()),
        "most": float(values.max()),
        "within": abs(mean / one.number - 1) <= TOLERANCE,
    }


def table(found: Sequence[dict]) -> str:
    """The result in Markdown."""
    lines = ["| number | published | here | seeds | within 3 % |", "|---|---|---|---|---|"]
    for one in found:
        error = "" if one["standard_error"] is None else f" +- {one['standard_error']:.2g}"
        yes = "yes" if one["within"] else "no"
        lines.append(f"| {one['name']} | {one['published']:.4g} | {one['mean']:.4g}{error} | {one['seeds']} | {yes} |")
    return "\n".join(lines)
