"""Tables in docs/phase_changes.md match independent computations, and its statements are correct."""

import json

import numpy as np
import pytest
from conftest import ROOT, reproduce
from phase_changes.report import TABLES
from reporting import render, table
from scipy import optimize

from tmsjax import theory
from tmsjax.models import expected

RESULTS = json.loads((ROOT / "docs" / "phase_changes.json").read_text())


def test_numbers_and_tables_are_filled_in():
    numbers = {"a-b": {"c": [0.5, 0.25]}}
    assert render("x {{a-b.c.1:.1%}} {{a-b.c.2}} {{a-b.d}} {{table jump}}", numbers, TABLES) == "x 25.0% n/a n/a n/a"
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
    """Linear models of independent features leave min(r, 1) v(p)."""
    p, r = np.meshgrid(np.arange(1, 1000) / 1000, np.arange(1, 100) / 10, indexing="ij")
    independent = np.minimum(r, 1) * (p / 3 - p**2 / 4)
    assert RESULTS["zroe1"]["linear"]["mean_loss"] == pytest.approx(independent.mean(), rel=2e-3)


def test_linear_losses_on_the_replications_data_are_those_of_tied_features():
    """SciPy's best w for the loss with A = 1 - w w^T, sum_i I_i (A C A^T)_ii, on every 27th x 7th cell of the grid."""
    p, r = np.meshgrid(np.arange(14, 1000, 27) / 1000, np.arange(4, 100, 7) / 10, indexing="ij")
    importance = np.stack([np.ones(p.size), r.reshape(-1)])
    v, between = (p / 3 - p**2 / 4).reshape(-1), (p / 4 - p**2 / 4).reshape(-1)

    def losses(w):
        a, b, c = 1 - w[0] ** 2, -w[0] * w[1], 1 - w[1] ** 2
        first = (a**2 + b**2) * v + 2 * a * b * between
        second = (b**2 + c**2) * v + 2 * b * c * between
        return importance[0] * first + importance[1] * second

    angle, length = np.meshgrid(np.linspace(0, np.pi / 2, 61), np.linspace(0.8, 1.1, 61))
    starts = np.stack([length * np.cos(angle), length * np.sin(angle)]).reshape(2, -1, 1)
    found = losses(starts).argmin(0)
    w = starts[:, found, 0]
    best = optimize.minimize(lambda t: losses(t.reshape(2, -1)).sum(), w.reshape(-1), method="L-BFGS-B").fun / p.size
    assert RESULTS["zroe1"]["linear-tied"]["mean_loss"] == pytest.approx(best, rel=0.02)
    independent = (np.minimum(r, 1) * (p / 3 - p**2 / 4)).mean()
    assert best < 0.9 * independent


def test_an_antipodal_pair_of_tied_features_never_pays():
    p, r = np.meshgrid(np.arange(1, 1000) / 1000, np.arange(1, 100) / 10, indexing="ij")
    ratio = (1 + r) * p / 6 / (np.minimum(r, 1) * (p / 3 - p**2 / 4))
    assert RESULTS["zroe1"]["tied_optimum"]["least_excess_of_antipodal"] == pytest.approx(ratio.min(), rel=1e-6)
    assert ratio.min() > 1
    W = np.array([[1.0, -1.0]])
    for k in (0, 500, 998):
        loss = expected.relu_loss(W, np.zeros(2), np.array([1, r[k, 30]]), np.full(2, p[k, 30]), activity="tied")
        assert loss == pytest.approx((1 + r[k, 30]) * p[k, 30] / 6)


def test_what_the_report_says_in_words_is_so():
    exact, three, selection, zroe1, budget = (RESULTS[k] for k in ("exact", "three", "selection", "zroe1", "budget"))
    for certified in (exact["certified"], exact["certified_no_bias"], three["certified"]):
        assert certified["improved"] == 0
    assert exact["exact_same_sign"] == 0
    assert exact["no_bias_same_sign"] > 0.05
    jump = exact["jump"]
    assert all(p > c for p, c in zip(jump["probability"], jump["candidate"], strict=True))
    assert jump["inside"][-1][0] == pytest.approx(-jump["inside"][-1][1], abs=1e-4)
    assert zroe1["tied_optimum"]["antipodal_cells"] == 0
    agreement = selection["agreement"]
    assert agreement["best"][-1] > agreement["paper"][-1] > agreement["vote"][-1] > agreement["single"][-1]
    assert 0.45 < selection["signs"]["random"]["near"]["all"] < 0.6
    assert agreement["stratified"][0] > agreement["best"][0] + 0.1
    random, even = (selection["signs"][k]["near"]["all"] for k in ("random", "stratified"))
    assert random == pytest.approx(even, abs=0.01)
    rows = {row["scale"]: row for row in selection["scales"]["rows"]}
    assert all(abs(rows[s]["all"] - rows[0.3]["all"]) < 0.03 for s in (0.1, 0.8))
    assert rows[0.01]["all"] < rows[0.1]["all"]
    assert rows[6.0]["all"] < 0.2
    assert zroe1["relu-tied"]["agreement"] + 0.3 < zroe1["relu"]["agreement"] < zroe1["relu"]["compare"]["exact"]
    for kind in ("relu", "linear"):
        published = zroe1["published"][kind]
        tied, meant = (zroe1[name]["mean_loss_with_zeros"] for name in (f"{kind}-tied", kind))
        assert abs(tied - published) < 0.2 * abs(meant - published)
    at = {(row["schedule"], row["batch"], row["steps"], row["rate"]): row["agreement"] for row in budget["rows"]}
    slow, fast = at["cosine", 64, 128, 0.003], at["cosine", 64, 128, 0.03]
    smaller = at["cosine", 16, 128, 0.03]
    assert fast - slow > 5 * abs(fast - smaller), "the rate matters more than the batch"


@pytest.mark.slow
def test_the_quick_reproduction_makes_every_section(tmp_path):
    done = reproduce("phase_changes", str(tmp_path), "--quick")
    assert done.returncode == 0, done.stderr[-2000:]
    text = (tmp_path / "phase_changes.md").read_text(encoding="utf-8")
    assert "n/a" not in text
    made = json.loads((tmp_path / "phase_changes.json").read_text())
    assert made.keys() == RESULTS.keys()
    for section in RESULTS.keys() - {"all"}:
        assert made[section].keys() == RESULTS[section].keys(), section
    assert made["selection"]["random"]["exact"] > 0.95
    assert made["zroe1"]["relu"]["agreement"] > made["zroe1"]["relu-tied"]["agreement"] + 0.2
    assert made["zroe1"]["linear-tied"]["mean_loss"] < 0.9 * made["zroe1"]["linear"]["mean_loss"]
    figures = {path.stem for path in (tmp_path / "figures" / "phase_changes").glob("*.png")}
    assert len(figures) >= 10
