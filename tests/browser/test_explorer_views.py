"""The explorer's views of sweeps that are no map, or too large for one, and of runs that lack some models."""

import numpy as np
import pytest
from conftest import plain_spec, run_command, small_spec

import tmsjax
from browser.made_up import made_up
from browser.pages import agrees, read
from tmsjax.analysis import pixels
from tmsjax.explorer import cells, content, models
from tmsjax.kinds import ACTIVATIONS, FAMILIES, measures
from tmsjax.plots import style
from tmsjax.runs import Run

pytestmark = pytest.mark.browser
PROBABILITIES = {"feature_probability": {"log": [1.0, 0.05], "count": 6}, "replica": {"count": 3}}
NAMES = ["important frequent", "rare", "uniform"]


def line_spec(features: int, hidden: int, **changes) -> dict:
    """A sweep over probabilities alone, as a raw dict."""
    axes = {"axes": PROBABILITIES, "instance": {"feature_probability": "feature_probability"}}
    return plain_spec(features, hidden, **axes | changes)


def thumbs(page) -> list[str]:
    return page.page.locator("#pictures .thumb > span").all_inner_texts()


def walk(page, columns: int) -> None:
    """The arrow keys choose one cell after the other: on the chart as its axis runs, on the pictures in their order."""
    panel = page.page.locator("#panel")
    axis = page.about["axes"][-1]
    falls = axis["scale"] != "names" and axis["values"][0] > axis["values"][-1]
    first, onwards = ("End", "ArrowLeft") if falls else ("Home", "ArrowRight")
    page.page.locator("#chart").focus()
    page.page.keyboard.press(first)
    titles = [page.title()]
    for column in range(1, columns):
        page.page.keyboard.press(onwards)
        assert page.hash.startswith(f"#cell=0,{column}")
        titles.append(page.title())
        assert page.page.locator("#pictures [aria-pressed=true]").get_attribute("data-column") == str(column)
    assert len(set(titles)) == columns
    page.page.keyboard.press(onwards)
    assert page.title() == titles[-1]
    page.page.locator("#pictures .thumb").first.click()
    assert page.title() == titles[0]
    for title in titles[1:3]:
        page.page.keyboard.press("ArrowRight")
        assert page.title() == title, "the pictures lost the focus"
    page.page.keyboard.press("Escape")
    assert panel.inner_text().startswith("Click a cell")


def drawn(page, selector: str) -> bool:
    """Whether a canvas has several colours."""
    tones = page.page.locator(selector).first.evaluate(
        """(c) => [...new Set(new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer))]"""
    )
    return len(tones) > 3


@pytest.fixture(scope="session")
def vectors():
    """Five features in two dimensions over probabilities, with two measures recorded."""
    record, train = {"measures": ["loss", "norm"], "steps": [0, 10, 50, 100]}, {"steps": 100, "learning_rate": 1e-2}
    raw = line_spec(5, 2, name="vectors", study={"kind": "vectors"}, record=record, train=train)
    return tmsjax.run_sweep(raw)


def test_vectors_over_probabilities(explored, vectors):
    page = explored(vectors)
    probabilities = vectors.spec.axis["feature_probability"].values
    assert thumbs(page) == [f"p = {value:.4g}" for value in probabilities]
    assert page.page.locator("#pictures canvas").count() == 6
    assert drawn(page, "#pictures canvas")
    assert drawn(page, "#chart")
    assert not page.map.is_visible()
    walk(page, 6)
    page.page.locator("#pictures .thumb").nth(4).click()
    cell = vectors.dataset.isel(feature_probability=4)
    best = cell.isel(replica=int(cell["loss"].to_numpy().argmin()))
    norm = measures.norms(best["W"].to_numpy().astype(float))
    said = page.numbers()
    assert said["features represented"] == f"{(norm >= page.about['represented']).sum()} of 5"
    assert agrees(said["dimensions per feature D*"], 2 / (norm**2).sum(), 1e-3)
    loss = float(best["loss"])
    assert agrees(said["noise-free loss"], loss, 1e-4 * loss, digits=4)
    page.page.locator("#panel summary").click()
    for i, row in enumerate(page.table()):
        for k in range(2):
            assert agrees(row[f"W {k + 1}"], float(best["W"][k, i]), page.about["errors"]["weights"], digits=4)


def test_a_chart_of_each_measure(explored, vectors):
    page = explored(vectors)
    labels = page.page.locator("#choice-measure option").all_inner_texts()
    assert "dimensionality D of each feature" in labels
    looks = set()
    for label in labels:
        page.page.locator("#choice-measure").select_option(label=label)
        assert f"Chart of {label}" in (page.page.locator("#chart").get_attribute("aria-label") or "")
        looks.add(page.page.locator("#chart").evaluate("(c) => c.toDataURL()"))
    assert len(looks) == len(labels)
    assert explored(vectors, page.hash).controls() == page.controls()


def test_a_dot_of_the_chart_tells_its_value_and_chooses_its_cell(explored, vectors):
    page = explored(vectors, "cell=0,0&measure=success")
    chart = page.page.locator("#chart")
    width, height = chart.evaluate("(c) => [c.clientWidth, c.clientHeight]")
    place = {"x": width - 15 - (width - 68) * 0.036, "y": height / 2}  # near the dot of the highest value, p = 1
    chart.click(position=place)
    cells = {"0,0", "0,5"}
    assert page.hash.removeprefix("#").split("&")[0].removeprefix("cell=") in cells
    loss = vectors.dataset["loss"].isel(feature_probability=0)
    success = float((loss <= 1.01 * loss.min()).mean())
    left, right, top, bottom = 58, width - 10, 8, height - 40
    y = bottom - (success + 0.03) / 1.06 * (bottom - top)
    x = right - (right - left) * 0.04 / 1.08  # ends are widened by 4 % of the logarithms
    chart.hover(position={"x": x, "y": y})
    assert page.page.locator("#hover").inner_text() == f"p = 1, share of inits that succeed: {100 * success:.3g} %"


def test_learning_curves_of_recorded_measures(explored, vectors):
    page = explored(vectors, "cell=0,2")
    section = page.page.locator("#panel section").filter(has_text="Learning")
    labels = section.locator("canvas").evaluate_all("(all) => all.map((c) => c.getAttribute('aria-label'))")
    assert labels == ["loss over training steps", "norm over training steps"]
    assert page.about["history"]["steps"] == [0, 10, 50, 100]
    assert drawn(page, "#panel section:has-text('Learning') canvas")
    first = section.locator("canvas").first.evaluate("(c) => c.toDataURL()")
    page.page.locator("#pictures .thumb").nth(5).click()
    assert section.locator("canvas").first.evaluate("(c) => c.toDataURL()") != first


def test_geometry_shows_graphs_and_dimensionality(explored):
    run = made_up(line_spec(12, 4, name="geometry", study={"kind": "geometry"}))
    page = explored(run)
    assert page.controls()["choice-measure"] == "dimensionality"
    assert len(thumbs(page)) == 6
    assert drawn(page, "#pictures canvas")
    assert page.page.locator("#panel .cards.graph canvas").count() == 3
    assert page.page.locator("#panel .entry").filter(has_text="tetrahedron").count() == 1
    walk(page, 6)


@pytest.mark.parametrize("study", ["norms", None])
def test_an_axis_of_names(explored, study):
    axes = {"case": {"values": NAMES}, "least": {"values": [0.2, 0.01]}, "replica": {"count": 2}}
    raw = plain_spec(5, 2, axes=axes, instance={"feature_probability": {"select": "case", "of": [0.9, 0.05, "least"]}})
    raw["study"] = {"y": "least", "x": "case"} | ({"kind": study} if study else {})
    page = explored(made_up(raw))
    if study:
        assert thumbs(page) == NAMES
        assert page.page.locator("#slider-axis-0").count() == 1
        walk(page, 3)
        return
    assert page.title() == "Cell: least = 0.01, rare"
    page.map.press("ArrowLeft")
    assert page.title().endswith("important frequent")
    page.click(1, 2)
    assert page.title().endswith(", uniform")


def test_a_head_without_directions(explored):
    raw = line_spec(6, 2, name="head", model={"features": 6, "hidden": 2, "family": "attention-output"})
    raw["model"]["value_rank"] = 3
    run = made_up(raw)
    page = explored(run)
    walk(page, 6)
    page.page.locator("#pictures .thumb").nth(1).click()
    assert drawn(page, "#panel .cards.heat canvas")
    told = "cannot compute the output of the family \u201cattention-output\u201d"
    assert told in page.page.locator("#panel").inner_text()
    assert "phase" not in page.numbers()
    cell = run.dataset.isel(feature_probability=1)["loss"].to_numpy()
    assert agrees(page.numbers()["noise-free loss"], cell.min(), 1e-4 * cell.min(), digits=4)


def test_a_map_of_heads_is_coloured_by_loss(explored):
    axes = {"ratio": {"log": [0.1, 10.0], "count": 3}, "feature_probability": {"log": [1.0, 0.1], "count": 3}}
    raw = line_spec(4, 1, axes=axes, model={"features": 4, "hidden": 1, "family": "attention-score", "ratio": "ratio"})
    page = explored(made_up(raw))
    assert page.controls()["choice-colour"] == "loss"
    assert "choice-rule" not in page.controls()
    assert len(np.unique(page.tones().reshape(-1, 3), axis=0)) == 9


def test_a_sweep_of_one_cell(explored):
    page = explored(made_up(plain_spec(5, 2)))
    assert page.title() == "Cell: the only one"
    assert len(page.cards()) == 4 + ("candidate" in page.about["theories"])
    assert drawn(page, "#panel .card canvas")


def test_many_replicas_are_shown_when_asked(explored):
    page = explored(made_up(line_spec(5, 2, axes={**PROBABILITIES, "replica": {"count": 30}}), seed=1))
    assert len(page.cards()) == 12
    page.page.get_by_role("button", name="Show 18 more replicas").click()
    assert len(page.cards()) == 30
    page.page.keyboard.press("Tab")
    page.page.locator("#pictures .thumb").nth(3).click()
    assert len(page.cards()) == 30


@pytest.mark.parametrize("activation", ["relu", "linear", "gelu"])
@pytest.mark.parametrize(
    ("family", "values"),
    [("tied", "uniform"), ("tied-no-bias", "signed"), ("hidden-relu", "uniform"), ("absolute-value", "signed")],
)
def test_outputs_of_every_family(explored, family, values, activation):
    raw = line_spec(3, 2, data={"values": values})
    raw["axes"] = {**PROBABILITIES, "feature_probability": {"values": [0.5, 0.1]}}
    raw["model"] |= {"family": family, "activation": activation}
    run = made_up(raw)
    page = explored(run, "cell=0,1&model=2&input=1")
    model = run.dataset.isel(feature_probability=1, replica=2)
    params = {name: model[name].to_numpy().astype(np.float32) for name in FAMILIES[family].parameters}
    x = np.eye(3, dtype=np.float32)[1]
    expected = FAMILIES[family].apply(params, x, ACTIVATIONS[activation].function)
    np.testing.assert_allclose(page.outputs(), expected, atol=30 * page.about["errors"]["weights"])
    words = page.page.locator("#panel canvas[data-output]").get_attribute("aria-label") or ""
    assert f"from {-1 if values == 'signed' else 0} to 1" in words


@pytest.fixture(scope="session")
def diverging():
    """A map of three cases: no model diverged, one of two did, and both did."""
    axes = {"case": {"values": ["usual", "one", "all"]}, "extra_importance": {"log": [0.1, 10.0], "count": 3}}
    raw = small_spec(name="diverging", instance={"feature_probability": {"select": "case", "of": [0.5, 0.3, 0.1]}})
    raw["axes"] = {**axes, "replica": {"count": 2}}
    raw["study"] = {"y": "case", "x": "extra_importance"}
    return made_up(raw, diverged=[[[0, 0]], [[1, 0]], [[2, 1]]])


def test_diverged_models(explored, diverging):
    page = explored(diverging, "cell=1,1&curves=")
    cards = {card["key"]: card for card in page.cards()}
    assert (cards["0"]["enabled"], cards["1"]["enabled"]) == (False, True)
    assert "diverged" in cards["0"]["text"]
    assert cards["0"]["lines"] == ["no loss"]
    assert cards["1"]["chosen"]
    assert page.numbers()["diverged replicas"] == "1"
    assert page.numbers()["lowest loss"] == "replica 1"
    page.click(2, 2)
    said = page.numbers()
    assert said["phase"] == "masked: every replica diverged"
    assert said["diverged replicas"] == "2"
    assert {said[name] for name in ("norm of feature 1", "noise-free loss", "inits that succeed")} == {"none"}
    assert said["lowest loss"] == "none"
    for rule in ("best", "paper", "vote", "single"):
        page.choose(rule=rule)
        for key in ("paper", "phase", "norm", "superposition", "agreement-candidate"):
            page.choose(colour=key)
            black = (page.tones() == 0).all(-1)
            assert black[2].all(), (rule, key)
            assert not black[0].any()
            if rule == "single":
                assert black[1].all(), "replica 0 diverged there"
            elif key != "agreement-candidate":
                assert not black[1].any()
    for key in ("loss", "success", "best"):
        page.choose(colour=key)
        assert (page.tones()[2] == 0).all()


def test_a_diverged_cell_in_a_line_view(explored):
    page = explored(made_up(line_spec(5, 2), diverged=np.arange(6) == 2), "cell=0,2")
    assert page.page.locator("#pictures .thumb").nth(2).inner_text().startswith("diverged")
    assert page.page.locator("#pictures canvas").count() == 5
    assert [card["enabled"] for card in page.cards() if card["key"].isdigit()] == [False] * 3
    walk(page, 6)


def test_a_run_that_kept_only_the_best(explored):
    run = made_up(small_spec(name="best", store={"keep": "best"}, axes={"replica": {"count": 5}}))
    page = explored(run, "cell=1,2&curves=")
    assert "kept only the best replica of each cell" in page.page.locator("#notes").inner_text()
    assert "choice-rule" not in page.controls()
    trained = [card for card in page.cards() if card["key"].isdigit()]
    assert [(card["name"], card["chosen"]) for card in trained] == [("best replica \u2713 selected", True)]
    share = float(run.dataset["successes"][1, 2]) / 5
    assert agrees(page.numbers()["inits that succeed"], share, 1e-3)
    shades = (tmsjax.phase_map(run)[name].to_numpy()[..., 1] for name in ("norm", "superposition"))
    assert np.abs(page.tones() - 255 * style.colours(*shades)).max() <= 2


def test_a_run_with_too_many_models_has_the_best_of_each_cell(explored, one_neuron, monkeypatch):
    monkeypatch.setattr(models, "MOST_VALUES", 6 * 7 * 5 + 1)
    page = explored(one_neuron, "cell=3,3&zoom=2,-0.5,-0.5")
    assert "it holds the best replica of each cell" in page.page.locator("#notes").inner_text()
    assert [card["key"] for card in page.cards()] == ["exact", "candidate", "0"]
    options = page.page.locator("#choice-rule option").evaluate_all("(all) => all.map((o) => o.value)")
    assert options == ["best", "paper", "vote"]
    command = page.page.locator("#region-command").inner_text()
    assert command.startswith("tmsjax explore RUN --region extra_importance=")
    best = one_neuron.dataset.isel(feature_probability=3, extra_importance=3)
    best = best.isel(replica=int(best["loss"].to_numpy().argmin()))
    W, b = best["W"].to_numpy().astype(float), best["b"].to_numpy().astype(float)
    np.testing.assert_allclose(page.outputs(), np.maximum(W.T @ W[:, 1] + b, 0), atol=1e-3)
    monkeypatch.setattr(models, "MOST_VALUES", 10)
    page = explored(one_neuron)
    assert "it shows no models" in page.page.locator("#notes").inner_text()
    assert page.cards() == []
    assert page.numbers()["phase"]


def test_a_page_with_the_mapped_feature_alone(explored, one_neuron, monkeypatch):
    monkeypatch.setattr(cells, "MOST_OF_FEATURES", 6 * 7)
    usual, page = explored(one_neuron), explored(one_neuron, "feature=0")
    assert page.about["features_shown"] == [1]
    assert "choice-feature" not in page.controls()
    np.testing.assert_array_equal(page.pixels(), usual.pixels())


def test_a_part_of_a_run(explored, one_neuron, tmp_path):
    out = tmp_path / "part.html"
    part = ["--region", "feature_probability=0.02:0.5", "--region", "extra_importance=0.4:3"]
    done = run_command("explore", one_neuron.directory.path, "--out", out, *part)
    assert done.returncode == 0, done.stderr
    page = explored(out, "cell=0,0&curves=")
    y, x = (np.array(axis["values"]) for axis in page.axes)
    assert (len(y), len(x)) == (4, 3)
    assert (y.min() >= 0.02, y.max() <= 0.5, x.min() >= 0.4, x.max() <= 3) == (True,) * 4
    assert "Only a part of the run: feature_probability from 0.02 to 0.5" in page.page.locator("#notes").inner_text()
    mapped = tmsjax.phase_map(one_neuron).sel(feature_probability=y, extra_importance=x)
    shades = (mapped[name].to_numpy()[..., 1] for name in ("norm", "superposition"))
    assert np.abs(page.tones() - 255 * style.colours(*shades)).max() <= 2
    loss = float(mapped["loss"][0, 0])
    assert agrees(page.numbers()["noise-free loss"], loss, 1e-4 * loss, digits=4)
    assert [card["key"] for card in page.cards()][:2] == ["exact", "candidate"]


def test_a_large_run_as_pixels(explored, one_neuron: Run, monkeypatch):
    for module, names in ((content, ("MOST_CELLS",)), (pixels, ("MOST_CELLS", "LONGEST", "PIXELS"))):
        for name in names:
            monkeypatch.setattr(module, name, {"MOST_CELLS": 20, "LONGEST": 4, "PIXELS": 4}[name])
    trained, _, _ = pixels.plotted(one_neuron, "paper")
    assert trained["phase"].shape == (3, 4)
    page = explored(one_neuron, "cell=1,1&curves=", select="paper")
    note = page.page.locator("#notes").inner_text()
    assert "a pixel is the mean of several (2 along feature_probability, 2 along extra_importance)" in note
    assert "\u201cpaper\u201d" in note
    assert page.cards() == []
    assert "this page has no models" in page.page.locator("#panel").inner_text()
    shades = (trained[name].to_numpy() for name in ("norm", "superposition"))
    assert np.abs(page.tones() - 255 * style.colours(*shades)).max() <= 2
    said = page.numbers()
    assert agrees(said["norm of feature 2"], float(trained["norm"][1, 1]), page.about["errors"]["maps"])
    assert read(said["inits that succeed"]) == pytest.approx(float(trained["success"][1, 1]), abs=0.005)
    page.choose(colour="agreement-exact")
    tones = np.array([(240, 240, 240), (213, 94, 0), (0, 114, 178), (0, 0, 0)])
    np.testing.assert_array_equal(page.tones(), tones[trained["difference_exact"].to_numpy()])
    page.page.locator("#zoom-in").click()
    assert page.page.locator("#region").is_visible()
