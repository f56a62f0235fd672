"""A handle on an opened page of the explorer: what it says, what its map shows, and how to move in it.

Reads only what a reader of the page has: texts, controls and pixels, and the facts and numbers inside the file.
"""

from __future__ import annotations

import base64
import json
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np

from tmsjax.plots import style

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Locator, Page

LEFT, TOP, RIGHT, BOTTOM = 62, 8, 12, 42  # margins of the map on its canvas, in CSS pixels
PIXELS = """(canvas) => {
  const { width, height } = canvas;
  const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  let text = "";
  for (let k = 0; k < bytes.length; k += 32768) text += String.fromCharCode(...bytes.subarray(k, k + 32768));
  return [width, height, btoa(text)];
}"""


class Explored:
    """An opened page, or a frame with one, once it has read its models."""

    def __init__(self, page: Page | Frame):
        self.page = page
        page.wait_for_selector("html[data-state=complete]", state="attached")

    @cached_property
    def about(self) -> dict[str, Any]:
        return json.loads(self.page.locator("#about").text_content() or "")

    @property
    def hash(self) -> str:
        return self.page.evaluate("() => location.hash")

    @property
    def map(self) -> Locator:
        return self.page.locator("#map")

    def title(self, panel: str = "panel") -> str:
        return self.page.locator(f"#{panel} h2").inner_text()

    def rows(self, selector: str) -> list[list[str]]:
        """The texts of the children of each element."""
        script = "(rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
        return self.page.locator(selector).evaluate_all(script)

    def numbers(self, panel: str = "panel") -> dict[str, str]:
        """The numbers of a panel's cell by their names, as printed."""
        return dict(self.rows(f"#{panel} .numbers > div"))

    def cards(self, panel: str = "panel") -> list[dict[str, Any]]:
        """The pictures of models in order: key, name, lines, and whether it is active, chosen and enabled."""
        return self.page.locator(f"#{panel} .card").evaluate_all(
            """(cards) => cards.map((card) => ({
                 key: card.dataset.model, name: card.querySelector(".name").textContent,
                 lines: [...card.querySelectorAll("span:not(.name)")].map((line) => line.textContent),
                 active: card.getAttribute("aria-pressed") === "true", chosen: card.classList.contains("chosen"),
                 enabled: !card.disabled, picture: card.querySelector("canvas") !== null, text: card.textContent }))"""
        )

    def table(self) -> list[dict[str, str]]:
        """The rows of the table of the active model by the heads of its columns."""
        rows = self.rows("#panel details[data-keep] tr")
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def outputs(self) -> list[float]:
        """The outputs of the active model where the input is 1."""
        text = self.page.locator("#panel canvas[data-output]").get_attribute("data-output") or ""
        return [float(part) for part in text.split()]

    def controls(self) -> dict[str, Any]:
        """The values of all choices above the picture by their ids."""
        pairs = self.page.locator("#controls :is(select, input)").evaluate_all(
            '(all) => all.map((f) => [f.id, f.type === "checkbox" ? f.checked : f.value])'
        )
        return dict(pairs)

    def choose(self, **values: str) -> None:
        """Sets choices, such as colour="phase"."""
        for name, value in values.items():
            self.page.locator(f"#choice-{name}").select_option(value)

    # the map

    @cached_property
    def axes(self) -> list[dict[str, Any]]:
        """The axes along y and x."""
        return self.about["axes"][-2:]

    @property
    def zoom(self) -> tuple[float, float, float]:
        """Scale, and shifts in units of the map's width and height."""
        given = parse_qs(self.hash.removeprefix("#")).get("zoom", ["1,0,0"])[0]
        k, x, y = map(float, given.split(","))
        return k, x, y

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the cells on the canvas, in CSS pixels."""
        width, height = self.map.evaluate("(c) => [c.clientWidth, c.clientHeight]")
        return LEFT, TOP, width - LEFT - RIGHT, height - TOP - BOTTOM

    def edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Borders of the cells along y and x on the canvas, in CSS pixels, under the present zoom."""
        left, top, width, height = self.box()
        k, x, y = self.zoom
        down, right = (shares(axis) for axis in self.axes)
        return top + height * (k * (1 - down) + y), left + width * (k * right + x)

    def middle(self, row: int, column: int) -> tuple[float, float]:
        """The middle (x, y) of a cell on the canvas, in CSS pixels."""
        y, x = self.edges()
        return float(x[column] + x[column + 1]) / 2, float(y[row] + y[row + 1]) / 2

    def cell_at(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the cell at a place on the canvas, in CSS pixels."""
        row, column = (
            int(np.flatnonzero((edge[:-1] - at) * (edge[1:] - at) < 0)[0])
            for edge, at in zip(self.edges(), (y, x), strict=True)
        )
        return row, column

    def click(self, row: int, column: int, **options: Any) -> None:
        x, y = self.middle(row, column)
        self.map.click(position={"x": x, "y": y}, **options)

    def pixels(self) -> np.ndarray:
        """The colours of the canvas, (height, width, 3), one for each pixel of the screen."""
        width, height, text = self.map.evaluate(PIXELS)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3].astype(int)

    def inside(self) -> np.ndarray:
        """The colours of the canvas inside the frame around the cells."""
        pixels = self.pixels()
        dense = pixels.shape[1] / self.map.evaluate("(c) => c.clientWidth")
        left, top, width, height = (round(v * dense) for v in self.box())
        edge = math.ceil(2 * dense)
        return pixels[top + edge : top + height - edge, left + edge : left + width - edge]

    def tones(self) -> np.ndarray:
        """The colour of the middle of every cell, (rows, columns, 3), of which all must be in sight."""
        pixels = self.pixels()
        dense = pixels.shape[1] / self.map.evaluate("(c) => c.clientWidth")
        rows, columns = (((edge[1:] + edge[:-1]) / 2 * dense).astype(int) for edge in self.edges())
        return pixels[rows[:, None], columns]


def shares(axis: dict[str, Any]) -> np.ndarray:
    """The borders of an axis's cells as shares of its length, from its lowest value."""
    edges = np.array(axis["edges"])
    if axis["scale"] == "log":
        edges = np.log(edges)
    return (edges - edges.min()) / (edges.max() - edges.min())


def read(text: str) -> float:
    """A printed number, a percentage as a share."""
    if text == "none":
        return math.nan
    number = float(text.removesuffix(" %").replace("\u2212", "-"))
    return number / 100 if text.endswith(" %") else number


def agrees(text: str, value: float, error: float = 0.0, digits: int = 3) -> bool:
    """Whether a printed number is `value`, rounded by at most `error` and then to `digits` significant digits."""
    number = read(text)
    if math.isnan(value) or math.isnan(number):
        return math.isnan(value) and math.isnan(number)
    last = 10 ** (math.floor(math.log10(abs(number))) - digits + 1) if number else 0.0
    return abs(number - float(value)) <= error + 0.5001 * last + 1e-12


def on_ramp(tone: np.ndarray, share: float, error: float = 0.0, name: str = "cividis") -> bool:
    """Whether a colour is that of a ramp at a share, known up to `error`."""
    ramp = [tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5)) for colour in style.ramp(name)]
    ends = [round(min(max(share + way * (error + 1e-9), 0), 1) * (len(ramp) - 1)) for way in (-1, 1)]
    return tuple(tone.tolist()) in ramp[ends[0] : ends[1] + 1]
