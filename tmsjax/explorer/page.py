"""The HTML file: our modules and styles, d3, and the data, all inside the page, under a policy that forbids the rest.

The page's JavaScript is a set of ES modules, each with its imports at the top. They become one script here: in the
order of their imports, without the words `import` and `export`, inside one function. So a name may be declared at the
top of one module only (tests/explorer/test_page.py).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tmsjax import analysis
from tmsjax.errors import RunError
from tmsjax.explorer.content import Content, content_of
from tmsjax.explorer.pack import Rounded, packed, rounded
from tmsjax.plots import features, style
from tmsjax.runs import Run, as_path, as_run, write_whole
from tmsjax.spec import SELECTIONS, suggest

MOST_BYTES = 12_000_000  # of a page; numbers are rounded to as many bits as fit
BITS = (16, 14, 12, 11, 10, 9, 8)  # of a number
SLACK = 1.2  # the size of a page is in proportion to the bits of a number, up to this factor
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z_]+)\.js";\n', re.MULTILINE)
FIRST = "main"


@dataclass(frozen=True)
class Page:
    """A page of a run. In a notebook it shows itself in a frame.

    Examples:
        >>> page = tmsjax.explore(run)
        >>> page.name, page.text[:15]
        ('small', '<!doctype html>')
    """

    text: str
    name: str
    height: int = 820

    def save(self, path: str | Path) -> Path:
        """Writes the page whole, to a path or to a URL in an object store. Raises RunError if it cannot be written.

        Examples:
            >>> tmsjax.explore(run).save(folder / "page.html").name
            'page.html'
        """
        path = as_path(path)
        try:
            write_whole(path, lambda file: Path(file).write_text(self.text, encoding="utf-8"))
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror}") from error
        return path

    def __repr__(self) -> str:
        return f"<Page of {self.name}: {len(self.text) / 1e6:.1f} MB; save(path) writes it>"

    def _repr_html_(self) -> str:
        """The page in a frame that may run its own script and nothing else."""
        return (
            f'<iframe title="{html.escape(self.name)}" sandbox="allow-scripts" width="100%" height="{self.height}" '
            f'style="border:0" srcdoc="{html.escape(self.text)}"></iframe>'
        )


def explore(run: Run | str | Path, *, select: str = "best", region: analysis.Region | None = None) -> Page:
    """A page on which one clicks a cell of a run's map and sees its models: one self-contained HTML text.

    `region`: the lowest and highest value along some axes; shows only this part. `select`: the rule that the page shows
    first ("single": replica 0). Exact optima are shown if `tmsjax compare` has stored them.

    Numbers are rounded to as many bits, from 8 to 16, as fit MOST_BYTES; the page states the error. Up to 6,000,000
    parameters and losses it has every model, above that the best of each cell or, if these are too many, none. More
    than 1,000,000 cells are shown as pixels of several cells, by the rule `select` alone. Raises RunError if the run is
    unfinished or has too many cells to be shown, SpecError if it has no such region, ValueError for an unknown rule.

    Examples:
        >>> page = tmsjax.explore(run)
        >>> page.save(folder / "map.html").name
        'map.html'
    """
    if select not in SELECTIONS:
        raise ValueError(f"select = {select!r} is not known{suggest(str(select), list(SELECTIONS))}")
    run = as_run(run)
    content = content_of(run, select, region)
    content.about |= {"select": select, "colours": palette()}
    return Page(_fitting(content), content.about["name"])


def _fitting(content: Content) -> str:
    """The page with numbers of as many bits as fit. Skips bits that cannot fit, by the size of the last try."""
    promising = float(BITS[0])
    for bits in BITS:
        if bits > promising and bits != BITS[-1]:
            continue
        cells, models = rounded(content.cells, bits), rounded(content.models, bits)
        text = _text({**content.about, "errors": errors(cells, models)}, packed(cells), packed(models))
        if len(text) <= MOST_BYTES:
            break
        promising = SLACK * bits * MOST_BYTES / len(text)
    return text


def errors(cells: dict[str, Rounded], models: dict[str, Rounded]) -> dict[str, float]:
    """The largest rounding errors, as the page states them.

    Absolute of weights and biases, and of norms and superposition on the map; relative of losses; of how far losses
    are above others, relative to that.
    """
    of = {
        "weights": [array.error for name, array in models.items() if "." in name],
        "maps": [array.error for name, array in cells.items() if name.startswith(("norm_", "superposition_"))],
        "losses": [array.error for name, array in cells.items() if name.startswith("loss")],
        "excess": [array.error for array in (*cells.values(), *models.values()) if array.code == "excess"],
    }
    return {name: max(each) for name, each in of.items() if each}


def palette() -> dict[str, Any]:
    """The colours of the figures, so that the page has the same."""
    return {
        "paper": [[round(255 * part) for part in colour] for colour in (style.GREY, style.BLUE, style.RED)],
        "tones": list(style.TONES),
        "ramp": style.ramp("cividis"),
        "diverging": style.ramp("RdBu"),
        "phases": list(style.PHASE_TONES),
        "differences": dict(zip(analysis.DIFFERENCES, style.DIFFERENCE_TONES, strict=True)),
        "polytopes": list(features.KIND_COLOURS),
        "polytope_names": list(analysis.COMPONENTS),
    }


def _text(about: dict, cells: tuple[dict, str], models: tuple[dict, str]) -> str:
    known = {**about, "cells": cells[0], "models": models[0]}
    sheet, script, library = _source("style.css"), _script(), _vendored()
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src {_hash(sheet)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(about["name"]),
        "style": sheet,
        "about": json.dumps(known, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "cells": cells[1],
        "library": library,
        "script": script,
        "models": models[1],
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _source("page.html"))


def _hash(text: str) -> str:
    """A source of a content-security policy that allows one inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _script() -> str:
    """All modules as one script."""
    return '"use strict";\n(() => {\n' + "".join(_body(name) for name in in_order(FIRST)) + "})();\n"


def in_order(name: str, before: tuple[str, ...] = ()) -> list[str]:
    """The modules that a module imports, directly or not, and itself: each after those that it imports."""
    if name in before:
        raise ValueError(f"modules import each other: {' -> '.join((*before, name))}")
    found: list[str] = []
    for needed in IMPORT.findall(_source(f"{name}.js")):
        found += [other for other in in_order(needed, (*before, name)) if other not in found]
    return [*found, name]


def _body(name: str) -> str:
    """A module without its imports, and with nothing exported."""
    return re.sub(r"^export ", "", IMPORT.sub("", _source(f"{name}.js")), flags=re.MULTILINE)


@cache
def _source(name: str) -> str:
    return (files("tmsjax.explorer") / "page" / name).read_text(encoding="utf-8")


@cache
def _vendored() -> str:
    return (files("tmsjax.explorer") / "vendor" / "d3.js").read_text(encoding="utf-8")
