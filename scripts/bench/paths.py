"""Times the engine's paths (scalars, stages, arrays) beside each other on this CPU, as a Markdown table.

PYTHONPATH=scripts python -m bench.paths
"""

from __future__ import annotations

import statistics
import time

from tmsjax.engine import Ensemble
from tmsjax.spec import Spec, load_spec

ROUNDS, SECONDS = 5, 0.5  # alternating rounds; processor seconds of a timing
SIZES = [(2, 1, 64, 20_000), (5, 2, 64, 10_000), (10, 3, 64, 4000), (20, 5, 64, 1000), (20, 5, 1024, 200)]
SIZES += [(32, 4, 64, 1000), (40, 8, 64, 300), (60, 10, 64, 100), (80, 20, 64, 50)]  # features, hidden, batch, models
PATHS = {"scalars": 128, "stages": 10**4, "arrays": 10**4}  # to the largest number of weights that it is timed with


class Timed:
    """An ensemble that trains a bit further with each timing."""

    def __init__(self, spec: Spec):
        self.ensemble = Ensemble(spec)
        self.states, self.step, self.segment = self.ensemble.init(), 0, 1
        self.nanoseconds()  # compiles
        steps = max(1, round(SECONDS / (self.nanoseconds() * self.samples / 1e9)))
        self.segment = steps

    @property
    def samples(self) -> int:
        """Samples of a step of all models."""
        return self.ensemble.spec.instances * self.ensemble.spec.train.batch

    def nanoseconds(self) -> float:
        """Processor nanoseconds a sample, in a segment of training."""
        before = time.process_time()
        self.step += self.segment
        self.states = self.ensemble.advance(self.states, self.step)
        return 1e9 * (time.process_time() - before) / (self.segment * self.samples)


def spec_of(features: int, hidden: int, batch: int, models: int, path: str) -> Spec:
    """A sweep of equal models on one path."""
    return load_spec(
        {
            "name": "paths",
            "model": {"features": features, "hidden": hidden},
            "axes": {"replica": {"count": models}},
            "instance": {"feature_probability": 0.1},
            "train": {"steps": 10**8, "batch": batch, "learning_rate": 1e-3},
            "engine": {"path": path},
        }
    )


def row(features: int, hidden: int, batch: int, models: int) -> str:
    """The medians of one size."""
    paths = [path for path, most in PATHS.items() if features * hidden <= most]
    timed = {path: Timed(spec_of(features, hidden, batch, models, path)) for path in paths}
    rounds = [{path: one.nanoseconds() for path, one in timed.items()} for _ in range(ROUNDS)]
    found = {path: statistics.median(each[path] for each in rounds) for path in paths}
    cells = [f"{found[path]:.3g}" if path in found else "" for path in PATHS]
    return f"| ({features},{hidden}) x {models:,}, batch {batch:,} | {' | '.join(cells)} |"


def main() -> None:
    print(f"| models | {' | '.join(PATHS)} |\n|---|---|---|---|")
    for size in SIZES:
        print(row(*size), flush=True)


if __name__ == "__main__":
    main()
