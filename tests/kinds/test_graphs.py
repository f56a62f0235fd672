"""Graphs of features: order, ancestors, values that descend, and what is no graph without cycles."""

import numpy as np
import pytest

from tmsjax.kinds import drawn_by, graphs
from tmsjax.spec import load_spec

EDGES = np.array([[3, 1], [3, 2], [1, 0], [2, 0], [3, 0]], float)  # feature 3 first, feature 0 last; 4 has no edge


def test_generations_and_ancestors():
    assert graphs.parents(5, EDGES) == [[1, 2, 3], [3], [3], [], []]
    assert graphs.generations(graphs.parents(5, EDGES)) == [[3, 4], [1, 2], [0]]
    expected = np.array([[1, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(graphs.ancestors(5, EDGES), expected)
    np.testing.assert_array_equal(graphs.ancestors(3, np.zeros(0)), np.eye(3))


def test_values_descend_from_parents_to_children():
    own = np.array([2.0, 3.0, 5.0, 7.0, 11.0])
    seen = graphs.descend(own, EDGES, lambda own, above, taken: own + (above * taken).sum(1))
    np.testing.assert_array_equal(seen, [2 + 10 + 12 + 7, 3 + 7, 5 + 7, 7, 11])
    np.testing.assert_array_equal(graphs.descend(own, np.zeros(0), None), own)


@pytest.mark.parametrize(
    ("edges", "why"),
    [
        ([[0, 1], [1, 2], [2, 1]], "edges has a cycle; see features 1, 2"),
        ([[1, 1]], "edges has a cycle; see features 1"),
        ([[0, 3]], "edges needs features from 0 to 2, not 3"),
        ([[-1, 0]], "edges needs features from 0 to 2, not -1"),
        ([[0, 0.5]], "edges needs features from 0 to 2, not 0.5"),
        ([[0, 1], [0, 2], [0, 1]], "edges has the pair [0, 1] twice"),
        ([0, 1], "edges needs pairs [parent, child], such as [[0, 1], [0, 2]]"),
        ([[0, 1, 2]], "edges needs pairs [parent, child], such as [[0, 1], [0, 2]]"),
    ],
)
@pytest.mark.parametrize("data", [{"activity": "hierarchy"}, {"activity": "some-parents"}, {"sampler": "scaled"}])
def test_what_is_no_graph_is_refused(edges, why, data):
    raw = {
        "name": "x",
        "model": {"features": 3, "hidden": 2},
        "instance": {"feature_probability": 0.5},
        "data": data | {"edges": edges},
        "train": {"steps": 1},
    }
    with pytest.raises(ValueError, match=r"data\.(edges|sampler)") as raised:
        load_spec(raw)
    assert why in str(raised.value)
    if "activity" in data:
        with pytest.raises(ValueError, match=r"^'[a-z-]+': ") as raised:
            drawn_by(data["activity"], 3, edges=edges)
        assert why in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({(0, 0): 0.9}, "correlation needs 1 on its diagonal, but has 0.9 at [0][0]"),
        ({(0, 1): 0.3}, "correlation needs to be symmetric, but has 0.3 at [0][1]"),
        ({(0, 1): 1.2, (1, 0): 1.2}, "correlation needs positive eigenvalues, but the least is -0.2"),
    ],
)
def test_what_is_no_matrix_of_correlations_is_refused(changes, why):
    matrix = np.eye(3)
    for place, value in changes.items():
        matrix[place] = value
    with pytest.raises(ValueError, match="'copula': ") as raised:
        drawn_by("copula", 3, correlation=matrix)
    assert why in str(raised.value)
    with pytest.raises(ValueError, match="'copula': correlation needs 3 lists of 3 numbers"):
        drawn_by("copula", 3, correlation=[[1, 0], [0, 1]])
