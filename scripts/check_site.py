"""Checks a built site without a network: links, anchors and files exist, and pages load nothing from elsewhere.

python scripts/check_site.py build/site
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NOT_PAGES = ("explorer/one_neuron.html", "_static/")  # a page of its own, with its own tests; a theme's templates


class Page(HTMLParser):
    """The links, anchors and loaded files of one page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attributes}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADED.get(tag) in values and values.get("rel") not in ("next", "prev", "canonical"):
            self.loaded.append(values[LOADED[tag]])


def problems(site: Path) -> list[str]:
    """What is wrong with the site, one line each."""
    files = [f for f in sorted(site.rglob("*.html")) if not f.relative_to(site).as_posix().startswith(NOT_PAGES)]
    pages = {file.resolve(): Page(file.read_text(encoding="utf-8")) for file in files}
    out = []
    for file, page in pages.items():
        here = file.relative_to(site.resolve()).as_posix()
        for link in page.links + page.loaded:
            wrong = _wrong(link, file, pages, link in page.loaded)
            if wrong:
                out.append(f"{here}: {link}: {wrong}")
    index = site / "searchindex.js"
    if not index.exists() or "superposit" not in index.read_text(encoding="utf-8"):
        out.append("searchindex.js: missing, or without a word of the pages")
    return out


def _wrong(link: str, file: Path, pages: dict[Path, Page], loaded: bool) -> str | None:
    """What is wrong with one link of a page, or None. External ones are checked for their form only."""
    parts = urlsplit(link)
    if parts.scheme == "data":
        return None
    if parts.scheme or parts.netloc:
        if loaded:
            return "the page needs the network"
        good = parts.scheme in ("https", "http", "mailto") and (parts.netloc or parts.path) and " " not in link
        return None if good else "not the form of a link"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such file"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "no such anchor"
    return None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python scripts/check_site.py FOLDER")
    found = problems(Path(sys.argv[1]))
    print(
        "\n".join(
            [*found, f"{sys.argv[1]}: {len(found)} problems" if found else f"{sys.argv[1]}: every link leads somewhere"]
        )
    )
    raise SystemExit(bool(found))
