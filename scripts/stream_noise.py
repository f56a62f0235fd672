"""Gradient noise of the three kinds of streams, and the phase maps that they give at smaller batches.

    python scripts/stream_noise.py OUT      (about 2 minutes on two cores; writes OUT/stream_noise.nc, .png, .svg)

Noise: the variance of a batch's gradient over the samples of 4000 steps, summed over parameters, for models trained for
300 steps of 8 independent samples. The variance ratio is independent streams' variance over the stream's own, as the
geometric mean over 64 models per probability. Maps: the one-neuron diagram, 64 x 64 cells of 10 models, 6000 steps,
compared with exact theory.
"""

import sys
import time
from pathlib import Path

import jax
import numpy as np
import xarray as xr

import tmsjax
from tmsjax import plots
from tmsjax.engine import Ensemble
from tmsjax.runs import write_dataset
from tmsjax.terminal import guarded

SWEEP = Path(__file__).parents[1] / "sweeps" / "one_neuron_relu.toml"
STREAMS = ("independent", "shared", "sobol")
BATCHES = (8, 16, 32, 64, 256)
PROBABILITIES = (1.0, 0.3, 0.1, 0.03, 0.01)
MODELS, DRAWS = 64, 4000


def variance(stream: str, batch: int, states: list | None) -> tuple[np.ndarray, float, list]:
    """The gradient's variance per model, its mean correlation with the next model's, and the states of the models."""
    raw = {
        "name": "noise",
        "model": {"features": 2, "hidden": 1},
        "axes": {"probability": {"values": list(PROBABILITIES)}, "replica": {"count": MODELS}},
        "instance": {"feature_probability": "probability", "init_scale": 0.8},
        "train": {"steps": 300, "batch": batch, "learning_rate": 1e-2, "streams": stream},
        "engine": {"block": len(PROBABILITIES) * MODELS},
    }
    ensemble = Ensemble(tmsjax.load_spec(raw))
    states = states or ensemble.advance(ensemble.init(), 300)
    own, between = ensemble.gradient_noise(states, DRAWS)
    total, common = (sum(leaf.reshape(len(leaf), -1).sum(1) for leaf in jax.tree.leaves(t)) for t in (own, between))
    correlation = common[:-1].mean() / np.sqrt(total[:-1] * total[1:]).mean()
    return total.reshape(len(PROBABILITIES), MODELS), float(correlation), states


def maps(stream: str, batch: int) -> tuple[float, float, float]:
    """Share of cells that differ from exact theory, share of inits that succeed, seconds of training."""
    cells = [f"axes.{name}.count=64" for name in ("feature_probability", "extra_importance")]
    changes = [*cells, f"train.batch={batch}", f"train.streams={stream}", "record.measures=[]"]
    start = time.perf_counter()
    run = tmsjax.run_sweep(SWEEP, overrides=changes)
    seconds = time.perf_counter() - start
    facts = tmsjax.compare(run)
    success = float(tmsjax.phase_map(run.dataset, "best")["success"].mean())
    return 1 - facts["exact"]["agreement"], success, seconds


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python scripts/stream_noise.py OUT")
    out = Path(sys.argv[1])
    ratios, states = [], None
    for batch in BATCHES:
        own, mean = {}, {}
        for stream in STREAMS:
            own[stream], correlation, states = variance(stream, batch, states)
            mean[stream] = np.exp(np.log(own["independent"] / own[stream]).mean(1))
            text = "  ".join(f"p {p:g}: {v:.2f}" for p, v in zip(PROBABILITIES, mean[stream], strict=True))
            print(f"batch {batch:4d}  {stream:12s} variance ratio  {text}   correlation of models {correlation:.3f}")
        ratios.append(mean["sobol"])
    reached = {stream: [maps(stream, batch) for batch in BATCHES] for stream in STREAMS}
    for stream, rows in reached.items():
        for batch, (unlike, success, seconds) in zip(BATCHES, rows, strict=True):
            print(f"{stream:12s} batch {batch:4d}  unlike {unlike:.2%}  success {success:.1%}  {seconds:.1f} s")
    facts = np.array([reached[stream] for stream in STREAMS])
    measured = xr.Dataset(
        {
            "variance_ratio": (("batch", "feature_probability"), np.array(ratios)),
            "disagreement": (("stream", "batch"), facts[..., 0]),
            "success": (("stream", "batch"), facts[..., 1]),
            "seconds": (("stream", "batch"), facts[..., 2]),
        },
        coords={"stream": list(STREAMS), "batch": list(BATCHES), "feature_probability": list(PROBABILITIES)},
    )
    write_dataset(out / "stream_noise.nc", measured)
    for path in plots.save(plots.stream_noise(measured), out / "stream_noise"):
        print(path)


if __name__ == "__main__":
    guarded(main)
