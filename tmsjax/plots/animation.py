"""Animations as results of studies, beside figures: frames that are drawn one after the other, saved as a GIF."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

MOST_BYTES = 2_000_000
RESOLUTIONS = (100, 80, 60, 45)  # dots per inch, tried in this order
COLOURS = 64


@dataclass(frozen=True)
class Animation:
    """A figure that changes over frames.

    Attributes:
        draw: frame k = 0 ... frames - 1 -> None; changes the figure to show it
        per_second: frames per second; the last frame stays for `rest` seconds, then the first follows
    """

    figure: Figure
    draw: Callable[[int], None]
    frames: int
    per_second: float = 10.0
    rest: float = 2.0

    def write(self, path: Path, most: int = MOST_BYTES) -> None:
        """Writes a GIF at the highest of RESOLUTIONS that fits `most` bytes; the lowest one may exceed it."""
        for dpi in RESOLUTIONS:
            data = self.gif(dpi)
            if len(data) <= most:
                break
        path.write_bytes(data)

    def gif(self, dpi: float) -> bytes:
        """All frames as a GIF of COLOURS colours, those of the last frame."""
        images = [self._image(k, dpi) for k in range(self.frames)]
        palette = images[-1].quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
        first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
        times = [round(1000 / self.per_second)] * self.frames
        times[-1] += round(1000 * self.rest)
        with io.BytesIO() as file:
            first.save(file, format="GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=False)
            return file.getvalue()

    def _image(self, frame: int, dpi: float) -> Image.Image:
        self.draw(frame)
        self.figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        self.figure.set_layout_engine("none")  # all frames have the layout of the first
        return Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
