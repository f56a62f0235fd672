"""The fixture `opened` passes pages that keep to themselves, and fails those with errors or requests."""

import pytest

from browser.visits import visits

pytestmark = pytest.mark.browser


def page_of(folder, body: str):
    path = folder / "page of #1.html"
    path.write_text(f"<!doctype html><title>a page</title><body>{body}</body>", encoding="utf-8")
    return path


def test_a_page_that_keeps_to_itself(opened, tmp_path):
    image = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    body = f"<img src='{image}'><script>fetch(URL.createObjectURL(new Blob(['x']))); console.warn('careful')</script>"
    page = opened(page_of(tmp_path, body), hash="cell=3", viewport={"width": 400, "height": 300})
    assert page.title() == "a page"
    assert page.evaluate("location.hash") == "#cell=3"
    assert page.evaluate("innerWidth") == 400
    assert opened.warnings == ["careful"]
    page.reload()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<script>console.error('no such cell')</script>", "console: no such cell"),
        ("<script>console.assert(false, 'is false')</script>", "console: is false"),
        ("<script>throw new Error('at once')</script>", "uncaught: at once"),
        ("<script>setTimeout(() => { throw new Error('later') })</script>", "uncaught: later"),
        ("<script>Promise.reject(new Error('unheard'))</script>", "uncaught: unheard"),
        ("<script>fetch('http://localhost:1/data').catch(() => 0)</script>", "'requests': .*http://localhost:1/data"),
        ("<script>navigator.sendBeacon('http://localhost:1/b')</script>", "'requests': .*http://localhost:1/b"),
        ("<script>new WebSocket('ws://localhost:1/socket')</script>", "'requests': .*ws://localhost:1/socket"),
        ("<link rel='stylesheet' href='http://localhost:1/a.css'>", "'requests': .*http://localhost:1/a.css"),
        ("<img src='beside.png'>", "'requests': .*file://.*/beside.png"),
    ],
)
def test_a_page_with_an_error_or_a_request_fails(browser, tmp_path, body, words):
    with pytest.raises(AssertionError, match=words), visits(browser) as opened:
        opened(page_of(tmp_path, body))


def test_an_error_after_a_click_fails(browser, tmp_path):
    path = page_of(tmp_path, "<button onclick=\"console.error('clicked')\">a button</button>")
    with pytest.raises(AssertionError, match="console: clicked"), visits(browser) as opened:
        opened(path).click("button")


def test_a_page_that_it_opens_is_watched_too(browser, tmp_path):
    other = tmp_path / "other.html"
    other.write_text("<script>console.error('in the other'); opener.postMessage('done', '*')</script>")
    path = page_of(tmp_path, "<script>onmessage = () => { window.done = true }; open('other.html')</script>")
    with pytest.raises(AssertionError, match="in the other"), visits(browser) as opened:
        opened(path).wait_for_function("window.done")
    assert opened.requests == [other.as_uri()]
