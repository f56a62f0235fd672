"""The engine's rate over sweep sizes, and its figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr
from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.suite import Workload
from tmsjax.engine import Ensemble
from tmsjax.plots.style import STYLE
from tmsjax.runs.tuning import rate

INSTANCES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 4_000_000)
BATCHES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def curve(say: Callable[[str], None]) -> xr.Dataset:
    """Rates of (2, 1) models over their number at batch 64, and over the batch at 10,000 models."""

    def along(cases: Iterable[tuple[int, int]]) -> list[float]:
        rates = []
        for models, batch in cases:
            rates.append(rate(Ensemble(Workload(2, 1, models, batch).spec())))
            say(f"{models:>9,} models  batch {batch:4d}  {rates[-1]:.2e} samples/s")
        return rates

    return xr.Dataset(
        {
            "rate_of_models": ("models", along((models, 64) for models in INSTANCES)),
            "rate_of_batch": ("batch", along((10_000, batch) for batch in BATCHES)),
        },
        coords={"models": list(INSTANCES), "batch": list(BATCHES)},
        attrs={"unit": "samples/s", "batch_of_models": 64, "models_of_batch": 10_000},
    )


def figure(measured: xr.Dataset) -> Figure:
    """The rates of `curve`, a panel for each of its two series."""
    with rc_context(STYLE):
        drawn = Figure(figsize=(8, 3.4), layout="constrained")
        axes = drawn.subplots(1, 2, sharey=True)
        for ax, along, text in (
            (axes[0], "models", f"models, batch {measured.attrs['batch_of_models']}"),
            (axes[1], "batch", f"batch, {measured.attrs['models_of_batch']:,} models"),
        ):
            ax.loglog(measured[along], measured[f"rate_of_{along}"], "o-", color="#0072b2")
            ax.set_xlabel(text)
            ax.grid(alpha=0.3)
        batches = measured["batch"].to_numpy()
        axes[1].set_xticks(batches, [str(batch) for batch in batches])
        axes[1].set_xticks([], minor=True)
        axes[0].set_ylabel(measured.attrs["unit"])
        axes[0].set_ylim(bottom=10 ** np.floor(np.log10(min(measured[v].min() for v in measured))))
        drawn.suptitle("Training throughput, n = 2, m = 1")
    return drawn
