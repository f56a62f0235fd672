"""Figures of maps with more cells than pixels, and of regions of maps."""

import numpy as np
import pytest
from conftest import plain_spec, run_command, slowly, small_spec
from cut_runs import CutRun, map_spec, trained_like

import tmsjax
from tmsjax import analysis, plots
from tmsjax.analysis import phases, pixels
from tmsjax.errors import RunError, SpecError
from tmsjax.kinds import STUDIES
from tmsjax.plots import studies
from tmsjax.runs import Run


@pytest.fixture(scope="module")
def dataset():
    return trained_like(map_spec())


@pytest.fixture
def small_figures(monkeypatch):
    """Figures of at most 10 x 10 pixels, and regions of at most 100 cells one by one."""
    monkeypatch.setattr(pixels, "LONGEST", 20)
    monkeypatch.setattr(pixels, "PIXELS", 10)
    monkeypatch.setattr(pixels, "MOST_CELLS", 100)


def one_unit(dataset) -> Run:
    return Run(analysis.spec_of(dataset), None, dataset)


def blocks(values: np.ndarray, rows: int, columns: int) -> list[list[np.ndarray]]:
    """The cells of each pixel."""
    return [
        np.array_split(row, range(columns, row.shape[1], columns), axis=1)
        for row in np.array_split(values, range(rows, len(values), rows))
    ]


@pytest.mark.usefixtures("small_figures")
@pytest.mark.parametrize("part", [(40, 30, 3), (12, 7, 3)])
def test_pixels_are_means_and_pluralities_of_their_cells(dataset, part):
    picture, theories, shades = analysis.plotted(CutRun(dataset, part), "best")
    cells = phases.phase_map(dataset)
    phase = cells["phase"].to_numpy()
    assert picture["phase"].shape == (10, 10)
    assert picture.attrs["pixel"] == {"feature_probability": 4, "extra_importance": 3}
    expected = phases.candidate_phases(dataset)
    for name in ("norm", "superposition", "success"):
        values = (cells[name] if name == "success" else cells[name][..., 1]).to_numpy()
        means = [[np.nan if np.isnan(b).all() else np.nanmean(b) for b in row] for row in blocks(values, 4, 3)]
        np.testing.assert_allclose(picture[name], means, rtol=1e-12)
    for row, line in enumerate(blocks(phase, 4, 3)):
        for column, block in enumerate(line):
            counts = np.bincount(block[block >= 0], minlength=4)
            assert picture["phase"][row, column] == (counts.argmax() if counts.sum() else phases.MASKED)
            np.testing.assert_allclose(picture["masked"][row, column], np.mean(block < 0))
    for row, line in enumerate(blocks(expected, 4, 3)):
        assert [np.bincount(block.reshape(-1)).argmax() for block in line] == theories["candidate"][row].tolist()
    W = phases.candidate_weights(dataset)
    means = [[b.mean() for b in row] for row in blocks(np.abs(W[..., 0, 1]), 4, 3)]
    np.testing.assert_allclose(shades["candidate"][0], means, rtol=1e-12)
    usable = phase != phases.MASKED
    agree = picture["agreeing_candidate"].sum() / picture["usable"].sum()
    assert float(agree) == np.mean((phase == expected)[usable])


@pytest.mark.usefixtures("small_figures")
def test_the_figures_of_many_units_say_what_a_pixel_is_and_stand_where_the_cells_do(dataset):
    drawn = plots.figures(CutRun(dataset, (12, 7, 3)), kind="phase-map")
    assert list(drawn) == ["phase_map", "failures", "agreement", "panels"]
    axes = drawn["phase_map"].axes[0]
    assert "each pixel: 3 x 4 cells" in axes.get_title()
    assert "each pixel: the most frequent of 3 x 4 cells" in drawn["agreement"].get_suptitle()
    whole = plots.figures(one_unit(dataset), kind="phase-map")
    title = whole["agreement"].axes[0].get_title()
    assert "% of cells agree" in title
    assert drawn["agreement"].axes[0].get_title() == title


@pytest.mark.usefixtures("small_figures")
def test_the_axes_of_pixels_are_those_of_cells(dataset, monkeypatch):
    monkeypatch.setattr(pixels, "PIXELS", 7)  # 6 x 5 cells, fewer in the last row
    small = plots.figures(one_unit(dataset))["phase_map"].axes[0]
    monkeypatch.undo()
    full = plots.figures(one_unit(dataset))["phase_map"].axes[0]
    np.testing.assert_allclose([*small.get_xlim(), *small.get_ylim()], [*full.get_xlim(), *full.get_ylim()], rtol=1e-12)
    assert "pixel" not in full.get_title()
    corners = [axes.collections[0].get_coordinates() for axes in (small, full)]
    np.testing.assert_allclose(corners[0][:-1], corners[1][::6, ::5], rtol=1e-12)
    np.testing.assert_allclose(corners[0][-1], corners[1][-1, ::5], rtol=1e-12)


def test_a_map_of_many_units_that_fits_is_the_same_figure(dataset):
    several, one = (plots.figures(run, kind="phase-map") for run in (CutRun(dataset, (12, 7, 3)), one_unit(dataset)))
    for name in one:
        for a, b in zip(one[name].axes, several[name].axes, strict=True):
            assert a.get_title() == b.get_title()
            for mesh, other in zip(a.collections, b.collections, strict=True):
                if mesh.get_array() is not None:
                    np.testing.assert_allclose(mesh.get_array(), other.get_array(), atol=1e-12)
            for line, other in zip(a.lines, b.lines, strict=True):
                np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())


@pytest.mark.usefixtures("small_figures")
@pytest.mark.parametrize("part", [(40, 30, 3), (12, 7, 3)])
def test_a_region_is_drawn_alone_and_reads_only_its_units(dataset, part):
    run = CutRun(dataset, part)
    p, r = (dataset[name].to_numpy() for name in ("feature_probability", "extra_importance"))
    region = {"feature_probability": (p[9], p[3]), "extra_importance": (r[8], r[12])}
    drawn = plots.figures(run, region=region)
    assert list(drawn) == ["phase_map-region", "failures-region", "agreement-region", "panels-region"]
    mesh = drawn["phase_map-region"].axes[0].collections[0]
    cells = phases.phase_map(dataset.isel(feature_probability=slice(3, 10), extra_importance=slice(8, 13)))
    colours = plots.style.colours(cells["norm"][..., 1].to_numpy(), cells["superposition"][..., 1].to_numpy())
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(7, 5, 3), colours, atol=1e-12)
    assert run.read == ([0] if len(run.units) == 1 else [1])
    assert "pixel" not in drawn["phase_map-region"].axes[0].get_title()
    large = plots.figures(run, region={"extra_importance": (r[8], r[20])})["phase_map-region"].axes[0]
    assert "each pixel: 2 x 4 cells" in large.get_title()


def test_a_map_with_a_third_axis_is_drawn_in_pixels():
    raw = map_spec()
    raw["axes"]["scale"] = {"values": [0.001, 1.0]}
    raw["instance"]["init_scale"] = "scale"
    dataset = trained_like(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "LONGEST", 20)
        patch.setattr(pixels, "PANEL_PIXELS", 10)
        figure = plots.figures(CutRun(dataset, (12, 7, 3, 1)))["phase_map"]
        panels = [a for a in figure.axes if a.get_title().startswith("scale")]
        assert [a.get_title() for a in panels] == ["scale = 0.001", "scale = 1"]
        assert [a.collections[0].get_array().shape for a in panels] == [(10, 10, 3)] * 2
        alone = plots.figures(CutRun(dataset, (12, 7, 3, 1)), region={"scale": (0.5, 2)})["phase_map-region"]
        assert [a.get_title() for a in alone.axes if a.get_title().startswith("scale")] == ["scale = 1"]


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"probability": (0.1, 0.2)}, "did you mean 'feature_probability'"),
        ({"replica": (0, 1)}, "replica: no axis of the map has this name"),
        ({"feature_probability": (0.2, 0.1)}, "the lowest value comes first, not 0.2, 0.1"),
        ({"feature_probability": (2, 3)}, "no value between 2 and 3; the axis goes from 0.03 to 1"),
        ({"feature_probability": 0.1}, "needs two finite numbers"),
        ({"feature_probability": (0.1, float("nan"))}, "needs two finite numbers"),
        ({"feature_probability": ("a", "b")}, "needs two finite numbers"),
    ],
)
def test_bad_regions_are_refused(dataset, region, message):
    with pytest.raises(SpecError, match="1 problem") as caught:
        plots.figures(one_unit(dataset), region=region)
    assert message in str(caught.value)


def test_regions_of_names_and_of_other_kinds_are_refused(dataset):
    raw = small_spec()
    raw["axes"]["case"] = {"values": ["small", "large"]}
    raw["instance"]["init_scale"] = {"select": "case", "of": [0.1, 1.0]}
    named = one_unit(trained_like(raw))
    with pytest.raises(SpecError, match="case: the axis holds names, not numbers"):
        plots.figures(named, region={"case": (0, 1)})
    with pytest.raises(RunError, match="only phase maps show a region, not figures of kind 'curves'"):
        plots.figures(one_unit(dataset), kind="curves", region={"feature_probability": (0.1, 1)})


@pytest.mark.parametrize("text", ["feature_probability", "feature_probability=1", "=1:2", "p=a:b", "p=1:2:3", "p=1:"])
def test_the_text_of_a_region_is_checked(text):
    with pytest.raises(SpecError, match="needs AXIS=LOW:HIGH"):
        analysis.read_region([text])


@pytest.mark.slow
def test_the_command_draws_regions(tmp_path):
    run = tmsjax.run_sweep(small_spec(), tmp_path / "run")
    assert analysis.read_region(["p=0.1:1", "r=1e-2:3"]) == {"p": (0.1, 1.0), "r": (0.01, 3.0)}
    with pytest.raises(SpecError, match="given twice"):
        analysis.read_region(["p=0.1:1", "p=1:2"])
    done = run_command("plot", run.directory.path, "--region", "extra_importance=0.5:20")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in run.directory.figures.iterdir()} >= {"phase_map-region.png", "failures-region.svg"}


def test_figures_that_load_all_models_are_refused_or_left_out_of_large_runs(dataset, monkeypatch):
    run = CutRun(dataset, (12, 7, 3))
    assert plots.figures(run, kind="curves")
    monkeypatch.setattr(studies, "MOST_MODELS", 3599)
    with pytest.raises(RunError, match=r"'curves' load all 3,600 models.*'phase-map' draws any number.*--region"):
        plots.figures(run, kind="curves")
    assert plots.figures(one_unit(dataset), kind="curves"), "one unit is in memory anyway"
    recorded = dataset.assign(history_loss=dataset["loss"].expand_dims({"step": [0, 30]}))
    run = CutRun(recorded, (12, 7, 3))
    with pytest.warns(UserWarning, match="'learning' load all 3,600 models"):
        assert list(plots.figures(run)) == ["phase_map", "failures", "agreement", "panels"][: len(plots.figures(run))]


def test_a_narrow_region_has_ticks(dataset):
    axes = plots.figures(one_unit(dataset), region={"extra_importance": (0.7, 1.5)})["phase_map-region"].axes[0]
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3
    away = {"extra_importance": (5, 10), "feature_probability": (0.03, 0.05)}  # no boundary
    assert plots.figures(one_unit(dataset), region=away)["phase_map-region"].axes[0].get_legend() is None


@pytest.mark.parametrize("unit", [4, *slowly(0)])
def test_every_kind_draws_a_run_that_kept_only_the_best(tmp_path, unit):
    raw = plain_spec(3, 2, probability="feature_probability", model={"family": "hidden-relu"}, store={"keep": "best"})
    raw["engine"] = {"unit": unit}
    raw["axes"] = {"feature_probability": {"values": [0.05, 1.0, 0.3]}, "replica": {"count": 4}}
    raw["record"] = {"measures": ["loss", "norm", "W"], "steps": [0, 30]}
    run = tmsjax.run_sweep(raw, tmp_path / "run")
    assert "replica" not in run.dataset.dims
    for kind in set(STUDIES) - {"phase-map"}:
        for figure in plots.figures(run, kind=kind).values():  # figures and animations
            figure.figure.canvas.draw()
    run.dataset["diverged"][1] = 3
    assert studies.told(run) == "12 models, 3 diverged"
    assert "data:image/png;base64" in run._repr_html_()
