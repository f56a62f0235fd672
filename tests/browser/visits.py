"""Opens written pages and records what goes wrong in them, and what they ask the network for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

INSIDE = ("about:", "data:", "blob:")  # URLs that ask nobody


class Visits:
    """Called with the path of an HTML file, opens it in a context of its own and returns the page.

    `errors` (of the console and uncaught), `warnings` and `requests` (other than for the file itself) fill up.
    """

    def __init__(self, browser: Browser):
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.requests: list[str] = []
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def __call__(self, path: str | Path, hash: str = "", **context_options) -> Page:
        url = Path(path).resolve().as_uri()
        context = self._browser.new_context(**context_options)
        self._contexts.append(context)
        context.on("console", lambda message: self._heard(message.type, message.text))
        context.on("weberror", lambda error: self.errors.append(f"uncaught: {error.error}"))
        context.on("request", lambda request: self._asked(request.url, url))
        context.on("page", lambda page: page.on("websocket", lambda socket: self.requests.append(socket.url)))
        page = context.new_page()
        page.goto(url + (f"#{hash.removeprefix('#')}" if hash else ""))
        return page

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "assert"):
            self.errors.append(f"console: {text}")
        elif kind == "warning":
            self.warnings.append(text)

    def _asked(self, url: str, own: str) -> None:
        if url.split("#")[0] != own and not url.startswith(INSIDE):
            self.requests.append(url)

    def settle(self) -> None:
        """Waits until the pages have run what is due, and their events have arrived."""
        for context in self._contexts:
            for page in context.pages:
                page.evaluate("() => new Promise((done) => setTimeout(done))")

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@contextmanager
def visits(browser: Browser) -> Iterator[Visits]:
    """`Visits` that at the end assert that there was no error and no request."""
    made = Visits(browser)
    try:
        yield made
        made.settle()
    finally:
        made.close()
    wrong = {"errors": made.errors, "requests": made.requests}
    assert not any(wrong.values()), f"{wrong}, warnings: {made.warnings}"
