"""The vendored d3.js, inlined in a page, defines what the explorer uses, and it works."""

import pytest
from conftest import ROOT

pytestmark = pytest.mark.browser
D3 = ROOT / "tmsjax" / "explorer" / "vendor" / "d3.js"
NAMES = ["scaleLinear", "scaleLog", "select", "zoom", "zoomIdentity"]


def test_d3_in_a_page(opened, tmp_path):
    path = tmp_path / "d3.html"
    use = "d3.select('canvas').call(d3.zoom().on('zoom', (event) => { window.zoomed = event.transform }))"
    script = f"<canvas width='300' height='200'></canvas><script>{D3.read_text(encoding='utf-8')}\n{use}</script>"
    path.write_text(f"<!doctype html><body style='margin: 0'>{script}</body>", encoding="utf-8")
    page = opened(path)
    assert page.evaluate("Object.keys(d3).sort()") == NAMES
    assert page.evaluate("d3.scaleLog([1e-3, 1], [0, 90]).ticks(3)")[0] == 1e-3
    assert page.evaluate("d3.scaleLog([1e-3, 1], [0, 90])(0.01)") == pytest.approx(30)
    assert page.evaluate("d3.scaleLinear([0, 1], [0, 90]).ticks(2)") == [0, 0.5, 1]
    page.mouse.move(30, 40)
    page.mouse.wheel(0, -500)
    page.wait_for_function("() => window.zoomed && zoomed.k > 1.5")
    assert page.evaluate("zoomed.invertX(30)") == pytest.approx(30)
    assert page.evaluate("d3.zoomIdentity.scale(3).apply([1, 2])") == [3, 6]
