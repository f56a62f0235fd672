"""Sources of the site, without Sphinx: pages are reachable, names are in the reference, links resolve."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import reference
from conftest import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    file
    for pattern in ("*.md", "*.ipynb")
    for file in DOCS.rglob(pattern)
    if not file.name.endswith(".template.md") and ".ipynb_checkpoints" not in file.parts
)
LINKING = [*sorted(ROOT.glob("*.md")), *PAGES]
LINK = re.compile(r"(?<!\\)\]\(([^()\s]+)\)")


def toctree(page: Path) -> list[Path]:
    """The pages that the toctrees of a page name."""
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    entries = [line.strip() for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    out = []
    for entry in entries:
        found = [f for suffix in (".md", ".ipynb") for f in page.parent.glob(entry + suffix)]
        assert found or "*" in entry, f"{page.name}: its toctree names {entry}, which is no page"
        out += found
    return out


def test_every_page_is_reachable():
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += toctree(page) if page.suffix == ".md" else []
    missing = {page.relative_to(DOCS).as_posix() for page in PAGES} - {p.relative_to(DOCS).as_posix() for p in reached}
    assert not missing, "add them to a toctree, such as that of docs/how_to.md"


@cache
def made() -> dict[str, str]:
    return reference.pages()


def test_the_reference_is_up_to_date():
    """In a process of its own, as other tests register names."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py"], capture_output=True, text=True, check=True
    )
    assert not done.stdout, "run `python scripts/reference.py --write`"
    assert {file.name for file in (DOCS / "reference").iterdir()} == made().keys()


@pytest.mark.parametrize("room", ["tmsjax", *(f"tmsjax.{room}" for room in reference.ROOMS), "tmsjax.errors"])
def test_every_public_name_is_in_the_reference(room):
    module = __import__(room, fromlist=["__name__"])
    text = (DOCS / "reference" / f"{room.rpartition('.')[2]}.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| (?:<a [^>]*><code>|\[?`)(\w+)", text, re.M))
    assert rows == set(reference.public(module))
    documented = set(re.findall(r"^\.\. (?:autofunction|autoclass):: ([\w.]+)$", text, re.M))
    documented |= {f"{room}.{name}" for name in re.findall(rf"^\.\. py:data:: (\w+)\n   :module: {room}$", text, re.M)}
    modules = {name for name in rows if re.search(rf"\b{name}\b.*\| module \|", text)}
    assert {f"{room}.{name}" for name in rows - modules} <= documented


def test_every_command_and_every_key_is_in_the_reference():
    from dataclasses import fields

    from tmsjax.cli import app
    from tmsjax.spec import TABLES

    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    assert commands == set(re.findall(r"^## tmsjax (\w+)$", made()["command_line.md"], re.M))
    keys = {f"{table}.{field.name}" for table, cls in TABLES.items() for field in fields(cls)} - {
        "model.options",
        "data.options",
    }
    assert keys <= set(re.findall(r"^\| `([\w.]+)` \|", made()["spec_keys.md"], re.M))


@cache
def anchors(file: Path) -> frozenset[str]:
    """The anchors that GitHub and Sphinx make from the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", markdown(file), re.M)
    titles = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return frozenset(re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles)


def markdown(file: Path) -> str:
    """The text of a page, or of a notebook's cells of text, without code."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^( *)(`{3,}|:{3,}).*?^\1\2\s*$", "", text, flags=re.S | re.M)


@pytest.mark.parametrize("file", LINKING, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_and_their_anchors_resolve(file):
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", markdown(file))):
        if re.match(r"https?://[\w.-]+(/|$)|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (["W_i of |W| and `a_b`."], ["W\\_i of \\|W\\| and ``a_b``.", ""]),
        (["a:  one", "   more", "b_c: two"], ["* **a**: one more", "* **b\\_c**: two", ""]),
        (["Args:", "    a: b_c"], ["**Args:**", "", "* **a**: b\\_c", ""]),
        (["Examples:", "    >>> f_(1)", "    2"], ["**Examples:**", "", ">>> f_(1)", "2", "", ""]),
        (
            ["It is:", "    x = 1", "", "- one", "  more"],
            ["It is:", "", "::", "", "    x = 1", "", "* one", "  more", ""],
        ),
    ],
)
def test_docstrings_as_restructured_text(docstring, expected):
    assert reference.as_rst(docstring) == expected
