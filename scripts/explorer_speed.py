"""Size and speed of the page that `tmsjax explore` writes, in headless Chromium; `pip install tmsjax[browser]` first.

    python scripts/explorer_speed.py RUN [RUN ...]

For each run writes its page into a temporary folder and prints: seconds to make it, its size, how far numbers are
rounded; milliseconds from opening the file to the first picture and to all models being read (ROUNDS times, each in a
new context); from CLICKS clicks on different cells, and as many arrow keys, to the next painted frame, by the browser's
Event Timing, in steps of 8 ms, where inputs answered within 16 ms count as 16; and from every choice of colour, rule or
measure to the task after the next frame. CHROMIUM names the browser, or else PATH has it.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from chromium import launched

from tmsjax import explore

ROUNDS, CLICKS = 5, 30
OBSERVE = """
window.inputs = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.inputs.push([entry.name, entry.duration]);
}).observe({ type: "event", durationThreshold: 16, buffered: true });
"""
COMPLETE = 'html[data-state="complete"]'


def opened(browser: Any, path: Path) -> Any:
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.add_init_script(OBSERVE)
    page.goto(path.as_uri())
    page.wait_for_selector(COMPLETE, state="attached")
    page.wait_for_timeout(300)
    return page


def mark(page: Any, name: str) -> float:
    """Milliseconds from opening the file to a mark that the page sets."""
    return page.evaluate("(name) => performance.getEntriesByName(name)[0].startTime", name)


def durations(page: Any, kind: str) -> list[float]:
    """Milliseconds from each of CLICKS inputs of a kind to the next frame; the browser reports those of 16 and more."""
    page.wait_for_timeout(100)
    found = [duration for name, duration in page.evaluate("() => window.inputs.splice(0)") if name == kind]
    return found + [16.0] * (CLICKS - len(found))


def clicked(page: Any) -> list[float]:
    canvas = page.locator("#map:visible, #chart:visible").bounding_box()
    assert canvas is not None
    durations(page, "click")
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(0.2, 0.8, (CLICKS, 2)):
        page.mouse.click(canvas["x"] + x * canvas["width"], canvas["y"] + y * canvas["height"])
        page.wait_for_timeout(60)
    return durations(page, "click")


def pressed(page: Any) -> list[float]:
    page.locator("#map:visible, #chart:visible").focus()
    durations(page, "keydown")
    for _ in range(CLICKS):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(60)
    return durations(page, "keydown")


def chosen(page: Any, name: str) -> list[float]:
    """Milliseconds from each choice in a list to the task after the next frame; Event Timing does not measure these."""
    return page.evaluate(
        """async (id) => {
          const field = document.getElementById(id);
          const times = [];
          for (const value of field ? [...field.options].map((option) => option.value) : []) {
            const now = document.getElementById(id);
            now.value = value;
            const start = performance.now();
            now.dispatchEvent(new Event("change"));
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            times.push(performance.now() - start);
          }
          return times;
        }""",
        f"choice-{name}",
    )


def told(values: list[float]) -> str:
    return f"median {np.median(values):.0f} ms, largest {max(values):.0f} ms ({len(values)} measured)"


def measure(run: str, browser: Any, folder: Path) -> None:
    start = time.perf_counter()
    page = explore(run)
    seconds = time.perf_counter() - start
    path = page.save(folder / "page.html")
    print(f"{run}: {path.stat().st_size / 1e6:.2f} MB in {seconds:.1f} s", flush=True)
    marks = []
    for _ in range(ROUNDS):
        opening = opened(browser, path)
        marks.append([mark(opening, name) for name in ("drawn", "complete")])
        opening.context.close()
    for name, values in zip(("first picture", "all models read"), np.transpose(marks), strict=True):
        print(f"  {name:16s} {told(values.tolist())}")
    watched = opened(browser, path)
    print(f"  {watched.locator('#rounding').inner_text()}")
    print(f"  {'click':16s} {told(clicked(watched))}")
    print(f"  {'arrow key':16s} {told(pressed(watched))}")
    for name in ("colour", "rule", "measure"):
        if values := chosen(watched, name):
            print(f"  {name:16s} {told(values)}")


def main() -> None:
    runs = sys.argv[1:]
    if not runs or runs[0].startswith("-"):
        sys.exit(__doc__)
    with launched() as browser, tempfile.TemporaryDirectory() as folder:
        print(f"Chromium {browser.version}, headless")
        for run in runs:
            measure(run, browser, Path(folder))


if __name__ == "__main__":
    main()
