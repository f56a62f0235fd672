"""The documentation site: `bash scripts/docs.sh` builds it with Sphinx in build/site."""

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import built_pages  # noqa: E402

project, author, copyright = "tmsjax", "the tmsjax authors", "the tmsjax authors"
version = release = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]
exclude_patterns = ["reference/_*.md", "**/.ipynb_checkpoints", "**/runs"]

# Markdown and notebooks
myst_enable_extensions = ["colon_fence", "html_image", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "docs" / "notebooks")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# Docstrings: Google style, `code` in backticks. Types of other packages are not linked, since the build is offline.
default_role = "code"
highlight_language = "none"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88
nitpick_ignore_regex = [
    ("py:.*", r"(?!tmsjax\.).*"),
    ("py:class", r"tmsjax(\.\w+){3,}"),  # types in signatures that no room exports
]

# Look
html_theme = "pydata_sphinx_theme"
html_title = "tmsjax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["explorer/one_neuron.html"]
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


def public(name: str) -> dict[str, list[str]]:
    """The public names of a room, by what they are: for docs/_templates/autosummary/module.rst."""
    room = import_module(name)
    out: dict[str, list[str]] = {"modules": [], "classes": [], "functions": [], "constants": [], "elsewhere": []}
    defined = [k for k, v in vars(room).items() if k[0] != "_" and getattr(v, "__module__", "") == name]
    for each in sorted(getattr(room, "__all__", defined), key=str.lower):
        value = getattr(room, each)
        if inspect.ismodule(value):
            out["modules"] += [value.__name__] if value.__name__ not in ROOMS else []
        elif inspect.isclass(value) and name == "tmsjax":  # the page of its room documents it
            out["elsewhere"].append(f"{value.__module__.split('.')[1]}.{each}")
        elif inspect.isclass(value):
            out["classes"].append(each)
        else:
            out["functions" if inspect.isroutine(value) else "constants"].append(each)
    return out


ROOMS = re.findall(r"^   (tmsjax[\w.]*)$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.M)
autosummary_context = {"public": {room: public(room) for room in ROOMS}}


def read(app, docname, source):
    """Links to files outside docs/ lead to the pages that are made from them."""
    page = Path(app.env.doc2path(docname))
    if page.suffix == ".md":
        source[0] = built_pages.moved(source[0], page.parent, page.parent)


def setup(app):
    built_pages.write()
    app.connect("source-read", read)
