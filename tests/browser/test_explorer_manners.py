"""The explorer on phones, on paper, in the dark, with the keyboard alone, and for screen readers."""

import re

import numpy as np
import pytest
from conftest import plain_spec

from browser.made_up import made_up

pytestmark = pytest.mark.browser
NAMELESS = """() => [...document.querySelectorAll("button, select, input, canvas, summary, a, [tabindex], [role]")]
  .filter((e) => e.checkVisibility()).filter((e) => {
    const label = e.getAttribute("aria-label") ?? "";
    const ids = (e.getAttribute("aria-labelledby") ?? "").split(" ");
    const by = ids.map((id) => document.getElementById(id)?.textContent);
    const labels = [...(e.labels ?? [])].map((l) => l.textContent).join("");
    const own = ["BUTTON", "SUMMARY", "A"].includes(e.tagName) || e.getAttribute("role") === "status";
    const text = own ? e.textContent + [...e.querySelectorAll("[aria-label]")].map((c) => c.ariaLabel).join("") : "";
    return e.getAttribute("role") !== "status" && !(label + by.join("") + labels + text).trim();
  }).map((e) => e.outerHTML.slice(0, 200))"""
TWICE = """() => { const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  return ids.filter((id, k) => ids.indexOf(id) !== k) }"""


@pytest.fixture(scope="session")
def line():
    axes = {"feature_probability": {"log": [1.0, 0.05], "count": 6}, "replica": {"count": 3}}
    raw = plain_spec(5, 2, name="line", axes=axes, instance={"feature_probability": "feature_probability"})
    return made_up(raw, history=("loss", "norm"))


@pytest.fixture(params=["map", "line"])
def source(request, one_neuron_page, line):
    return one_neuron_page if request.param == "map" else line


def colour(page, selector: str, of: str) -> np.ndarray:
    text = page.page.locator(selector).first.evaluate(f"(e) => getComputedStyle(e).{of}")
    return np.array([float(part) for part in re.findall(r"[\d.]+", text)[:3]])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(tone: np.ndarray) -> float:
        share = tone / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("beside", ["", "&beside=0,3"])
def test_a_phone_scrolls_only_down(explored, source, beside):
    page = explored(source, f"cell=0,1{beside}", viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True)
    page.page.locator("#panel summary").click()
    page.page.locator("footer summary").click()
    page.page.locator(".help summary").click()
    width = page.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert width == [375, 375]
    picture = page.page.locator("#map, #chart").locator("visible=true").bounding_box()
    assert picture["x"] >= 0
    assert picture["x"] + picture["width"] <= 375


def test_a_tap_chooses_a_cell(explored, one_neuron_page):
    page = explored(one_neuron_page, viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True)
    x, y = page.middle(1, 1)
    page.map.tap(position={"x": x, "y": y})
    assert page.hash == "#cell=1,1"


@pytest.mark.parametrize("width", [320, 600, 899, 900, 1250, 1900])
def test_no_width_scrolls_sideways(explored, source, width):
    page = explored(source, "cell=0,1&beside=0,3", viewport={"width": width, "height": 800})
    assert page.page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_picture_follows_the_width_of_the_window(explored, one_neuron_page):
    page = explored(one_neuron_page, "curves=", viewport={"width": 1200, "height": 800})
    tones = page.tones()
    wide = page.box()[2]
    page.page.set_viewport_size({"width": 500, "height": 800})
    page.page.wait_for_function("() => document.getElementById('map').clientWidth < 500")
    assert page.box()[2] < wide
    np.testing.assert_array_equal(page.tones(), tones)


def test_dark_colours(explored, source):
    light, dark = (explored(source, color_scheme=scheme) for scheme in ("light", "dark"))
    for page in (light, dark):
        for name in ("body", ".note", "summary", "#panel button"):
            surface = colour(page, "body", "backgroundColor")
            assert contrast(colour(page, name, "color"), surface) >= 4.5, name
    assert contrast(colour(light, "body", "color"), colour(dark, "body", "color")) > 10
    canvas = "#map" if light.about["view"] == "map" else "#chart"
    pictures = [page.page.locator(canvas).evaluate("(c) => c.toDataURL()") for page in (light, dark)]
    assert pictures[0] != pictures[1]
    light.page.locator("#theme").click()
    np.testing.assert_array_equal(colour(light, "body", "color"), colour(dark, "body", "color"))
    assert light.page.locator(canvas).evaluate("(c) => c.toDataURL()") == pictures[1]
    light.page.locator("#theme").click()
    assert light.page.locator(canvas).evaluate("(c) => c.toDataURL()") == pictures[0]
    dark.page.emulate_media(color_scheme="light")
    dark.page.wait_for_function(
        "([canvas, wanted]) => document.querySelector(canvas).toDataURL() === wanted", arg=[canvas, pictures[0]]
    )


def test_paper_shows_no_controls_and_is_light(explored, source):
    page = explored(source, "cell=0,1&beside=0,2", color_scheme="dark")
    for on in (True, False):
        page.page.emulate_media(media="print" if on else "screen")
        page.page.evaluate(f"() => dispatchEvent(new Event('{'before' if on else 'after'}print'))")
        for selector in ("#controls", "#theme", "#panel .buttons"):
            assert page.page.locator(selector).is_visible() != on, selector
        for selector in ("h1", "#panel h2", "#panel-beside h2", "#panel .card canvas", "footer"):
            assert page.page.locator(selector).first.is_visible(), selector
        assert (colour(page, "body", "backgroundColor").min() == 255) == on


def test_paper_says_what_the_map_shows(explored, one_neuron_page):
    told = {}
    for colour in ("paper", "success"):
        page = explored(one_neuron_page, f"colour={colour}&rule=vote&curves=exact")
        caption = page.page.locator("#caption")
        assert not caption.is_visible()
        page.page.emulate_media(media="print")
        assert caption.is_visible()
        told[colour] = caption.inner_text()
    rest = "; the rule \u201cvote\u201d. Lines: exact theory (solid)."
    assert told["paper"] == f"Colour: norm and superposition (the paper\u2019s colours) (feature 2){rest}"
    assert told["success"] == f"Colour: share of inits that succeed{rest}"


def test_tab_reaches_the_picture_soon(explored, source):
    page = explored(source, "cell=0,1")
    wanted = "map" if page.about["view"] == "map" else "chart"
    page.page.keyboard.press("Tab")
    assert page.page.locator(":focus").inner_text() == "Skip to the picture"
    title = page.title()
    page.page.keyboard.press("Enter")
    presses = 0
    while page.page.evaluate("() => document.activeElement.id") != wanted:
        page.page.keyboard.press("Tab")
        presses += 1
        assert presses < 10
    assert page.title() == title, "the link lost the view"
    page.page.keyboard.press("ArrowRight" if wanted == "map" else "ArrowLeft")  # the chart's values descend
    assert page.hash.startswith("#cell=0,2")
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("() => document.activeElement.id") != wanted, "the picture keeps the focus"


def test_cards_and_inputs_answer_to_the_keyboard(explored, source):
    page = explored(source, "cell=0,1")
    card = page.page.locator('#panel [data-model="1"]')
    card.focus()
    page.page.keyboard.press("Enter")
    assert "model=1" in page.hash
    assert page.page.evaluate("() => document.activeElement.dataset.model") == "1", "the focus is lost"
    page.page.locator("#panel #choice-input").focus()
    page.page.keyboard.press("ArrowDown")
    assert page.page.evaluate("() => document.activeElement.id") == "choice-input"


def test_everything_has_a_name_and_ids_are_unique(explored, source):
    page = explored(source, "cell=0,1&beside=0,2&rule=single")
    assert page.page.evaluate(NAMELESS) == []
    assert page.page.evaluate(TWICE) == []
    assert page.page.locator("html").get_attribute("lang") == "en"
    assert page.page.locator("#panel .card canvas").first.get_attribute("aria-label")
    assert page.page.locator("h1").count() == 1


def test_a_chosen_cell_is_read_out(explored, one_neuron_page):
    page = explored(one_neuron_page, "cell=0,1")
    page.map.press("ArrowRight")
    spoken = page.page.locator("[role=status]").inner_text()
    assert spoken.startswith("p = 1, importance of the extra feature = 0.4642; phase ")
