"""Relative links in README and docs/ lead to files and headings. (The build of the site checks pages and toctrees.)"""

import json
import re
from functools import cache
from pathlib import Path

from conftest import ROOT

BUILT = {"readme.md", "contributing.md", "changelog.md"}  # in docs/project, by the build of the site
LINK = re.compile(r"(?<!\\)\]\(([^()\s]+)\)")


def pages() -> list[Path]:
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]
    found += (ROOT / "scripts").rglob("*.md")
    ignored = [ROOT / "docs" / "results", ROOT / "docs" / "reference" / "api"]
    return [
        file
        for file in sorted(found)
        if ".ipynb_checkpoints" not in file.parts
        and not set(ignored) & set(file.parents)
        and not (file.parent == ROOT / "docs" / "project" and file.name in BUILT)
        and not file.name.startswith("_")
    ]


@cache
def markdown(file: Path) -> str:
    """The text of a page, or of a notebook's cells of text, without code."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^( *)(`{3,}|:{3,}).*?^\1\2\s*$", "", text, flags=re.S | re.M)


@cache
def anchors(file: Path) -> frozenset[str]:
    """The anchors that GitHub and Sphinx make from the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", markdown(file), re.M)
    titles = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return frozenset(re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles)


def test_links_and_their_anchors_resolve():
    wrong = []
    for file in pages():
        for link in LINK.findall(re.sub(r"`[^`\n]*`", "", markdown(file))):
            if re.match(r"https?://[\w.-]+(/|$)|mailto:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (file.parent / path).resolve() if path else file
            if not target.exists() or (anchor and anchor not in anchors(target)):
                wrong.append(f"{file.relative_to(ROOT)}: {link}")
    assert wrong == []


def test_every_study_is_in_the_table_of_results():
    texts = (ROOT / "scripts" / "studies").glob("*/text.md")
    table = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert [path.parent.name for path in texts if f"studies/{path.parent.name}/text.md" not in table] == []
