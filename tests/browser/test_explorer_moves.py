"""How one moves in the explorer's map: zoom, two cells, further axes; and links that open the same view."""

import numpy as np
import pytest
from conftest import small_spec

import tmsjax
from browser.pages import agrees
from tmsjax.analysis.phases import TWO_FEATURE_PHASES
from tmsjax.plots import style

pytestmark = pytest.mark.browser


def look(page) -> dict:
    """What a reader sees of a view: choices, the chosen cells and model, the numbers."""
    panels = [panel for panel in ("panel", "panel-beside") if page.page.locator(f"#{panel} h2").count()]
    return {
        "controls": page.controls(),
        "titles": [page.title(panel) for panel in panels],
        "numbers": [page.numbers(panel) for panel in panels],
        "cards": page.cards(),
        "input": page.page.locator("#panel #choice-input").evaluate_all("(fields) => fields.map((f) => f.value)"),
        "legend": page.page.locator("#legend").inner_text(),
    }


def act_everywhere(page) -> None:
    page.choose(colour="norm", rule="single")
    page.page.locator("#slider-replica").fill("2")
    page.page.locator("#choice-feature").fill("1")
    page.page.keyboard.press("Enter")
    page.page.locator("#curve-candidate").set_checked(False)
    page.click(1, 2)
    page.click(4, 5, modifiers=["Shift"])
    page.page.locator('#panel [data-model="exact"]').click()
    page.page.locator("#panel #choice-input").fill("1")
    page.page.keyboard.press("Enter")
    page.page.locator("#zoom-in").click()


def choose_none(page) -> None:
    page.map.press("Escape")


def choose_colour(page) -> None:
    page.choose(colour="agreement-exact", rule="vote")
    for name in ("candidate", "exact"):
        page.page.locator(f"#curve-{name}").set_checked(False)


def drag_far(page) -> None:
    page.map.focus()
    for _ in range(3):
        page.map.press("+")
    page.map.hover(position={"x": 300, "y": 200})
    page.page.mouse.down()
    page.page.mouse.move(100, 100, steps=4)
    page.page.mouse.up()
    page.page.mouse.move(1, 1)


@pytest.mark.parametrize("act", [act_everywhere, choose_none, choose_colour, drag_far])
def test_a_link_restores_the_view(explored, one_neuron_page, act):
    first = explored(one_neuron_page)
    usual = look(first)
    act(first)
    first.page.mouse.move(1, 1)
    second = explored(one_neuron_page, first.hash)
    assert look(second) == look(first)
    if act is not drag_far:
        assert look(first) != usual
    assert (second.pixels() != first.pixels()).any(-1).mean() < 0.01  # the address has the zoom to four decimals
    assert second.hash == first.hash


def test_the_address_of_an_open_page_can_be_changed(explored, one_neuron_page):
    page, other = explored(one_neuron_page), explored(one_neuron_page, "cell=1,1&colour=phase&rule=vote&curves=exact")
    page.page.evaluate("(hash) => { location.hash = hash }", other.hash)
    page.page.locator("#choice-colour option:checked").filter(has_text="phase").wait_for(state="attached")
    assert look(page) == look(other)
    np.testing.assert_array_equal(page.pixels(), other.pixels())


@pytest.mark.parametrize(
    "hash",
    [
        "cell=99,99&rule=nope&zoom=nan&replica=-1&colour=%3Cb%3E",
        "cell=1&beside=1,2,3&at=7&model=zzz&input=99&feature=2&measure=x&curves=none",
        "cell=-1,0&zoom=0.5,0,0&zoom=1&replica=1.5",
        "cell=,&zoom=1e999,0,0",
        "zoom=2,Infinity,0",
        "colour=toString&model=constructor&rule=__proto__",
        "%E0%A4%A&&&===#####",
        "cell=" + "9" * 5000,
    ],
)
def test_nonsense_in_an_address_gives_the_first_view(explored, one_neuron_page, hash):
    page, usual = explored(one_neuron_page, hash), explored(one_neuron_page)
    expected = look(usual)
    if "curves=none" in hash:
        expected["controls"] |= {"curve-candidate": False, "curve-exact": False}
    if "colour=" in hash:
        assert page.controls().pop("choice-colour") == usual.controls()["choice-colour"], "the choice is not the map's"
    assert look(page) == expected
    if "curves=none" not in hash:
        np.testing.assert_array_equal(page.pixels(), usual.pixels())


def test_a_zoom_beyond_the_map_shows_its_edge(explored, one_neuron_page):
    page, edge = (explored(one_neuron_page, f"cell=0,6&zoom={zoom}") for zoom in ("3,999,-999", "3,0,-2"))
    np.testing.assert_array_equal(page.pixels(), edge.pixels())


def test_buttons_and_keys_zoom_around_the_chosen_cell(explored, one_neuron_page):
    page = explored(one_neuron_page, "cell=2,3&curves=")
    tone, whole = page.tones()[2, 3], page.pixels()
    page.page.locator("#zoom-in").click()
    assert page.zoom[0] == pytest.approx(1.5)
    page.map.press("+")
    page.map.press("=")
    assert page.zoom[0] == pytest.approx(1.5**3, rel=1e-3)
    left, top, width, height = page.box()
    assert page.middle(2, 3) == pytest.approx((left + width / 2, top + height / 2), abs=0.5)
    y, x = page.edges()
    seen = page.pixels()
    for share in (0.2, 0.8):
        place = int(y[2] + share * (y[3] - y[2])), int(x[3] + share * (x[4] - x[3]))
        np.testing.assert_array_equal(seen[place], tone)
    page.map.press("-")
    assert page.zoom[0] == pytest.approx(2.25, rel=1e-3)
    page.page.locator("#zoom-out").click()
    assert page.zoom[0] == pytest.approx(1.5, rel=1e-3)
    page.map.press("0")
    assert "zoom" not in page.hash
    np.testing.assert_array_equal(page.pixels(), whole)
    page.page.locator("#zoom-in").click()
    page.page.locator("#zoom-reset").click()
    assert "zoom" not in page.hash
    for _ in range(20):
        page.map.press("+")
    assert page.zoom[0] == 200
    for _ in range(20):
        page.map.press("-")
    assert page.zoom == (1, 0, 0)


def test_the_wheel_zooms_only_with_the_focus(explored, one_neuron_page):
    page = explored(one_neuron_page, viewport={"width": 1280, "height": 500})
    page.map.hover(position={"x": 300, "y": 150})
    page.page.mouse.wheel(0, 60)
    page.page.wait_for_timeout(300)
    assert "zoom" not in page.hash
    assert page.page.evaluate("() => scrollY") > 0
    page.map.focus()
    page.map.hover(position={"x": 300, "y": 250})
    before = page.page.evaluate("() => scrollY")
    pointed = [(at - edge[0]) / (edge[-1] - edge[0]) for edge, at in zip(page.edges(), (250, 300), strict=True)]
    page.page.mouse.wheel(0, -200)
    page.page.wait_for_timeout(100)
    assert page.zoom[0] > 1.2
    assert page.page.evaluate("() => scrollY") == before
    after = [(at - edge[0]) / (edge[-1] - edge[0]) for edge, at in zip(page.edges(), (250, 300), strict=True)]
    assert after == pytest.approx(pointed, abs=2e-3), "what is under the pointer stays there"


def test_a_drag_moves_the_zoomed_map_and_chooses_no_cell(explored, one_neuron_page):
    page = explored(one_neuron_page, "cell=2,3&zoom=3,-1,-1&curves=")
    y, x = page.edges()
    frame = page.map.bounding_box()
    page.page.mouse.move(frame["x"] + 300, frame["y"] + 200)
    page.page.mouse.down()
    page.page.mouse.move(frame["x"] + 340, frame["y"] + 170, steps=3)
    page.page.mouse.up()
    moved = page.edges()
    np.testing.assert_allclose(moved[1] - x, 40, atol=0.1)
    np.testing.assert_allclose(moved[0] - y, -30, atol=0.1)
    assert page.hash.startswith("#cell=2,3&")
    page.map.click(position={"x": 340, "y": 170})
    row, column = page.cell_at(340, 170)
    assert page.hash.startswith(f"#cell={row},{column}&"), "a click finds the cell on the moved map"


def test_arrow_keys_move_a_zoomed_map_along(explored, one_neuron_page):
    page = explored(one_neuron_page, "cell=0,0&zoom=4,0,0")
    page.map.focus()
    for _ in range(6):
        page.map.press("ArrowRight")
    left, top, width, height = page.box()
    x, y = page.middle(0, 6)
    assert left <= x <= left + width
    assert top <= y <= top + height


def test_two_cells_side_by_side(explored, one_neuron, one_neuron_page):
    page = explored(one_neuron_page, "cell=1,1")
    beside = page.page.locator("#panel-beside")
    assert not beside.is_visible()
    page.click(4, 4, modifiers=["Shift"])
    assert page.hash == "#cell=1,1&beside=4,4"
    assert page.title("panel-beside").startswith("Beside: p = 0.02512")
    loss = float(tmsjax.phase_map(one_neuron)["loss"][4, 4])
    assert agrees(page.numbers("panel-beside")["noise-free loss"], loss, 1e-4 * loss, digits=4)
    titles = [page.title(panel).partition(": ")[2] for panel in ("panel", "panel-beside")]
    beside.get_by_role("button", name="Swap").click()
    assert [page.title(panel).partition(": ")[2] for panel in ("panel-beside", "panel")] == titles
    assert page.hash == "#cell=4,4&beside=1,1"
    page.map.press("b")
    assert not beside.is_visible()
    page.map.press("b")
    assert page.hash == "#cell=4,4&beside=4,4"
    page.map.press("ArrowLeft")
    assert page.hash == "#cell=4,3&beside=4,4"
    beside.get_by_role("button", name="Close").click()
    assert page.hash == "#cell=4,3"
    page.page.locator("#panel").get_by_role("button", name="Keep beside").click()
    assert page.hash == "#cell=4,3&beside=4,3"
    page.map.press("Escape")
    assert not beside.is_visible()
    assert page.page.locator("#panel").inner_text().startswith("Click a cell")
    page.map.press("ArrowUp")
    assert page.title().startswith("Cell: ")


def test_hovering_tells_a_cells_numbers(explored, one_neuron_page):
    page = explored(one_neuron_page, "cell=0,0")
    x, y = page.middle(3, 2)
    page.map.hover(position={"x": x, "y": y})
    said = page.page.locator("#hover").inner_text()
    assert said.startswith(f"p = {page.axes[0]['values'][3]:.4g}, importance of the extra feature = ")
    page.click(3, 2)
    assert all(f"{name} {text}" in said for name, text in page.numbers().items())
    page.page.mouse.move(1, 1)
    assert not page.page.locator("#hover").inner_text().startswith("p = ")


@pytest.fixture(scope="session")
def three_axes(tmp_path_factory):
    """A map for each of two init scales and two learning rates, between its two axes."""
    axes = {
        "init_scale": {"values": [0.01, 2.0]},
        "feature_probability": {"log": [0.01, 1.0], "count": 3},
        "learning_rate": {"values": [1e-2, 1e-5]},
        "extra_importance": {"log": [10.0, 0.1], "count": 4},
        "replica": {"count": 2},
    }
    raw = small_spec(
        name="three-axes",
        axes=axes,
        instance={"init_scale": "init_scale"},
        train={"steps": 200, "learning_rate": "learning_rate"},
        study={"y": "feature_probability", "x": "extra_importance"},
    )
    return tmsjax.run_sweep(raw)


def test_sliders_of_further_axes_change_the_map(explored, three_axes):
    page = explored(three_axes, "curves=&cell=1,1")
    mapped = tmsjax.phase_map(three_axes)
    looks = set()
    for scale in range(2):
        for rate in range(2):
            for slider, value in (("#slider-axis-0", scale), ("#slider-axis-1", rate)):
                page.page.locator(slider).fill(str(value))
            one = mapped.isel(init_scale=scale, learning_rate=rate)
            one = one.transpose("feature_probability", "extra_importance", ...)
            shades = (one[name].to_numpy()[..., 1] for name in ("norm", "superposition"))
            assert np.abs(page.tones() - 255 * style.colours(*shades)).max() <= 2
            looks.add(page.tones().tobytes())
            said = page.numbers()
            assert said["phase"] == TWO_FEATURE_PHASES[int(one["phase"][1, 1])]
            loss = float(one["loss"][1, 1])
            assert agrees(said["noise-free loss"], loss, 1e-4 * loss, digits=4)
            told = f"init scale = {(0.01, 2)[scale]}, learning rate = {('0.01', '0.00001')[rate]}, p = 0.1"
            assert page.title().startswith(f"Cell: {told}")
    assert len(looks) == 4


def test_keys_follow_descending_and_ascending_axes(explored, three_axes):
    page = explored(three_axes, "cell=1,1")
    y, x = page.edges()
    assert y[0] > y[-1], "the lowest probability is at the bottom"
    assert x[0] > x[-1], "the lowest importance is at the left, though the axis descends"
    page.map.press("ArrowUp")
    assert page.hash == "#cell=2,1"
    page.map.press("ArrowRight")
    assert page.hash == "#cell=2,0"
    page.click(0, 3)
    assert page.hash == "#cell=0,3"
