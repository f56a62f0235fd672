"""Arrays of numbers as text for the page: rounded to few bits, compressed, base64.

Each array is stored as whole numbers q of `bits` bits; code 0 is a missing value (NaN), except in "whole" arrays:

  whole    q
  linear   lowest + step (q - 1)
  sinh     sinh(lowest + step (q - 1)), for numbers of which a few are large
  log      0 for q = 1, otherwise exp(lowest + step (q - 2))
  excess   scale (exp(step (q - 1)) - 1), for numbers from 0 that matter most near 0

The high 8 bits of an array form one plane of bytes, the bits below another, which compresses better than mixed bytes.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

WIDE = 8.0  # sizes of numbers above which equal steps waste codes
SMALLEST_EXCESS = 1e-6  # scale of "excess" arrays: smaller numbers are rounded as linear ones


@dataclass(frozen=True)
class Rounded:
    """An array as whole numbers, and how the page reads them."""

    codes: np.ndarray
    code: str
    bits: int
    lowest: float = 0.0
    step: float = 1.0
    scale: float = 1.0

    @property
    def error(self) -> float:
        """The largest rounding error.

        Absolute for "whole" and "linear", for "sinh" relative to numbers above 1 and absolute below, relative to the
        number for "log", and to the number plus `scale` for "excess".
        """
        if self.code in ("whole", "linear"):
            return 0.0 if self.code == "whole" else self.step / 2
        return float(np.expm1(self.step / 2)) * (np.sqrt(2) if self.code == "sinh" else 1)

    def head(self, at: int) -> dict[str, Any]:
        """What the page needs to read the array, whose bytes begin at `at`."""
        numbers = {"lowest": self.lowest, "step": self.step, "scale": self.scale}
        return {"shape": list(self.codes.shape), "code": self.code, "bits": self.bits, "at": at, **numbers}

    def planes(self) -> list[bytes]:
        low = max(self.bits - 8, 0)
        planes = [(self.codes >> low).astype(np.uint8)]
        if low:
            planes.append((self.codes & (2**low - 1)).astype(np.uint8))
        return [plane.tobytes() for plane in planes]


Rounding = Callable[[int], Rounded]  # rounds an array to at most so many bits
Arrays = dict[str, Rounded | Rounding]


def rounded(arrays: Arrays, bits: int) -> dict[str, Rounded]:
    """The arrays, those that are not rounded yet to at most `bits` bits."""
    return {name: each if isinstance(each, Rounded) else each(bits) for name, each in arrays.items()}


def whole(values: np.ndarray) -> Rounded:
    """Whole numbers from 0 to 65,535, exactly."""
    codes = np.asarray(values).astype(np.int64)
    assert codes.size == 0 or (codes.min() >= 0 and codes.max() < 2**16)
    return Rounded(codes, "whole", 16 if codes.size and codes.max() > 255 else 8)


def linear(values: np.ndarray, bits: int, most: int = 16) -> Rounded:
    """Any numbers, rounded to equal steps between the smallest and the largest; to at most `most` bits.

    To growing steps ("sinh") if some are above WIDE in size.
    """
    values = np.asarray(values, np.float64)
    if np.abs(values).max(initial=0, where=np.isfinite(values)) > WIDE:
        return _spaced(np.arcsinh(values), "sinh", min(bits, most))
    return _spaced(values, "linear", min(bits, most))


def log(values: np.ndarray, bits: int, most: int = 16) -> Rounded:
    """Numbers from 0, rounded to equal ratios, to at most `most` bits; negative ones count as missing."""
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        spaced = _spaced(np.where(values > 0, np.log(values), np.nan), "log", min(bits, most))
    codes = np.where(spaced.codes > 0, spaced.codes + 1, values == 0)
    return replace(spaced, codes=codes.astype(np.int32))


def excess(values: np.ndarray, bits: int) -> Rounded:
    """Numbers from 0, rounded to equal ratios above SMALLEST_EXCESS, to equal steps below; negative ones become 0."""
    place = np.log1p(np.maximum(np.asarray(values, np.float64), 0) / SMALLEST_EXCESS)
    return _spaced(place, "excess", bits, lowest=0.0, scale=SMALLEST_EXCESS)


def _spaced(place: np.ndarray, code: str, bits: int, lowest: float | None = None, scale: float = 1.0) -> Rounded:
    finite = np.isfinite(place)
    ends = (place[finite].min(), place[finite].max()) if finite.any() else (0.0, 0.0)
    low = float(ends[0]) if lowest is None else lowest
    step = float(ends[1] - low) / (2**bits - 3)
    with np.errstate(invalid="ignore"):
        codes = np.where(finite, 1 + np.rint((place - low) / (step or 1.0)), 0)
    return Rounded(codes.astype(np.int32), code, bits, low, step, scale)


def packed(arrays: dict[str, Rounded]) -> tuple[dict[str, dict], str]:
    """The heads of the arrays by name, and the bytes of all of them as text."""
    heads, data = {}, bytearray()
    for name, array in arrays.items():
        heads[name] = array.head(len(data))
        for plane in array.planes():
            data += plane
    squeezed = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return heads, base64.b64encode(squeezed.compress(data) + squeezed.flush()).decode("ascii")
