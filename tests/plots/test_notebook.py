"""A notebook shows figures as pictures: all of a run, or one of them."""

import base64
import io
import re
import sys
from types import SimpleNamespace

import pytest
from conftest import plain_spec
from matplotlib.figure import Figure
from PIL import Image

import tmsjax
from tmsjax.plots import notebook
from tmsjax.plots.animation import Animation


class Formatter(dict):
    """What IPython has for each kind of picture."""

    def for_type(self, kind, function):
        self[kind] = function


@pytest.fixture
def formatters(monkeypatch):
    out = {"image/png": Formatter(), "image/svg+xml": Formatter()}
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters=out))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0)))
    return out


def test_the_figures_of_a_run_are_pictures_with_their_names(formatters):
    drawn = tmsjax.figures(tmsjax.run_sweep(plain_spec(2, 1)))
    html = drawn._repr_html_()
    assert re.findall("<figcaption>(.*?)</figcaption>", html) == list(drawn)
    for data in re.findall('src="data:image/png;base64,([^"]*)"', html) or [""]:
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == "PNG"
    assert formatters["image/png"][Figure](next(iter(drawn.values()))).startswith(b"\x89PNG")
    assert not formatters["image/svg+xml"]


def test_another_choice_for_single_figures_stays(formatters):
    formatters["image/svg+xml"][Figure] = mine = object()
    notebook.shown_as_pictures()
    assert formatters["image/svg+xml"] == {Figure: mine}
    assert not formatters["image/png"]


def test_without_a_notebook_nothing_is_registered(monkeypatch):
    asked = []
    for ipython in (None, SimpleNamespace(get_ipython=lambda: asked.append("shell"))):  # None: no shell is running
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        assert notebook.shown_as_pictures() is None
    assert asked == ["shell"]


def test_animations_are_pictures_and_other_results_are_escaped_text():
    moving = Animation(Figure(figsize=(1, 1)), lambda k: None, 2)
    html = notebook.Pictures({"a<b": moving, "other": "<script>"})._repr_html_()
    assert "data:image/gif;base64," in html
    assert "a&lt;b" in html
    assert "<script>" not in html
