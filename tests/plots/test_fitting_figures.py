"""If no kind is named, a run's shape determines its figures; curves show the dataset's medians and best models."""

import time
import warnings

import numpy as np
import pytest
from conftest import map_axes, plain_spec, run_command, small_spec
from cut_runs import untrained
from matplotlib.figure import Figure

import tmsjax
from tmsjax import analysis, plots
from tmsjax.errors import RunError
from tmsjax.kinds import STUDIES, suited
from tmsjax.plots import series
from tmsjax.runs import Run, run_sweep
from tmsjax.spec import load_spec, stored_spec, to_toml

LOG = {"log": [1.0, 0.01], "count": 4}
NAMES = {"values": ["dense", "sparse"]}
STEPS = [0, 1, 10, 100]


def swept(axes: dict, features: int = 5, hidden: int = 2, replicas: int = 3, **changes) -> dict:
    """A spec over `axes`, each of which sets something."""
    raw = plain_spec(features, hidden, probability="p" if "p" in axes else 0.1, **changes)
    raw["axes"] = axes | ({"replica": {"count": replicas}} if replicas else {})
    if "case" in axes:
        raw["instance"]["importance"] = {"select": "case", "of": [1.0, 0.5]}
    if "extra" in axes:
        raw["instance"]["importance"] = [*[1.0] * (features - 1), "extra"]
    if "scale" in axes:
        raw["instance"]["init_scale"] = "scale"
    if "rate" in axes:
        raw["train"]["learning_rate"] = "rate"
    return raw


def recorded(raw: dict, steps=STEPS, **measures: tuple[str, ...]) -> Run:
    """An untrained run with a history of `measures` (their own dimensions by name), loss among them."""
    run, rng = untrained(raw), np.random.default_rng(1)
    dims, shape = run.dataset["loss"].dims, run.dataset["loss"].shape
    size = {"hidden": run.spec.model.hidden, "feature": run.spec.model.features}
    history = {
        f"history_{name}": ([*dims, "step", *own], rng.uniform(0.1, 1, (*shape, len(steps), *(size[d] for d in own))))
        for name, own in ({"loss": ()} | measures).items()
    }
    return Run(run.spec, None, run.dataset.assign(history).assign_coords(step=steps))


def names_of(figures: dict) -> list[str]:
    for figure in figures.values():
        figure.canvas.draw()
    return list(figures)


MAPS = ["phase_map", "failures"]


@pytest.mark.parametrize(
    ("axes", "sizes", "expected"),
    [
        ({"p": LOG}, (5, 2), ["curves", "vectors", "gram", "learning"]),
        ({"p": LOG}, (5, 3), ["curves", "gram", "learning"]),
        ({"p": LOG}, (40, 3), ["curves", "learning"]),
        ({"p": {"log": [1.0, 0.01], "count": 30}}, (5, 2), ["curves", "learning"]),
        ({"case": NAMES}, (5, 3), ["curves", "gram", "learning"]),
        ({"p": LOG, "extra": {"log": [0.1, 10], "count": 6}}, (5, 2), [*MAPS, "learning"]),
        ({"p": LOG, "extra": {"log": [0.1, 10], "count": 3}}, (5, 2), [*MAPS, "vectors", "learning"]),
        ({"p": LOG, "extra": LOG, "scale": {"values": [0.5, 1]}}, (5, 3), ["phase_map", "learning"]),
        ({"p": LOG, "case": NAMES}, (5, 3), ["curves", "norms", "spreads", "learning"]),
        ({"p": LOG, "extra": LOG, "scale": LOG, "rate": LOG}, (5, 3), ["curves", "learning"]),
        ({"p": LOG, "extra": {"values": [1.0]}}, (5, 3), ["curves", "learning"]),
        ({}, (5, 2), ["curves", "vectors", "gram", "learning"]),
        ({}, (40, 3), ["curves", "gram", "learning"]),
    ],
)
def test_the_shape_chooses_the_figures(axes, sizes, expected):
    assert names_of(plots.figures(recorded(swept(axes, *sizes)))) == expected


def test_runs_of_one_model_or_without_history_are_shown():
    assert names_of(plots.figures(recorded(swept({}, replicas=0)))) == ["vectors", "gram", "learning"]
    assert names_of(plots.figures(untrained(swept({"p": LOG})))) == ["curves", "vectors", "gram"]
    assert not plots.figures(recorded(swept({}, replicas=0)))["learning"].legends, "there is no median of one model"
    large = untrained(swept({}, 300, 3, replicas=0))
    assert names_of(plots.figures(large)) == ["curves"], "something is always drawn"


def test_a_stored_phase_map_that_fits_no_map_is_as_no_kind():
    shown = names_of(plots.figures(recorded(swept({"p": LOG}, study={"kind": "phase-map"}))))
    assert shown == ["curves", "vectors", "gram", "learning"]
    two = {"p": LOG, "extra": LOG}
    assert names_of(plots.figures(recorded(swept(two, study={"kind": "phase-map"})))) == MAPS
    with pytest.raises(RunError, match="needs two axes of numbers"):
        plots.figures(recorded(swept({"p": LOG})), kind="phase-map")


def without_directions(raw: dict) -> Run:
    run = recorded(raw)
    kept = run.dataset.drop_vars(["W", "b"])
    return Run(run.spec, None, kept.assign_attrs(kept.attrs | {"directions": 0}))


def test_runs_without_directions_have_losses_and_learning_curves():
    for axes in ({"p": LOG}, {"p": LOG, "extra": LOG}, {}):
        run = without_directions(swept(axes))
        drawn = plots.figures(run)
        assert names_of(drawn)[-1] == "learning"
        if len(axes) < 2:
            assert [a.get_ylabel() for a in drawn["curves"].axes] == ["noise-free loss"]
    mapped = without_directions(swept({"p": LOG}, study={"kind": "phase-map"}))
    assert names_of(plots.figures(mapped)) == ["curves", "learning"]
    with pytest.raises(RunError, match="no directions W"):
        plots.figures(without_directions(swept({"p": LOG})), kind="gram")
    with pytest.raises(RunError, match="no measure was recorded"):
        plots.figures(untrained(swept({"p": LOG})), kind="learning")


def test_runs_that_name_what_is_not_known_here_are_shown():
    known = recorded(swept({"p": LOG}), participation=("feature",), whatever=())
    text = to_toml(known.spec)
    for old, new in (("tied", "mine"), ("relu", "softmax"), ("uniform", "triangles")):
        text = text.replace(f'= "{old}"', f'= "{new}"')
    text = text.replace('activity = "independent"', 'activity = "waves"\nheight = 3')
    text = text.replace('measures = ["loss"]', 'measures = ["loss", "participation", "whatever"]')
    run = Run(stored_spec(text, "test"), None, known.dataset.assign_attrs(spec=text, directions=1))
    assert run.spec.model.family == "mine"
    drawn = plots.figures(run)
    assert names_of(drawn) == ["curves", "vectors", "gram", "learning"]
    labels = [a.get_ylabel() for a in drawn["learning"].axes]
    assert labels == ["noise-free loss", "participation\n(of all features)", "whatever"]


def test_curves_show_the_best_model_of_each_cell_and_every_model_in_rising_order():
    run = untrained(swept({"p": {"values": [0.3, 0.01, 1.0]}}, 5, 3))
    run.dataset["status"][1, 0] = 2
    figure = plots.figures(run)["curves"]
    best = analysis.best(analysis.measures(run.dataset))
    every = analysis.measures(run.dataset)
    names = ("loss", "represented", "dimensions_per_feature")
    assert [a.get_ylabel() for a in figure.axes] == [tmsjax.kinds.MEASURES[name].label for name in names]
    for axes, name in zip(figure.axes, names, strict=True):
        dots, line = axes.lines
        np.testing.assert_array_equal(line.get_xdata(), [0.01, 0.3, 1.0])
        np.testing.assert_allclose(line.get_ydata(), best[name].to_numpy()[[1, 0, 2]])
        models = every[name].where(every["status"] == 0).to_numpy()[[1, 0, 2]]
        np.testing.assert_allclose(dots.get_ydata(), models.reshape(-1))
        assert np.isnan(dots.get_ydata()).sum() == 1
        assert axes.get_xscale() == "linear"
    assert "1 diverged" in figure.get_suptitle()


def test_curves_along_log_axes_and_along_names():
    assert plots.figures(untrained(swept({"p": LOG})))["curves"].axes[0].get_xscale() == "log"
    axes = plots.figures(untrained(swept({"case": NAMES})))["curves"].axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["dense", "sparse"]
    assert axes.lines[1].get_linestyle() == "None", "nothing lies between names"


def test_too_many_models_for_dots_are_a_band():
    run = untrained(swept({"p": LOG}, replicas=2000))
    axes = plots.figures(run)["curves"].axes[0]
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_ydata(), run.dataset["loss"].min("replica").to_numpy()[::-1])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    expected = np.quantile(run.dataset["loss"].to_numpy(), (0.1, 0.9), axis=1)
    assert set(np.round(expected.reshape(-1), 9)) <= set(np.round(band, 9))


def test_replicas_whose_inputs_differ_are_shown_by_their_median():
    raw = swept({"p": LOG})
    raw["instance"]["importance"] = {"geometric": [1.0, 0.1], "permute": "replica"}
    run = untrained(raw)
    figure = plots.figures(run)["curves"]
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), run.dataset["loss"].median("replica")[::-1])
    assert "median" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_the_replicas_of_one_cell_are_ranked_by_loss():
    run = untrained(swept({}, replicas=7))
    run.dataset["status"][2] = 1
    order = np.argsort(np.where(run.dataset["status"] == 0, run.dataset["loss"], np.inf))[:6]
    figure = plots.figures(run)["curves"]
    represented = analysis.measures(run.dataset)["represented"].to_numpy()[order]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), run.dataset["loss"].to_numpy()[order])
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), represented)


def test_learning_curves_are_medians_and_bands_of_each_cell():
    run = recorded(swept({"p": LOG}, 8, 3, replicas=5), norm=("feature",), W=("hidden", "feature"))
    run.dataset["status"][0, 0] = 1
    figure = plots.figures(run)["learning"]
    assert [a.get_ylabel() for a in figure.axes] == ["noise-free loss", "norm $|W_i|$\n(of all features)"]
    loss, norm = run.dataset["history_loss"].to_numpy(), run.dataset["history_norm"].to_numpy()
    for k, line in enumerate(figure.axes[0].lines):
        used = loss[k, 1:] if k == 0 else loss[k]
        np.testing.assert_array_equal(line.get_xdata(), STEPS)
        np.testing.assert_allclose(line.get_ydata(), np.median(used, axis=0))
        band = figure.axes[0].collections[k].get_paths()[0].vertices[:, 1]
        assert set(np.round(np.quantile(used, (0.1, 0.9), axis=0).reshape(-1), 9)) <= set(np.round(band, 9))
    expected = np.median(np.moveaxis(norm, 2, 1)[1].reshape(len(STEPS), -1), axis=1)
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), expected)
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts == ["p = 1", "p = 0.215", "p = 0.0464", "p = 0.01", "median", "10 to 90 % of models"]


def test_step_0_has_a_place_of_its_own():
    run = recorded(swept({}))
    assert plots.figures(run)["learning"].axes[0].get_xscale() == "symlog"
    later = recorded(swept({}), steps=[1, 10, 100])
    assert plots.figures(later)["learning"].axes[0].get_xscale() == "log"
    for steps in ([0], [5], [0, 30]):
        names_of(plots.figures(recorded(swept({}), steps=steps)))


def test_the_features_of_one_cell_are_curves_of_their_own():
    run = recorded(swept({}, 3, 2, replicas=4), norm=("feature",))
    panel = plots.figures(run)["learning"].axes[1]
    expected = run.dataset["history_norm"].median("replica").transpose("feature", "step").to_numpy()
    np.testing.assert_allclose([line.get_ydata() for line in panel.lines], expected)


def test_many_cells_are_a_sample_along_one_axis_and_quantiles_along_several():
    run = recorded(swept({"p": {"log": [1.0, 0.01], "count": 40}}))
    lines = plots.figures(run)["learning"].axes[0].lines
    expected = run.dataset["history_loss"].median("replica").to_numpy()
    assert len(lines) == series.MOST
    np.testing.assert_allclose(lines[0].get_ydata(), expected[0])
    np.testing.assert_allclose(lines[-1].get_ydata(), expected[-1])
    run = recorded(swept({"p": LOG, "extra": LOG}))
    (line,) = plots.figures(run)["learning"].axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), run.dataset["history_loss"].median(["p", "extra", "replica"]))


def test_quantiles_are_those_of_numpy_without_what_is_not_finite():
    values = np.random.default_rng(0).normal(size=(3, 4, 11))
    values[0, 0, :5] = np.nan, np.inf, -np.inf, np.nan, np.nan
    values[1, 1] = np.nan
    found = series.quantiles(values, (0.1, 0.5, 0.9))
    finite = np.where(np.isfinite(values), values, np.nan)
    with warnings.catch_warnings(action="ignore"):  # of a slice without numbers
        expected = np.nanquantile(finite, (0.1, 0.5, 0.9), axis=-1)
    np.testing.assert_allclose(found, expected)


def test_runs_whose_models_all_diverged_are_shown():
    for axes in ({"p": LOG}, {"case": NAMES}, {}, {"p": LOG, "extra": LOG}):
        run = recorded(swept(axes), norm=("feature",))
        run.dataset["status"][...] = 1
        run.dataset["W"][...] = np.nan
        run.dataset["history_loss"][...] = np.nan
        drawn = plots.figures(run)
        assert "learning" in names_of(drawn)
        shown = [line.get_ydata() for axes in drawn["learning"].axes for line in axes.lines]
        assert not np.isfinite(np.concatenate([np.ma.filled(np.ma.asarray(y, float), np.nan) for y in shown])).any()


def test_ten_thousand_cells_are_drawn_in_seconds():
    run = recorded(small_spec(axes=map_axes(100, 100, 5)), norm=("feature",))
    began = time.monotonic()
    assert names_of(plots.figures(run)) == [*MAPS, "agreement", "panels", "learning"]
    assert time.monotonic() - began < 30


@pytest.fixture
def added(monkeypatch):
    """A registry of studies that the test may add to."""
    monkeypatch.setattr(STUDIES, "_entries", dict(STUDIES))
    monkeypatch.setattr(STUDIES, "_sources", dict(STUDIES._sources))
    return tmsjax.add_study


def test_studies_that_users_add_are_drawn_and_what_they_return_is_checked(added):
    run = recorded(swept({"p": LOG}))
    figure = Figure()
    added("mine", lambda run: {"one": figure})
    assert plots.figures(run, kind="mine") == {"one": figure}
    assert plots.figures(recorded(swept({"p": LOG}, study={"kind": "mine"}))) == {"one": figure}
    assert "mine" not in suited(run.spec, {"directions", "history"})
    for name, result, message in (
        ("none", None, "must return a dict of figures by file name, not None"),
        ("empty", {}, "must return a dict"),
        ("path", {"../x": figure}, "is not a file name"),
        ("axes", {"x": figure.subplots()}, "'x' is not a matplotlib Figure but Axes"),
    ):
        added(name, lambda run, result=result: result)
        with pytest.raises(RunError, match=message):
            plots.figures(run, kind=name)

    def broken(run):
        raise KeyError("loss of what")

    added("broken", broken)
    with pytest.raises(RunError, match="the study 'broken' failed: KeyError: 'loss of what'"):
        plots.figures(run, kind="broken")


def test_every_study_says_what_it_is_and_no_two_draw_figures_of_one_name():
    assert all(study.sentence and callable(study.draw) for study in STUDIES.values())
    raw = swept({"p": LOG}, model={"family": "hidden-relu"}, record={"measures": ["loss", "W"]})
    run = recorded(raw, W=("hidden", "feature"), dimensionality=("feature",))
    names = [name for kind in STUDIES if kind != "phase-map" for name in plots.figures(run, kind=kind)]
    assert len(set(names)) == len(names)


def test_selections_other_than_the_best_need_a_map():
    with pytest.raises(RunError, match="kind 'curves' and 'vectors' and 'gram' and 'learning' show the model"):
        plots.figures(recorded(swept({"p": LOG})), select="vote")
    assert "phase_map" in plots.figures(recorded(swept({"p": LOG, "extra": LOG})), select="vote")


def test_the_command_draws_what_suits_and_its_help_comes_from_the_registry(tmp_path):
    records = {"measures": ["loss", "norm"], "steps": [1, 30]}
    run = run_sweep(swept({"p": LOG}, model={"activation": "linear"}, record=records), tmp_path / "run")
    assert suited(run.spec) == ["curves", "vectors", "gram", "learning"]
    done = run_command("plot", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    written = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert written == {"curves", "vectors", "gram", "learning"}
    told = " ".join(run_command("plot", "--help").stdout.replace("│", " ").split())
    for name, study in STUDIES.items():
        assert f"{name}: {study.sentence}" in told
    file = tmp_path / "mine.py"
    imports = "import tmsjax\nfrom matplotlib.figure import Figure\n"
    file.write_text(f"{imports}tmsjax.add_study('mine', lambda run: {{'mine': Figure()}})\n")
    assert run_command("plot", tmp_path / "run", "--kind", "mine").returncode == 2
    done = run_command("plot", tmp_path / "run", "--kind", "mine", "--import", file)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "figures" / "mine.png").exists()


def test_loaded_specs_say_what_suits_them():
    spec = load_spec(swept({"p": LOG}))
    assert suited(spec, {"directions"}) == ["curves", "vectors", "gram"]
    assert suited(spec, set()) == ["curves"]
    assert suited(spec) == ["curves", "vectors", "gram"], "30 steps of 64 samples have one recorded step"
    assert suited(load_spec(swept({"p": LOG}, record={"measures": ["W"], "steps": STEPS[:2]}))) == suited(spec)
    records = {"measures": ["loss", "W"], "steps": STEPS[:2]}
    assert suited(load_spec(swept({"p": LOG}, record=records)))[-2:] == ["learning", "dynamics"]
    assert "dynamics" not in suited(load_spec(swept({"p": LOG}, record=records | {"steps": [30]})))
    assert suited(load_spec(swept({"p": LOG}, 300, 3))) == ["curves"]


def test_one_axis_without_replicas_and_without_history_has_curves():
    run = recorded(swept({"p": LOG}, replicas=0), steps=[30])
    drawn = plots.figures(run)
    assert list(drawn) == ["curves", "vectors", "gram"], "one recorded step is no curve"
    np.testing.assert_allclose(drawn["curves"].axes[0].lines[0].get_ydata()[::-1], run.dataset["loss"])
