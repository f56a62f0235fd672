"""The explorer's map in a browser: its numbers, colours, selection rules and curves are those of the run."""

import re

import numpy as np
import pytest

import tmsjax
from browser.pages import agrees, on_ramp, read
from tmsjax import analysis
from tmsjax.analysis.phases import TWO_FEATURE_PHASES
from tmsjax.kinds import measures
from tmsjax.plots import style

pytestmark = pytest.mark.browser
CELLS = [(0, 0), (5, 6), (2, 3), (4, 1), (1, 5)]
COLOURS = {"none": (225, 225, 225), "first only": (86, 180, 233), "second only": (0, 114, 178)}
COLOURS |= {"superposition": (213, 94, 0)}


def cell_of(dataset, row: int, column: int):
    """A cell of results or of a map, whose axes are (y, x)."""
    return dataset.isel(feature_probability=row, extra_importance=column)


def phase_of(model) -> str:
    """The phase of one model of results."""
    layout = analysis.Layout(None, None, 1, TWO_FEATURE_PHASES)
    return TWO_FEATURE_PHASES[int(analysis.phases_of(model["W"].to_numpy().astype(float), layout))]


def check_numbers(page, run, at, panel="panel") -> None:
    """The panel's numbers are those of the run's cell, within the rounding that the page states."""
    said, errors = page.numbers(panel), page.about["errors"]
    results, exact = (cell_of(d, *at) for d in (run.dataset, analysis.stored_exact_map(run)))
    mapped = cell_of(tmsjax.phase_map(run), *at)
    assert said["phase"] == TWO_FEATURE_PHASES[int(mapped["phase"])]
    for name, phases in analysis.theory_phases(run.dataset, analysis.stored_exact_map(run)).items():
        assert said[f"phase, {name} theory"] == TWO_FEATURE_PHASES[phases[at]]
    for i in range(2):
        for name in ("norm", "superposition"):
            assert agrees(said[f"{name} of feature {i + 1}"], mapped[name][i], errors["maps"]), (name, i)
    loss = float(mapped["loss"])
    assert agrees(said["noise-free loss"], loss, errors["losses"] * loss, digits=4)
    excess = loss / float(exact["loss"]) - 1
    head = page.about["cells"]["excess_exact"]
    assert agrees(said["above the exact minimum"], excess, np.expm1(head["step"] / 2) * (excess + head["scale"]))
    assert agrees(said["inits that succeed"], float(mapped["success"]), page.about["cells"]["success"]["step"] / 2)
    assert said["diverged replicas"] == "0"
    assert said["lowest loss"] == f"replica {results['loss'].to_numpy().argmin()}"


def check_table(page, run, at, model) -> None:
    """The table of the active model has the weights and measures of `model` (W, b)."""
    error, results = page.about["errors"]["weights"], cell_of(run.dataset, *at).isel(replica=0)
    W, b = model["W"].to_numpy().astype(float), model["b"].to_numpy().astype(float)
    expected = {"W": W[0], "b": b, "norm": measures.norms(W), "superposition": measures.superposition(W)}
    rows = page.table()
    assert [row["feature"] for row in rows] == ["1", "2"]
    for i, row in enumerate(rows):
        for name, values in expected.items():
            most = error * (1 if name in ("W", "b", "norm") else 20)
            assert agrees(row[name], values[i], most, digits=4 if name in ("W", "b") else 3), (at, name, i)
        for column, name in (("importance", "importance"), ("feature probability", "feature_probability")):
            value = float(results[f"instance_{name}"][i])
            assert agrees(row[column], value, 1e-4 * value)
        assert agrees(row["D"], measures.dimensionality(W)[i], 20 * error)


def test_cells_chosen_by_the_address_have_the_numbers_of_the_run(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page)
    y, x = page.axes
    assert (y["name"], x["name"]) == ("feature_probability", "extra_importance")
    for row, column in CELLS:
        page.page.evaluate(f"() => {{ location.hash = 'cell={row},{column}' }}")
        place = f"p = {y['values'][row]:.4g}, importance of the extra feature = {x['values'][column]:.4g}"
        page.page.get_by_role("heading", name=f"Cell: {place}", exact=True).wait_for()
        check_numbers(page, one_neuron, (row, column))


def test_a_clicked_cell_has_the_numbers_of_the_run(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page)
    for row, column in CELLS:
        page.click(row, column)
        assert page.hash == f"#cell={row},{column}"
        check_numbers(page, one_neuron, (row, column))


def test_arrow_keys_move_by_cells_as_the_map_shows_them(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "cell=2,3")
    page.map.focus()
    middles = [page.middle(2, 3)]
    visited = []
    for key, at in (("ArrowRight", "2,4"), ("ArrowUp", "1,4"), ("ArrowLeft", "1,3"), ("ArrowDown", "2,3")):
        page.map.press(key)
        assert page.hash == f"#cell={at}"
        visited.append(tuple(map(int, at.split(","))))
        middles.append(page.middle(*visited[-1]))
        check_numbers(page, one_neuron, visited[-1])
    steps = np.sign(np.round(np.diff(middles, axis=0), 3))
    assert steps.tolist() == [[1, 0], [0, -1], [-1, 0], [0, 1]]
    page.map.press("Shift+ArrowUp")
    page.map.press("Shift+ArrowRight")
    assert page.hash == "#cell=0,6"
    page.map.press("ArrowUp")
    assert page.hash == "#cell=0,6"


def test_the_models_of_a_cell_are_those_of_the_run_by_loss(explored, one_neuron, one_neuron_page):
    at = (2, 3)
    page = explored(one_neuron_page, f"cell={at[0]},{at[1]}")
    results = cell_of(one_neuron.dataset, *at)
    order = [str(k) for k in np.argsort(results["loss"].to_numpy(), kind="stable")]
    cards = {card["key"]: card for card in page.cards()}
    assert list(cards) == ["exact", "candidate", *order]
    lowest = float(cell_of(analysis.stored_exact_map(one_neuron), *at)["loss"])
    for key in order:
        model = results.isel(replica=int(key))
        loss, *_ = (line for line in cards[key]["lines"] if line.startswith("loss"))
        error = page.about["errors"]["losses"] + np.expm1(page.about["models"]["excess"]["step"] / 2)
        value = float(model["loss"])
        assert agrees(loss.removeprefix("loss "), value, error * value, digits=4)
        above = next(line for line in cards[key]["lines"] if line.endswith("above exact"))
        assert read(above.removesuffix(" above exact")) == pytest.approx(value / lowest - 1, rel=0.06, abs=1e-5)
        assert phase_of(model) in cards[key]["lines"]
        assert cards[key]["chosen"] == (key == order[0])


@pytest.mark.parametrize("at", CELLS[:3])
def test_tables_have_the_weights_of_the_run_and_of_the_exact_optimum(explored, one_neuron, one_neuron_page, at):
    page = explored(one_neuron_page, f"cell={at[0]},{at[1]}")
    page.page.locator("#panel summary").click()
    results, exact = (cell_of(d, *at) for d in (one_neuron.dataset, analysis.stored_exact_map(one_neuron)))
    names = {"exact": "exact optimum"} | {str(k): f"replica {k}" for k in range(4)}
    for key, name in names.items():
        page.page.locator(f'#panel [data-model="{key}"]').click()
        assert page.page.locator("#panel summary").inner_text() == f"Numbers of {name}"
        assert page.page.locator("#panel details").evaluate("(details) => details.open"), "closed by another choice"
        check_table(page, one_neuron, at, exact if key == "exact" else results.isel(replica=int(key)))
    active = [card["key"] for card in page.cards() if card["active"]]
    assert active == ["3"]


def test_outputs_are_those_of_the_models(explored, one_neuron, one_neuron_page):
    at = (3, 2)
    page = explored(one_neuron_page, f"cell={at[0]},{at[1]}")
    results, error = cell_of(one_neuron.dataset, *at), page.about["errors"]["weights"]
    seen = []
    for feature in range(2):
        page.page.locator("#panel #choice-input").fill(str(feature + 1))
        page.page.keyboard.press("Enter")
        for key in range(4):
            page.page.locator(f'#panel [data-model="{key}"]').click()
            model = results.isel(replica=key)
            W, b = model["W"].to_numpy().astype(float), model["b"].to_numpy().astype(float)
            expected = np.maximum(W.T @ W @ np.eye(2)[feature] + b, 0)
            np.testing.assert_allclose(page.outputs(), expected, atol=10 * error)
            words = page.page.locator("#panel canvas[data-output]").get_attribute("aria-label") or ""
            ends = re.findall(r"output \d ends at ([^,]+)", words)
            assert all(agrees(end, value, 10 * error) for end, value in zip(ends, expected, strict=True))
            seen.append(tuple(page.outputs()))
    assert len(set(seen)) > 2, "all models of the test are alike"


def test_the_page_states_its_rounding(explored, one_neuron_page):
    page = explored(one_neuron_page)
    text, errors = page.page.locator("#rounding").inner_text(), page.about["errors"]
    weights, maps, losses, excess = re.findall(r"at most ([\d.e-]+)", text)
    assert float(weights) == pytest.approx(errors["weights"], rel=0.06)
    assert float(maps) == pytest.approx(errors["maps"], rel=0.06)
    assert float(losses) / 100 == pytest.approx(errors["losses"], rel=0.06)
    assert float(excess) / 100 == pytest.approx(errors["excess"], rel=0.06)


@pytest.mark.parametrize("dense", [1, 2])
def test_the_papers_colours_are_those_of_figures(explored, one_neuron, one_neuron_page, dense):
    page = explored(one_neuron_page, "curves=", device_scale_factor=dense)
    mapped = tmsjax.phase_map(one_neuron)
    for feature in (1, 0):
        page.page.locator("#choice-feature").fill(str(feature + 1))
        page.page.keyboard.press("Enter")
        shades = (mapped[name].to_numpy()[..., feature] for name in ("norm", "superposition"))
        expected = 255 * style.colours(*shades)
        assert np.abs(page.tones() - expected).max() <= 2
        assert len(np.unique(page.tones().reshape(-1, 3), axis=0)) > 5
    assert page.page.locator("#legend .square canvas").count() == 1


def test_every_pixel_has_the_colour_of_its_cell(explored, one_neuron_page):
    page = explored(one_neuron_page, "curves=")
    page.map.press("Escape")
    tones, (y, x) = page.tones(), page.edges()
    left, top, width, height = page.box()
    rows = np.searchsorted(y, top + np.arange(height) + 0.5) - 1
    columns = np.searchsorted(x, left + np.arange(width) + 0.5) - 1
    expected = tones[rows[:, None], columns][2:-2, 2:-2]
    assert (page.inside() != expected).any(-1).mean() < 0.005


def phases_seen(page) -> np.ndarray:
    """The phases that the map, coloured by phase, shows."""
    distance = np.abs(page.tones()[..., None, :] - np.array(list(COLOURS.values()))).sum(-1)
    assert distance.min(-1).max() == 0, "a colour of no phase"
    return distance.argmin(-1)


def test_colours_of_phases(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "curves=")
    page.choose(colour="phase")
    np.testing.assert_array_equal(phases_seen(page), tmsjax.phase_map(one_neuron)["phase"])
    entries = page.page.locator("#legend .entry").all_inner_texts()
    assert entries == list(COLOURS)
    swatches = page.page.locator("#legend .swatch").evaluate_all("(all) => all.map((s) => s.style.backgroundColor)")
    assert swatches == [f"rgb({r}, {g}, {b})" for r, g, b in COLOURS.values()]


def test_colours_of_numbers(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "curves=")
    mapped, exact = tmsjax.phase_map(one_neuron), analysis.stored_exact_map(one_neuron)
    loss = mapped["loss"].to_numpy()
    excess = loss / exact["loss"].to_numpy() - 1
    low, high = np.log(loss.min()), np.log(loss.max())
    shares = {
        "norm": mapped["norm"].to_numpy()[..., 1],
        "superposition": mapped["superposition"].to_numpy()[..., 1],
        "success": mapped["success"].to_numpy(),
        "loss": (np.log(loss) - low) / (high - low),
        "excess": np.log(np.maximum(excess, 1e-4) / 1e-4) / np.log(1e4),
        "failed": np.zeros_like(loss),
    }
    looks = set()
    for key, values in shares.items():
        page.choose(colour=key)
        tones = page.tones()
        for at in np.ndindex(values.shape):
            assert on_ramp(tones[at], values[at], 2e-3), (key, at, values[at])
        assert page.page.locator("#legend .ramp canvas").count() == 1
        looks.add(tones.tobytes())
    assert len(looks) == len(shares)
    low_text, high_text = page.page.locator("#legend .ramp > span").all_inner_texts()
    assert (low_text, high_text) == ("0", "1")


def test_colours_of_agreement_and_of_winners(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "curves=")
    mapped, exact = tmsjax.phase_map(one_neuron), analysis.stored_exact_map(one_neuron)
    tones = np.array([(240, 240, 240), (213, 94, 0), (0, 114, 178), (0, 0, 0)])
    for name, phases in analysis.theory_phases(one_neuron.dataset, exact).items():
        page.choose(colour=f"agreement-{name}")
        kind = analysis.differences(mapped["phase"].to_numpy(), phases, 3)
        assert len(np.unique(kind)) > 1
        np.testing.assert_array_equal(page.tones(), tones[kind])
        assert page.page.locator("#legend .entry").all_inner_texts() == list(analysis.DIFFERENCES)
    page.choose(colour="best")
    winner = one_neuron.dataset["loss"].argmin("replica").to_numpy()
    colours = np.array([[int(tone[k : k + 2], 16) for k in (1, 3, 5)] for tone in style.TONES])
    np.testing.assert_array_equal(page.tones(), colours[winner])
    assert page.page.locator("#legend .entry").all_inner_texts() == [f"replica {k}" for k in range(4)]


def test_selection_rules_change_the_map_and_the_panel(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "colour=phase&curves=")
    maps = {rule: tmsjax.phase_map(one_neuron, rule) for rule in ("best", "paper", "vote")}
    phases = {rule: mapped["phase"].to_numpy() for rule, mapped in maps.items()}
    assert not np.array_equal(phases["best"], phases["paper"])
    assert not np.array_equal(phases["paper"], phases["vote"])
    row, column = map(int, np.argwhere(phases["best"] != phases["vote"])[0])
    page.click(row, column)
    for rule in ("paper", "vote", "best"):
        page.choose(rule=rule)
        np.testing.assert_array_equal(phases_seen(page), phases[rule])
        said, mapped = page.numbers(), cell_of(maps[rule], row, column)
        assert said["phase"] == TWO_FEATURE_PHASES[phases[rule][row, column]]
        for name in ("norm", "superposition"):
            assert agrees(said[f"{name} of feature 2"], mapped[name][1], page.about["errors"]["maps"])
        chosen = {card["key"] for card in page.cards() if card["chosen"]}
        losses = cell_of(one_neuron.dataset, row, column)["loss"].to_numpy()
        if rule == "best":
            assert chosen == {str(losses.argmin())}
        if rule == "paper":
            assert chosen == {str(k) for k in range(4) if k != losses.argmax()}


def test_a_slider_shows_each_replica(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "cell=3,3&colour=phase&curves=")
    assert page.page.locator("#slider-replica").count() == 0
    page.choose(rule="single")
    slider = page.page.locator("#slider-replica")
    slider.focus()
    layout = analysis.Layout(None, None, 1, TWO_FEATURE_PHASES)
    for replica in range(4):
        assert slider.input_value() == str(replica)
        assert page.page.locator("output[for=slider-replica]").inner_text() == str(replica)
        results = one_neuron.dataset.isel(replica=replica)
        phases = analysis.phases_of(results["W"].to_numpy().astype(float), layout)
        np.testing.assert_array_equal(phases_seen(page), phases)
        said, loss = page.numbers(), float(cell_of(results, 3, 3)["loss"])
        assert said["phase"] == TWO_FEATURE_PHASES[phases[3, 3]]
        assert agrees(said["noise-free loss"], loss, 0.01 * loss)
        assert [card["key"] for card in page.cards() if card["chosen"]] == [str(replica)]
        page.page.keyboard.press("ArrowRight")  # the slider keeps the focus


def test_a_slider_can_be_dragged(explored, one_neuron_page):
    page = explored(one_neuron_page, "rule=single&curves=")
    place = page.page.locator("#slider-replica").bounding_box()
    middle = place["y"] + place["height"] / 2
    page.page.mouse.move(place["x"] + 8, middle)
    page.page.mouse.down()
    for share in (0.2, 0.5, 0.8, 1.0):
        page.page.mouse.move(place["x"] + share * place["width"], middle)
    page.page.mouse.up()
    assert page.page.locator("#slider-replica").input_value() == "3"
    assert "replica=3" in page.hash


def test_phase_boundaries_lie_where_theory_changes_and_can_be_hidden(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "colour=success")
    page.map.press("Escape")
    cells = {tuple(tone) for tone in page.tones().reshape(-1, 3).tolist()}  # also of cells under a line
    shown = {}
    for on in (("candidate", "exact"), ("exact",), ("candidate",), ()):
        for name in ("candidate", "exact"):
            page.page.locator(f"#curve-{name}").set_checked(name in on)
        pixels = page.inside()
        shown[on] = (pixels.sum(-1) < 120).sum()
    assert shown[()] == 0
    assert shown["exact",] > shown["candidate",] > 100  # a dashed line has fewer pixels
    tones = {tuple(tone) for tone in np.unique(page.inside().reshape(-1, 3), axis=0).tolist()}
    assert tones <= {tuple(tone) for tone in page.tones().reshape(-1, 3).tolist()}
    assert cells >= tones
    page.page.locator("#curve-exact").set_checked(True)
    exact = analysis.stored_exact_map(one_neuron)["phase"].to_numpy()
    pixels = page.pixels()
    y, x = page.edges()
    for row, column in np.ndindex(exact.shape[0], exact.shape[1] - 1):
        alike = len(set(exact[max(row - 1, 0) : row + 2, column : column + 2].reshape(-1))) == 1
        across = exact[row, column] != exact[row, column + 1]
        inner = 0 < row < exact.shape[0] - 1  # a line begins and ends in the middles of cells of the outer rows
        if not (inner and (alike or across)):
            continue
        middle = (int((y[row] + y[row + 1]) / 2), int(x[column + 1]))
        near = pixels[middle[0] - 1 : middle[0] + 2, middle[1] - 2 : middle[1] + 3]
        assert ((near.sum(-1) < 120).any()) == across, (row, column)


def test_the_facts_of_the_sweep_are_told(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page)
    assert page.page.title() == "small: explorer"
    assert page.page.locator("h1").inner_text() == "small"
    facts = dict(page.rows("#facts tr"))
    assert facts["hash"] == one_neuron.spec.hash
    assert facts["models"].startswith("168 = 6 feature_probability x 7 extra_importance")
