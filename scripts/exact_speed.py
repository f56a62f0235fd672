"""Speed, memory and certificate of `theory.exact_optimum` for the phase maps of two and three features.

    python scripts/exact_speed.py                    n = 2, m = 1: 1000 x 1000 cells; n = 3, m = 2: 128 x 128 cells
    python scripts/exact_speed.py 2 3200 3125        one case: features, importances, probabilities

Two cores of an AMD EPYC: 7 s, 5 s, and 55 s for the 10,000,000 cells of the last line.

Cells: the last feature's importance from 0.1 to 10 (the others have 1) times feature probabilities from 1 to 0.01, both
in logarithmic steps, as in sweeps/one_neuron_relu.toml and sweeps/three_features.toml. Each case runs in a process of
its own. Seconds include compilation but not imports. Processor seconds beside them tell what other processes of the
machine cost: without any, the seconds are between half and all of them on two cores.
"""

import subprocess
import sys
import time

import jax
import numpy as np

from tmsjax import theory
from tmsjax.engine import cores, device_line, peak_memory

CASES = ((2, 1000, 1000), (3, 128, 128))


def measure(features: int, importances: int, probabilities: int) -> dict[str, str]:
    """What one case costs and finds, as text by name."""
    last, p = np.geomspace(0.1, 10, importances), np.geomspace(1, 0.01, probabilities)
    importance = np.ones((probabilities * importances, features))
    importance[:, -1] = np.tile(last, probabilities)
    probability = np.repeat(np.repeat(p, importances)[:, None], features, axis=1)
    begin, used, before = time.perf_counter(), time.process_time(), peak_memory()
    best = theory.exact_optimum(importance, probability)
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    return {
        "features": f"{features}, cells: {len(importance):,}",
        "seconds": f"{seconds:.1f} on {cores()} cores; of processors: {used:.1f}",
        "peak memory": f"{peak_memory() / 1e6:.0f} MB, {before / 1e6:.0f} MB before",
        "largest gradient": f"{best.gradient.max():.1e}",
        "cells with a second minimum": f"{np.isfinite(best.second_loss).mean():.4f}",
        "check": f"{best.checked} cells from {best.check_starts} random starts: {best.improved} improved, "
        f"the largest relative difference {best.largest_improvement:.1e}",
    }


def main() -> None:
    if len(sys.argv) == 1:
        print(device_line(jax.devices("cpu")))
        for case in CASES:
            subprocess.run([sys.executable, __file__, *map(str, case)], check=True)
        return
    features, importances, probabilities = map(int, sys.argv[1:])
    for name, text in measure(features, importances, probabilities).items():
        print(f"{name}: {text}", flush=True)
    print()


if __name__ == "__main__":
    main()
