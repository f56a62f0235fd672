"""A browser for the session, and for each test a function that opens pages in it."""

import os
import shutil

import pytest

from browser.visits import visits

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def browser():
    """The Chromium that CHROMIUM names, or the first on PATH, or Playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser):
    """`opened(path, hash="", **context_options)` -> page; the test fails if pages log errors or make requests."""
    with visits(browser) as made:
        yield made
