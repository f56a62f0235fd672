"""Figures of the engine's speed and of gradient noise: Dataset -> matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tmsjax.plots.style import MARKS, STYLE, TONES


def throughput(measured: xr.Dataset) -> Figure:
    """The engine's rate against the number of models and the batch size.

    `measured`: from bench.throughput.curve.

    Examples:
        >>> import xarray as xr
        >>> measured = xr.Dataset(
        ...     {"rate_of_models": ("models", [1e6, 1e7]), "rate_of_batch": ("batch", [1e6, 1e7])},
        ...     {"models": [100, 1000], "batch": [16, 64]},
        ...     {"batch_of_models": 64, "models_of_batch": 1000, "unit": "samples/s"},
        ... )
        >>> [axes.get_xlabel() for axes in tmsjax.plots.throughput(measured).axes]
        ['models, batch 64', 'batch, 1,000 models']
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for ax, name, along, text in (
            (axes[0], "rate_of_models", "models", f"models, batch {measured.attrs['batch_of_models']}"),
            (axes[1], "rate_of_batch", "batch", f"batch, {measured.attrs['models_of_batch']:,} models"),
        ):
            ax.loglog(measured[along], measured[name], "o-", color="#0072b2")
            if along == "batch":
                _label_batches(ax, measured)
            ax.set_xlabel(text)
            ax.grid(alpha=0.3)
        axes[0].set_ylabel(measured.attrs["unit"])
        axes[0].set_ylim(bottom=10 ** np.floor(np.log10(min(measured[v].min() for v in measured))))
        figure.suptitle("Training throughput, n = 2, m = 1")
    return figure


def scale(models: Sequence[int], measured: Mapping[str, Sequence[float]]) -> Figure:
    """What a sweep takes by its number of models: one panel for each of `measured`, whose keys are labels of y.

    An axis is linear, from 0, if its values differ by less than a factor of 10.

    Examples:
        >>> len(tmsjax.plots.scale([10, 100, 1000], {"seconds": [1, 2, 9], "GB": [0.1, 1, 10]}).axes)
        2
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(3.3 * len(measured), 3.1), layout="constrained")
        for axes, (name, values) in zip(figure.subplots(1, len(measured)), measured.items(), strict=True):
            axes.plot(models, values, "o-", color="#0072b2", markersize=4)
            axes.set_xscale("log")
            if max(values) < 10 * min(values):
                axes.set_ylim(0, 1.1 * max(values))
            else:
                axes.set_yscale("log")
            axes.set_xlabel("models")
            axes.set_ylabel(name)
            axes.grid(alpha=0.3)
    return figure


def stream_noise(measured: xr.Dataset) -> Figure:
    """Gradient noise of streams relative to independent ones, and the quality of phase maps at smaller batches.

    `measured`: variance_ratio (batch, feature_probability), disagreement (stream, batch) and success (stream, batch).

    Examples:
        >>> import xarray as xr
        >>> batch, stream = ("batch", [16, 64]), ("stream", ["independent", "shared"])
        >>> measured = xr.Dataset(
        ...     {
        ...         "variance_ratio": (("batch", "feature_probability"), [[1.0, 0.9], [0.8, 0.7]]),
        ...         "disagreement": (("stream", "batch"), [[0.1, 0.05], [0.2, 0.1]]),
        ...         "success": (("stream", "batch"), [[0.7, 0.8], [0.6, 0.7]]),
        ...     },
        ...     {"batch": batch, "stream": stream, "feature_probability": [0.1, 1.0]},
        ... )
        >>> type(tmsjax.plots.stream_noise(measured)).__name__
        'Figure'
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        axes = figure.subplots(1, 3)
        for batch, tone, mark in zip(measured["batch"].to_numpy(), TONES, MARKS, strict=False):
            ratio = measured["variance_ratio"].sel(batch=batch)
            axes[0].loglog(measured["feature_probability"], ratio, mark + "-", color=tone, label=f"batch {batch}")
        axes[0].axhline(1, color="black", linewidth=0.8)
        axes[0].set_xlabel("feature probability")
        axes[0].set_ylabel("variance: independent / sobol")
        for stream, tone, mark in zip(measured["stream"].to_numpy(), TONES, MARKS, strict=False):
            rows = measured.sel(stream=stream)
            axes[1].semilogx(measured["batch"], 100 * rows["disagreement"], mark + "-", color=tone, label=str(stream))
            axes[2].semilogx(measured["batch"], rows["success"], mark + "-", color=tone, label=str(stream))
        axes[1].set_ylabel("cells unlike exact theory, %")
        axes[2].set_ylabel("share of inits within 1 % of the best")
        for ax in axes[1:]:
            ax.set_xlabel("batch")
            _label_batches(ax, measured)
        for ax in axes:
            ax.legend(frameon=False, fontsize=8)
            ax.grid(alpha=0.3)
    return figure


def _label_batches(axes: Axes, measured: xr.Dataset) -> None:
    batches = measured["batch"].to_numpy()
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_xticks([], minor=True)
