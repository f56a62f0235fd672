"""Figures of the studies: every panel shows its own values at the positions that its axes indicate."""

import numpy as np
from studies import figures
from studies.phase_changes import exact
from studies.who_wins import bars

from tmsjax.plots import style

GRID = np.geomspace(0.1, 10, 3), np.geomspace(1, 0.01, 2)


def mesh_values(axes) -> np.ndarray:
    return np.asarray(axes.collections[0].get_array())


def test_class_maps_show_each_map_and_name_what_is_there():
    maps = {"a": np.array([[0, 1, 2], [3, 3, 3]]), "b": np.full((2, 3), 4)}
    figure = figures.class_maps(maps, GRID, curve=np.array([0.1, 0.5, 0.1]), names={0: "neither"})
    for axes, (name, phases) in zip(figure.axes, maps.items(), strict=True):
        assert axes.get_title() == name
        np.testing.assert_array_equal(mesh_values(axes), phases)
        np.testing.assert_array_equal(axes.lines[0].get_xydata()[:, 1], [0.1, 0.5, 0.1])
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_ylim()[0] < axes.get_ylim()[1]  # probability 1 on top
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == ["neither", "first only", "second only", "antipodal", "same sign"]


def test_class_maps_name_no_class_that_is_absent():
    figure = figures.class_maps({"a": np.full((2, 3), 3)}, GRID, log=False)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["antipodal"]
    assert figure.axes[0].get_xscale() == "linear"


def test_colour_maps_are_the_papers_colours_with_a_curve_where_there_is_one():
    ones, zeros = np.ones((2, 3)), np.zeros((2, 3))
    maps = {"dedicated": (ones, zeros), "shared": (ones, ones), "absent": (zeros, zeros)}
    figure = figures.colour_maps(maps, dict.fromkeys(maps, GRID), {"shared": np.full(3, 0.3)})
    for axes, colour in zip(figure.axes, (style.BLUE, style.RED, style.GREY), strict=False):
        np.testing.assert_allclose(mesh_values(axes).reshape(-1, 3), np.tile(colour, (6, 1)))
    assert [len(axes.lines) for axes in figure.axes[:3]] == [0, 1, 0]


def test_share_maps_have_one_panel_each_on_one_scale():
    maps = {f"scale {k}": np.full((2, 3), k / 4) for k in range(5)}
    figure = figures.share_maps(maps, GRID, "share", columns=3)
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.get_title()]
    assert [axes.get_title() for axes in shown] == list(maps)
    for k, axes in enumerate(shown):
        assert (mesh_values(axes) == k / 4).all()
        assert axes.collections[0].get_clim() == (0, 1)


def test_lines_draw_every_curve_in_its_panel():
    panels = {"left": {"a": ([1, 2], [10, 20])}, "right": {"a": ([1, 2], [3, 4]), "b": ([1, 2], [5, 6])}}
    figure = figures.lines(panels, x="steps", y="cells, %", ticks=(1, 2), floor=0, reference=("r", [1, 2], [7, 8]))
    assert [axes.get_title() for axes in figure.axes] == ["left", "right"]
    assert [[*line.get_ydata()] for line in figure.axes[1].lines] == [[3, 4], [5, 6], [7, 8]]
    assert figure.axes[0].get_ylim()[0] == 0
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["1", "2"]
    assert figure.axes[0].get_ylabel() == "cells, %"


def test_boundaries_draw_probabilities_and_weights():
    ratio = np.array([0.2, 0.6, 1.0])
    names = ("candidate curve", "jump of the exact optimum", "continuous onset")
    curves = {k: ratio * s for k, s in zip(names, (0.5, 0.6, 1.0), strict=True)}
    weights = {k: ratio for k in "abcd"}
    left, right = exact.boundaries(ratio, curves, weights).axes
    drawn = {line.get_label(): line.get_ydata() for line in left.lines}
    for name in names:
        np.testing.assert_allclose(drawn[name], curves[name])
    assert len(right.get_legend().get_texts()) == 4


def test_bars_show_each_segment_where_it_is_with_its_border():
    rows = {
        "(2, 1)": [bars.Segment(0.01, 0.7, "digon"), bars.Segment(0.7, 1, "uneven digon")],
        "(4, 2)": [bars.Segment(0.01, 0.6, "2 digons", continuous=True), bars.Segment(0.6, 1, "triangle")],
    }
    figure = bars.intervals(rows, {"triangle": "triangles", "": "digons", "line": "lines"}, x="p", split=0.4)
    left, right = figure.axes
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    boxes = sorted((p.get_x(), p.get_x() + p.get_width()) for p in right.patches)
    np.testing.assert_allclose(boxes, [(0.4, 0.6), (0.4, 0.7), (0.6, 1), (0.7, 1)])
    assert {line.get_xdata()[0]: line.get_linestyle() for line in right.lines} == {0.7: "-", 0.6: ":", 1: "-"}
    assert {t.get_text() for t in right.texts} == {"digon", "uneven digon", "2 digons", "triangle"}
    assert [label.get_text() for label in left.get_yticklabels()] == list(rows)
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["triangles", "digons", "first-order", "continuous"]


def test_a_name_that_does_not_fit_is_left_out():
    assert bars.wrapped_to("triangle + digon", 30) == "triangle + digon"
    assert bars.wrapped_to("triangle + digon", 9) == "triangle\n+ digon"
    assert bars.wrapped_to("triangle + digon", 5) == ""
