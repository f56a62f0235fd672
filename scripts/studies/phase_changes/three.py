"""Three features in two dimensions."""

from __future__ import annotations

import numpy as np
from studies.phase_changes.cells import certified, of_map
from studies.reporting import Report

from tmsjax import analysis, plots, theory
from tmsjax.kinds import measures


def make(report: Report) -> dict:
    """Three features in two dimensions."""
    run = report.run("three-features")
    facts = of_map(run)
    stored = analysis.stored_exact_map(run)
    assert stored is not None
    report.figure("three_features", plots.panels(*analysis.plotted(run, "best")))
    report.figure("three_features_agreement", plots.agreement(*analysis.plotted(run, "best")[:2]))
    W = stored["W"].to_numpy()
    classes = analysis.classify(measures.norms(W), measures.superposition(W), 2)
    triangle = (classes == 2).all(-1)
    losses = theory.candidate_losses(*analysis.cell_inputs(run.dataset))
    gain = 1 - stored["loss"].to_numpy() / losses.min(-1)
    p, r = run.dataset["feature_probability"].to_numpy(), run.dataset["extra_importance"].to_numpy()
    gram = np.swapaxes(W, -1, -2) @ W
    unit = gram / np.maximum(np.sqrt(np.einsum("...ii,...jj->...ij", gram, gram)), 1e-9)
    regular = triangle & (np.abs(unit[..., [0, 0, 1], [1, 2, 2]] + 0.5).max(-1) < 0.1)
    ratio = (analysis.phase_map(run.dataset)["loss"] / stored["loss"]).to_numpy()
    return {
        **facts,
        "replicas": len(run.spec.axis["replica"]),
        "triangle": triangle.mean(),
        "regular": regular.mean(),
        "largest_gain": gain.max(),
        "largest_gain_at": [
            p[np.unravel_index(gain.argmax(), gain.shape)[0]],
            r[np.unravel_index(gain.argmax(), gain.shape)[1]],
        ],
        "median_loss_ratio": np.median(ratio),
        "largest_loss_ratio": ratio.max(),
        "smallest_loss_ratio": ratio.min(),
        "certified": certified(3, *report.choose((16, 64), (5, 64), (2, 1))),
    }
