"""Each kind of study draws its figures from a run's directory and refuses runs that it cannot show."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import plain_spec, run_command, small_spec
from cut_runs import untrained
from matplotlib.colors import to_rgb

from tmsjax import plots
from tmsjax.analysis import features
from tmsjax.errors import RunError, SpecError
from tmsjax.plots import features as feature_figures
from tmsjax.plots import style
from tmsjax.runs import open_run, run_sweep
from tmsjax.spec import load_spec

PROBABILITY = {"values": [0.05, 1.0, 0.3]}


def study(kind: str, features: int = 5, hidden: int = 2, **changes) -> dict:
    raw = plain_spec(features, hidden, probability="feature_probability", study={"kind": kind}, **changes)
    raw["axes"] = {"feature_probability": PROBABILITY, "replica": {"count": 2}}
    return raw


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A short run of (5, 2) and one of linear models, in directories."""
    folder = tmp_path_factory.mktemp("studies")
    relu = run_sweep(study("vectors"), folder / "relu")
    linear = run_sweep(study("gram", model={"activation": "linear"}), folder / "linear")
    return {"relu": relu, "linear": linear, "folder": folder}


def test_vectors_show_every_cell_s_best_columns(runs):
    axes = plots.figures(runs["relu"])["vectors"].axes
    assert [a.get_title() for a in axes[:3]] == ["p = 0.05", "p = 1", "p = 0.3"]
    best = features.best(runs["relu"].dataset)
    for k in range(3):
        ends = np.array([line.get_xydata()[-1] for line in axes[k].lines[::2]])
        W = best["W"].isel(feature_probability=k).to_numpy()
        np.testing.assert_allclose(ends @ ends.T, W.T @ W, atol=1e-6)


def test_gram_shows_products_biases_and_norms_of_both_runs(runs):
    figure = plots.figures(runs["relu"], kind="gram", beside=runs["folder"] / "linear")["gram"]
    tops = figure.axes[:4]
    assert [a.get_title() for a in tops] == ["linear", "p = 0.05", "p = 1", "p = 0.3"]
    best = features.best(runs["relu"].dataset)
    for k in range(3):
        W = best["W"].isel(feature_probability=k).to_numpy().astype(float)
        np.testing.assert_allclose(tops[k + 1].images[0].get_array(), W.T @ W, atol=1e-12)
        np.testing.assert_allclose(
            tops[k + 1].child_axes[0].images[0].get_array()[:, 0], best["b"].isel(feature_probability=k)
        )
        heights = [bar.get_height() for bar in figure.axes[k + 5].patches]
        np.testing.assert_allclose(heights, np.sqrt((W**2).sum(0)))
    W = features.best(runs["linear"].dataset)["W"].isel(feature_probability=0).to_numpy().astype(float)
    np.testing.assert_allclose(tops[0].images[0].get_array(), W.T @ W, atol=1e-12)


def test_geometry_shows_probabilities_in_falling_order(runs):
    drawn = plots.figures(runs["relu"], kind="geometry")
    left, middle, right = drawn["dimensions"].axes
    line = next(line for line in left.lines if line.get_linestyle() == "-")
    np.testing.assert_allclose(line.get_xdata(), [1, 1 / 0.3, 20])
    best = features.best(features.measures(runs["relu"].dataset)).isel(feature_probability=[1, 2, 0])
    np.testing.assert_allclose(line.get_ydata(), best["dimensions_per_feature"])
    assert len(middle.lines[0].get_ydata()) == 15
    levels = "1 dedicated, 3/4 tetrahedron, 2/3 triangle, 1/2 digon, 2/5 pentagon, 3/8 square antiprism"
    assert ", ".join(text.get_text() for text in right.texts) == f"{levels}, 0 not represented"
    assert [a.get_title() for a in drawn["graphs"].axes if a.get_visible()] == ["1/p = 1", "1/p = 3.33", "1/p = 20"]


def test_norms_have_the_classes_colours_and_every_model_is_a_dot(runs):
    drawn = plots.figures(runs["relu"], kind="norms")
    best = features.best(features.measures(runs["relu"].dataset))
    for k, axes in enumerate(drawn["norms"].axes):
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], best["norm"].isel(feature_probability=k))
        named = [feature_figures.CLASS_COLOURS[c] for c in best["class"].isel(feature_probability=k).to_numpy()]
        assert [to_rgb(bar.get_facecolor()[:3]) for bar in axes.patches] == [to_rgb(c) for c in named]
    dots = drawn["spreads"].axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(dots, features.measures(runs["relu"].dataset)["represented"].to_numpy().reshape(-1))


def test_a_map_with_a_third_axis_has_a_panel_for_each_of_its_values():
    raw = small_spec()
    raw["axes"]["scale"] = {"values": [0.001, 1.0]}
    raw["instance"]["init_scale"] = "scale"
    run = untrained(raw)
    panels = [a for a in plots.figures(run)["phase_map"].axes if a.get_title().startswith("scale")]
    assert [a.get_title() for a in panels] == ["scale = 0.001", "scale = 1"]
    for k, axes in enumerate(panels):
        best = features.best(features.measures(run.dataset)).isel(scale=k, feature=1)
        expected = plots.style.colours(best["norm"].to_numpy(), best["superposition"].to_numpy())
        np.testing.assert_allclose(axes.collections[0].get_array(), expected, atol=1e-6)


@pytest.fixture(scope="module")
def grid_run():
    """2 scales x 3 named cases, the replica first in the file; one cell's models have all diverged."""
    raw = plain_spec(3, 2, probability={"select": "case", "of": [0.9, 0.5, [0.1, 0.2, 0.3]]}, instances=2)
    raw["axes"] |= {"scale": {"values": [0.5, 1.0]}, "case": {"values": ["dense", "middle", "mixed"]}}
    raw["instance"]["init_scale"] = "scale"
    run = untrained(raw)
    run.dataset["status"].loc[{"scale": 0.5, "case": "middle"}] = 1
    run.dataset["W"].loc[{"scale": 0.5, "case": "middle"}] = 1e3
    return run


def test_two_axes_are_rows_and_columns_as_the_study_says(grid_run):
    best = features.best(features.measures(grid_run.dataset)).transpose("scale", "case", ...)
    axes = np.reshape(plots.figures(grid_run, kind="norms")["norms"].axes, (2, 3))
    for (i, j), panel in np.ndenumerate(axes):
        heights = [bar.get_height() for bar in panel.patches]
        np.testing.assert_allclose(heights, best["norm"][i, j])
    assert [a.get_title().split("\n")[0] for a in axes[0]] == ["dense", "middle", "mixed"]
    assert axes[0, 1].get_title() == "middle\ndiverged"
    assert [a.get_ylabel() for a in axes[:, 0]] == ["scale = 0.5", "scale = 1"]
    assert axes[1, 1].get_title() == f"{int(best['represented'][1, 1])} represented"
    vectors = plots.figures(grid_run, kind="vectors")["vectors"].axes[:6]
    cells = [f"scale = {scale}\n{case}" for scale in (0.5, 1) for case in ("dense", "middle", "mixed")]
    cells[1] += " diverged"
    assert [a.get_title() for a in vectors] == cells
    assert vectors[0].get_xlim()[1] < 10, "a diverged model sets no scale"
    ends = np.array([line.get_xydata()[-1] for line in vectors[5].lines[::2]])
    W = best["W"][1, 2].transpose("hidden", "feature").to_numpy()
    np.testing.assert_allclose(ends @ ends.T, W.T @ W, atol=1e-5)


def test_spreads_show_every_model_that_did_not_diverge(grid_run):
    panel = plots.figures(grid_run, kind="norms")["spreads"].axes[0]
    counts = features.measures(grid_run.dataset)["represented"].transpose("scale", "case", "replica").to_numpy()
    for k, line in enumerate(panel.lines):
        np.testing.assert_array_equal(np.ma.filled(line.get_ydata(), np.nan), counts[k].reshape(-1))


def test_names_with_a_dollar_are_text_and_long_ones_are_wrapped():
    raw = plain_spec(3, 2, probability={"select": "case", "of": [0.9, 0.5]}, instances=1)
    raw["axes"] = {"case": {"values": ["$x^$", "a name that is much too long for its panel"]}}
    drawn = plots.figures(untrained(raw), kind="norms")
    titles = [a.get_title() for a in drawn["norms"].axes]
    assert titles[0].startswith(r"\$x^\$")
    assert max(map(len, titles[1].split("\n"))) < 30
    for figure in drawn.values():
        figure.canvas.draw()


def test_graphs_join_what_is_not_orthogonal_and_colour_what_is_recognised():
    angles = 2 * np.pi * np.arange(5) / 5
    W = np.zeros((4, 8))
    W[:2, :5] = np.cos(angles), np.sin(angles)
    W[2, 5:7] = 1, -1
    axes = feature_figures.graphs([("both", W, *features.component_kinds(W))]).axes[0]
    edges, nodes = axes.collections[::2], axes.collections[1::2]
    assert [len(part.get_segments()) for part in edges] == [10, 1]
    assert [len(part.get_offsets()) for part in nodes] == [5, 2]
    for part, name in zip(nodes, ("pentagon", "digon"), strict=True):
        expected = to_rgb(feature_figures.KIND_COLOURS[features.COMPONENTS.index(name)])
        assert {tuple(c[:3]) for c in part.get_facecolors()} == {expected}


@pytest.mark.parametrize("kind", ["vectors", "gram", "norms"])
def test_runs_without_axes_or_biases_are_shown(kind):
    raw = plain_spec(3, 2, instances=1, model={"family": "tied-no-bias"})
    raw["axes"] = {}
    assert plots.figures(untrained(raw), kind=kind)


def test_plots_are_made_from_the_directory_without_jax(runs):
    code = "import sys; from pathlib import Path; from tmsjax import plots; run = Path(sys.argv[1])\n"
    code += "for kind in ('vectors', 'gram', 'geometry', 'norms'): assert plots.figures(run, kind=kind)\n"
    code += "sys.exit('jax' in sys.modules)"
    command = [sys.executable, "-c", code, str(runs["folder"] / "relu")]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.slow
def test_the_command_draws_the_spec_s_kind_twice_the_same(runs):
    path = runs["folder"] / "relu"
    first = run_command("plot", path)
    assert first.returncode == 0, first.stderr
    files = sorted((path / "figures").iterdir())
    assert [file.name for file in files] == ["vectors.png", "vectors.svg"]
    before = [file.read_bytes() for file in files]
    assert run_command("plot", path).returncode == 0
    assert [file.read_bytes() for file in files] == before
    assert open_run(path).spec.study.kind == "vectors"
    unknown = run_command("plot", path, "--kind", "vektors")
    assert unknown.returncode == 2
    assert "did you mean 'vectors'" in unknown.stderr
    beside = run_command("plot", path, "--beside", runs["folder"] / "linear")
    assert beside.returncode == 2
    assert "kind 'gram'" in beside.stderr


def test_runs_that_a_study_cannot_show_are_refused(runs):
    with pytest.raises(SpecError, match=r"study.kind: 'vectors' draws a plane: it needs model.hidden = 2, not 3"):
        load_spec(study("vectors", hidden=3))
    raw = study("geometry")
    raw["axes"]["importance"] = {"values": [0.5, 1.0]}
    raw["instance"]["importance"] = "importance"
    with pytest.raises(SpecError, match="at most 1 axis besides replica, not feature_probability, importance"):
        load_spec(raw)
    raw["study"] = {"kind": "norms"}
    load_spec(raw)
    raw = study("geometry")
    raw["axes"] = {"decay": {"values": [0.5, 1.0]}}
    raw["instance"] |= {"feature_probability": 0.3, "importance": {"first": 1.0, "ratio": "decay"}}
    with pytest.raises(SpecError, match="at least 2 distinct probabilities; got 1 along decay"):
        load_spec(raw)
    mixed = study("norms")
    mixed["instance"]["feature_probability"] = {"geometric": [1.0, "feature_probability"]}
    with pytest.raises(RunError, match="one probability for all features"):
        plots.figures(untrained(mixed), kind="geometry")
    with pytest.raises(RunError, match="select is 'best', not 'vote'"):
        plots.figures(runs["relu"], kind="norms", select="vote")
    with pytest.raises(RunError, match="have 3 and 5 features"):
        plots.figures(runs["relu"], kind="gram", beside=untrained(study("gram", features=3)))
    raw = study("norms")
    raw["axes"]["feature_probability"] = {"linear": [0.1, 0.9], "count": 101}
    with pytest.raises(SpecError, match="at most 100 cells, not 101"):
        load_spec(raw)
    with pytest.raises(ValueError, match="kind = 'vektors' is not known; did you mean 'vectors'"):
        plots.figures(runs["relu"], kind="vektors")


def test_vectors_of_equal_importance_are_coloured_by_set():
    run = untrained(plain_spec(4, 2, data={"activity": "groups", "size": 2}))
    figure = plots.figures(run, kind="vectors")["vectors"]
    assert [line.get_color() for line in figure.axes[0].lines[::2]] == [t for t in style.TONES[:2] for _ in range(2)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["set 1", "set 2"]
