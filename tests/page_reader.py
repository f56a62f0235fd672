"""Reads a page of the explorer from its text alone: its scripts, its policy, what it says, its arrays."""

import base64
import json
import zlib
from html.parser import HTMLParser

import numpy as np

from tmsjax.explorer import Page


class Parsed(HTMLParser):
    """The texts of scripts by id ("" for executed ones), of the style sheet, and the policy of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.data, self.executed, self.styles, self.policy, self.inside = {}, [], [], "", None
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.inside = (tag, found) if tag in ("script", "style", "title", "h1") else None
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        tag, found = self.inside or (None, {})
        if tag == "script" and "id" in found:
            self.data[found["id"]] = self.data.get(found["id"], "") + data
        elif tag == "script":
            self.executed.append(data)
        elif tag == "style":
            self.styles.append(data)
        elif tag in ("title", "h1"):
            self.words.append(data)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)


def read(page: Page) -> tuple[dict, dict[str, np.ndarray]]:
    """What a page says, and its arrays by name, read from its text alone."""
    parsed = Parsed(page.text)
    about = json.loads(parsed.data["about"])
    arrays = {}
    for chunk in ("cells", "models"):
        planes = zlib.decompress(base64.b64decode(parsed.data[chunk]), -zlib.MAX_WBITS)
        for name, head in about[chunk].items():
            arrays[name] = unpacked(head, np.frombuffer(planes, np.uint8))
    return about, arrays


def unpacked(head: dict, planes: np.ndarray) -> np.ndarray:
    size, low = int(np.prod(head["shape"])), max(head["bits"] - 8, 0)
    codes = planes[head["at"] :][:size].astype(int) << low
    if low:
        codes |= planes[head["at"] + size :][:size]
    codes = codes.reshape(head["shape"])
    if head["code"] == "whole":
        return codes
    place = head["lowest"] + head["step"] * (codes - 1.0)
    decoded = {
        "linear": lambda: place,
        "sinh": lambda: np.sinh(place),
        "log": lambda: np.where(codes == 1, 0, np.exp(place - head["step"])),
        "excess": lambda: head["scale"] * np.expm1(place),
    }
    return np.where(codes == 0, np.nan, decoded[head["code"]]())
