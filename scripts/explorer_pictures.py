"""Draws the screenshots of docs/explorer/ in headless Chromium; `pip install tmsjax[browser]` first.

    python scripts/explorer_pictures.py RUNS         RUNS: a folder with the runs that docs/explorer/README.md names

CHROMIUM names the browser, or else PATH has it.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from chromium import launched
from PIL import Image

from tmsjax import explore

OUT = Path(__file__).parents[1] / "docs" / "explorer"
LARGEST = 290_000  # bytes of a picture; larger ones get a palette of 256 colours
WIDE, PHONE = (1360, 940), (390, 844)
PICTURES: Any = (  # file, run, address, size, colours
    ("map", "one-neuron", "cell=120,40", WIDE, "light"),
    ("beside", "one-neuron", "cell=60,168&beside=30,96&colour=excess&zoom=3.2,-1.05,-0.05", (1640, 1000), "dark"),
    ("success", "one-neuron", "cell=36,140&colour=success", WIDE, "light"),
    ("geometry", "geometry", "cell=0,10", WIDE, "light"),
    ("vectors", "correlated", "cell=0,2", WIDE, "light"),
    ("phone", "one-neuron", "cell=160,200&colour=phase", PHONE, "light"),
)


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    with launched() as browser, tempfile.TemporaryDirectory() as folder:
        for run in {run for _, run, *_ in PICTURES}:
            explore(Path(sys.argv[1]) / run).save(Path(folder) / f"{run}.html")
        for name, run, address, (width, height), scheme in PICTURES:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(f"{(Path(folder) / run).as_uri()}.html#{address}")
            page.wait_for_selector('html[data-state="complete"]', state="attached")
            page.wait_for_timeout(500)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            file = OUT / f"{name}.png"
            picture.save(file, optimize=True)
            if file.stat().st_size > LARGEST:
                picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
            print(f"{file.relative_to(OUT.parents[1])}: {file.stat().st_size / 1000:.0f} kB")
            context.close()


if __name__ == "__main__":
    main()
