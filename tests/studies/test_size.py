"""Size: small versions of its checks."""

import numpy as np
import pytest
from studies.size import study as size


def part(hidden: int, count: int, gain: float) -> size.Part:
    return size.Part(np.eye(hidden, count), np.zeros(count), gain, 0.0)


def test_dimensions_are_filled_with_the_parts_of_largest_total_gain():
    parts = [part(1, 2, 1.0), part(2, 5, 2.2), part(3, 4, 3.25)]
    for hidden, counts in ((1, [1, 0, 0]), (2, [0, 1, 0]), (3, [0, 0, 1]), (4, [0, 2, 0]), (5, [0, 1, 1])):
        chosen = [one.hidden for one in size.packed(parts, hidden)]
        assert [chosen.count(k) for k in (1, 2, 3)] == counts
    assert size.best_rate(parts).hidden == 2


@pytest.mark.slow
def test_the_loss_of_orthogonal_parts_is_the_sum_of_their_exact_losses():
    p = 0.3
    parts = [size.along(one, np.array([p]))[0] for one in size.QUICK_PARTS]
    n, hidden = 12, 5
    chosen = size.packed(parts, hidden)
    model = size.union(chosen, n, hidden, p)
    gain, error, loss, loss_error = size.paired(model, size.union([], n, hidden, p), p, 65_536, seed=0)
    expected = sum(one.gain for one in chosen)
    assert gain == pytest.approx(expected, abs=4 * error)
    assert loss == pytest.approx(n, abs=4 * loss_error)
    assert error < 0.02 * expected


def test_edges_of_a_known_curve():
    p = np.geomspace(1, 0.1, 11)
    dimensions = 1 + 0.5 * np.log10(p)  # falls by 0.05 per tenth of a decade
    assert size.crossing(p, dimensions, 0.725) == pytest.approx(0.55)
    assert np.isnan(size.crossing(p, dimensions, 0.4))
    edge = size.of_seeds(p, np.stack([dimensions, dimensions - 0.05], 1), (0.9, 0.6))
    assert edge["width"] == pytest.approx(0.6)
    assert edge["middle"] == pytest.approx(0.45)
    assert edge["middle_spread"] == pytest.approx(0.1 / np.sqrt(2))
    assert size.plateau(p, dimensions - 0.2) == pytest.approx(0.16)


def test_lines_find_their_limit():
    x = np.array([1 / 4, 1 / 8, 1 / 20, 1 / 40])
    fit = size.line(x, 0.1 + 2 * x, np.full(4, 0.01))
    assert fit["limit"] == pytest.approx(0.1)
    assert fit["slope"] == pytest.approx(2)
    assert fit["limit_error"] > 0.005


def test_fits_leave_out_sizes_that_fell_behind():
    def one(hidden: int, width: float, behind: float) -> dict:
        edge = {
            "width": width,
            "width_spread": 0.01,
            "middle": 1.0,
            "middle_spread": 0.01,
            "seeds": 4,
            "behind": behind,
        }
        return {"hidden": hidden, "edges": dict.fromkeys(size.EDGES, edge)}

    found = {str(m): one(m, 0.1 + 1 / m, 0.0) for m in (4, 8, 20)} | {"40": one(40, 9.0, 0.2)}
    assert size.fits(found)["first_width"]["limit"] == pytest.approx(0.1)
    assert size.fits(found)["first_sizes"] == 3
