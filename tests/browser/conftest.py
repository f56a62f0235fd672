"""A browser for the session, a run with its page, and for each test functions that open pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import map_axes, small_spec

import tmsjax
from browser.pages import Explored
from browser.visits import visits
from tmsjax.explorer import Page
from tmsjax.runs import Run

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@contextmanager
def launched() -> Iterator[Any]:
    """Playwright's handle of the headless browser that CHROMIUM names, or the first on PATH, or Playwright's own."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser():
    """The Chromium of the session."""
    pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
    with launched() as found:
        yield found


@pytest.fixture
def opened(browser):
    """`opened(path, hash="", **context_options)` -> page; the test fails if pages log errors or make requests."""
    with visits(browser) as made:
        yield made


@pytest.fixture(scope="session")
def one_neuron(tmp_path_factory):
    """A map of 6 x 7 cells x 4 replicas with exact optima, whose selection rules differ in some cells."""
    raw = small_spec(axes=map_axes(6, 7, 4, 0.01), train={"steps": 400, "batch": 64})
    run = tmsjax.run_sweep(raw, tmp_path_factory.mktemp("runs") / "one-neuron")
    tmsjax.compare(run)
    return run


@pytest.fixture(scope="session")
def one_neuron_page(one_neuron, tmp_path_factory):
    return tmsjax.explore(one_neuron).save(tmp_path_factory.mktemp("pages") / "one-neuron.html")


@pytest.fixture
def explored(opened, tmp_path):
    """`explored(run or page or path, hash="", **options)` -> the opened page of a run, as pages.Explored."""

    def show(source, hash: str = "", *, select="best", region=None, **options) -> Explored:
        if isinstance(source, Run):
            source = tmsjax.explore(source, select=select, region=region)
        if isinstance(source, Page):
            source = source.save(tmp_path / f"{source.name}.html")
        return Explored(opened(source, hash, **options))

    return show
