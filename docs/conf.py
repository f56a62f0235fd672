"""The documentation site: `bash scripts/docs.sh` builds it with Sphinx in build/site."""

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

import reference  # noqa: E402

project, author, copyright = "tmsjax", "the tmsjax authors", "the tmsjax authors"
version = release = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["**/*.template.md", "*.template.md", "**/.ipynb_checkpoints", "**/runs"]

# Markdown and notebooks
myst_enable_extensions = ["colon_fence", "html_image", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "docs" / "notebooks")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# Docstrings: plain text with `code` in backticks. Types of other packages are not linked, since the build is offline.
default_role = "code"
highlight_language = "none"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
nitpick_ignore_regex = [("py:.*", r"(?!tmsjax\.).*")]
nitpick_ignore = [  # types in signatures that no room exports
    ("py:class", f"tmsjax.{name}")
    for name in (
        "engine.topology.Compiled",
        "kinds.registry.T",
        "plots.animation.Animation",
        "explorer.page.Page",
        "spec.tables.Init",
        "spec.tables.InstanceTable",
    )
]

# Look
html_theme = "pydata_sphinx_theme"
html_title = "tmsjax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # summaries are fetched, which browsers refuse for files
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "tmsjax"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}

# Files outside docs/ that are pages of the site: page -> file
ROOT_PAGES = {
    "project/readme": "README.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/changelog": "CHANGELOG.md",
}
CITATION = ROOT / "CITATION.cff"
GLOB = re.compile(r"^[\w/]+\*\n", re.M)  # of a toctree; one without a page is a warning that Sphinx cannot suppress
LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?(\))")


def read(app, docname, source):
    """Pages of ROOT_PAGES get the text of their file; links in all pages lead to pages of the site."""
    folder = ROOT / "docs" / Path(docname).parent
    here = folder
    if docname in ROOT_PAGES:
        file = ROOT / ROOT_PAGES[docname]
        app.env.note_dependency(str(file))
        source[0], here = file.read_text(encoding="utf-8"), ROOT
    if docname == "project/citation" and CITATION.exists():
        source[0] += f"\n## CITATION.cff\n\n```yaml\n{CITATION.read_text(encoding='utf-8')}```\n"
    source[0] = GLOB.sub(lambda found: found[0] if any(folder.glob(f"{found[0].strip()}.*")) else "", source[0])
    if app.env.doc2path(docname).suffix == ".md":
        source[0] = LINK.sub(lambda found: _linked(found, here, folder), source[0])


def _linked(found, here, folder):
    target = (here / found[2]).resolve()
    for page, file in ROOT_PAGES.items():
        if target == ROOT / file:
            target = ROOT / "docs" / f"{page}.md"
    if not target.exists():
        return found[0]
    return f"{found[1]}{os.path.relpath(target, folder)}{found[3] or ''}{found[4]}"


def docstring(app, what, name, obj, options, lines):
    lines[:] = reference.as_rst(lines)


def finish(app, exception):
    """Copies the explorer's page, which stands alone and which docs/explorer/map.md shows in a frame.

    Repairs the links from sources back to the reference: viewcode takes the first module that names an object for its
    only name, but names are documented both in a room and in `tmsjax`.
    """
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    (site / "explorer").mkdir(exist_ok=True)
    shutil.copy(ROOT / "docs" / "explorer" / "one_neuron.html", site / "explorer" / "one_neuron.html")
    anchors = {
        page.name: re.findall(r'id="(tmsjax\.[\w.]+)"', page.read_text(encoding="utf-8"))
        for page in sorted((site / "reference").glob("*.html"))
    }

    def repaired(found):
        up, page, anchor = found[1], found[2], found[3]
        if anchor in anchors[page]:
            return found[0]
        parts = anchor.split(".")
        name = ".".join(part for k, part in enumerate(parts) if k == len(parts) - 1 or part[0].isupper())
        for other in (page, *anchors):
            for known in anchors[other]:
                if known.endswith(f".{name}"):
                    return f'href="{up}reference/{other}#{known}"'
        return found[0]

    index = site / "_modules" / "index.html"  # viewcode lists builtins, of which it has no page
    index.write_text(re.sub(r'<li><a href="builtins.html">.*?</li>', "", index.read_text("utf-8")), encoding="utf-8")
    for source in sorted((site / "_modules").rglob("*.html")):
        text = source.read_text(encoding="utf-8")
        new = re.sub(r'href="([./]*)reference/(\w+\.html)#([\w.]+)"', repaired, text)
        if new != text:
            source.write_text(new, encoding="utf-8")


def setup(app):
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("build-finished", finish)
