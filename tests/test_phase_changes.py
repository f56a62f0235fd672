"""The report is its template with its results, and its tables hold what independent computations give."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from tmsjax import expected, theory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from phase_changes_report import render, table  # noqa: E402

RESULTS = json.loads((ROOT / "docs" / "phase_changes.json").read_text())


def test_the_report_is_its_template_with_its_results():
    template = (ROOT / "docs" / "phase_changes.template.md").read_text(encoding="utf-8")
    text = (ROOT / "docs" / "phase_changes.md").read_text(encoding="utf-8")
    assert text == render(template, RESULTS)
    assert "n/a" not in text
    assert "{{" not in text


def test_every_figure_of_the_report_is_there():
    text = (ROOT / "docs" / "phase_changes.md").read_text(encoding="utf-8")
    named = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(named) >= 10
    for path in named:
        assert (ROOT / "docs" / path).stat().st_size > 10_000, path


def test_numbers_and_tables_are_filled_in():
    numbers = {"a-b": {"c": [0.5, 0.25]}}
    assert render("x {{a-b.c.1:.1%}} {{a-b.d}} {{table jump}}", numbers) == "x 25.0% n/a n/a"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def best_from(start: list[float], ratio: float, probability: float) -> float:
    """The loss of the local minimum that BFGS reaches."""

    def loss(t):
        return float(expected.relu_loss(t[None, :2], t[2:], np.array([1.0, ratio]), np.full(2, probability)))

    return float(optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-9}).fun)


@pytest.mark.parametrize("row", range(len(RESULTS["exact"]["jump"]["ratio"])))
def test_branch_losses_cross_at_the_tables_jump(row):
    jump = RESULTS["exact"]["jump"]
    ratio, p = jump["ratio"][row], jump["probability"][row]
    assert jump["candidate"][row] == pytest.approx(4 * ratio / (2 + 5 * ratio))
    gaps = []
    for at in (p - 1e-3, p + 1e-3):
        gaps.append(best_from(jump["outside"][row], ratio, at) - best_from(jump["inside"][row], ratio, at))
    assert gaps[0] > 0 > gaps[1]


def test_the_tables_onset_is_that_of_the_second_order_condition():
    """kappa(p) by a fine grid over alpha and beta, its integrals by midpoints; at the onset kappa / v is the ratio."""
    jump = RESULTS["exact"]["jump"]
    y = (np.arange(400) + 0.5) / 400
    for ratio, p in zip(jump["ratio"][5:10], jump["onset"][5:10], strict=True):

        def kappa(t, p=p):
            alpha, beta = t
            both = ((alpha * y[:, None] - y + beta) ** 2).mean()
            own = ((alpha * y + beta) ** 2).mean()
            other = (np.maximum(beta - y, 0) ** 2).mean()
            return p * (p * both + (1 - p) * own) + (1 - p) * (p * other + (1 - p) * max(beta, 0) ** 2)

        least = optimize.minimize(kappa, [0.3, 0.3], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}).fun
        assert least / theory.variance(p) == pytest.approx(ratio, abs=2e-3)


def test_shares_of_the_candidate_map_are_areas_under_its_curve():
    """In the square of decades, superposition's share is the mean of log10 of the curve over the importances."""
    r = np.geomspace(0.1, 10, 20_001)
    rho = np.minimum(r, 1 / r)
    share = np.mean((np.log10(4 * rho / (2 + 5 * rho)) + 2) / 2)
    assert RESULTS["exact"]["candidate_superposed"] == pytest.approx(share, abs=0.004)


def test_losses_of_the_replication_are_those_of_theory():
    """Linear models: independent features leave min(r, 1) v(p), tied ones the minor eigenvalue's part."""
    p, r = np.meshgrid(np.arange(1, 1000) / 1000, np.arange(1, 100) / 10, indexing="ij")
    independent = np.minimum(r, 1) * (p / 3 - p**2 / 4)
    found = RESULTS["zroe1"]["linear"]["mean_loss"]
    assert found == pytest.approx(independent.mean(), rel=2e-3)
    # tied: the best rank-one W^T W = w w^T for covariance C and importances, by its angle and length on a coarse grid
    cells = np.random.default_rng(0).integers([0, 0], [999, 99], (40, 2))
    angle, square = np.meshgrid(np.linspace(0, np.pi / 2, 181), np.linspace(0.4, 1.4, 101), indexing="ij")
    W = np.sqrt(square)[..., None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)[..., None, :]
    losses = []
    for i, j in cells:
        v, between = p[i, j] / 3 - p[i, j] ** 2 / 4, p[i, j] / 4 - p[i, j] ** 2 / 4
        C = np.array([[v, between], [between, v]])
        mean = np.full(2, p[i, j] / 2)
        A = np.eye(2) - np.swapaxes(W, -1, -2) @ W
        losses.append(theory.linear_loss(W, A @ mean, np.array([1, r[i, j]]), mean, C).min())
    assert np.mean(losses) == pytest.approx(RESULTS["zroe1"]["linear-tied"]["mean_loss"], rel=0.25)
    assert np.mean(losses) < np.mean([independent[i, j] for i, j in cells])


def test_an_antipodal_pair_of_tied_features_never_pays():
    p, r = np.meshgrid(np.arange(1, 1000) / 1000, np.arange(1, 100) / 10, indexing="ij")
    ratio = (1 + r) * p / 6 / (np.minimum(r, 1) * (p / 3 - p**2 / 4))
    assert RESULTS["zroe1"]["tied_optimum"]["least_excess_of_antipodal"] == pytest.approx(ratio.min(), rel=1e-6)
    assert ratio.min() > 1
    W = np.array([[1.0, -1.0]])
    for k in (0, 500, 998):
        loss = expected.relu_loss(W, np.zeros(2), np.array([1, r[k, 30]]), np.full(2, p[k, 30]), tied=True)
        assert loss == pytest.approx((1 + r[k, 30]) * p[k, 30] / 6)


@pytest.mark.slow
def test_the_quick_reproduction_makes_every_section(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "phase_changes.py"), str(tmp_path), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "phase_changes.md").read_text(encoding="utf-8")
    assert "n/a" not in text
    made = json.loads((tmp_path / "results.json").read_text())
    assert made.keys() == RESULTS.keys()
    for section in RESULTS:
        assert made[section].keys() == RESULTS[section].keys(), section
    assert made["selection"]["random"]["exact"] > 0.95
    assert made["zroe1"]["relu"]["agreement"] > made["zroe1"]["relu-tied"]["agreement"] + 0.2
    assert made["zroe1"]["linear-tied"]["mean_loss"] < 0.9 * made["zroe1"]["linear"]["mean_loss"]
    figures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert len(figures) >= 10


def test_unknown_sections_are_refused(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "phase_changes.py"), str(tmp_path), "--only", "exact,fourth"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fourth" in done.stderr
