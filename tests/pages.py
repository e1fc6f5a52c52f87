"""Pages of HTML, read as a browser would."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["Page"]

VOID = {"meta", "img", "input", "br", "line", "link"}


class Page(HTMLParser):
    """Reads a page; a tag that is not closed, or closed in the wrong place, is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def images(self) -> dict[str, np.ndarray[Any, Any]]:
        """The pixels of every image, by its alternative text."""
        found = {}
        for tag, attributes in self.tags:
            if tag == "img":
                kind, _, data = attributes["src"].partition(",")
                assert kind == "data:image/png;base64"
                found[attributes["alt"]] = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        return found

    def assert_alone(self) -> None:
        """Nothing is fetched from anywhere."""
        for tag, attributes in self.tags:
            assert tag not in ("script", "link", "iframe", "object")
            assert attributes.get("src", "data:").startswith("data:")
            assert not attributes.get("href", "").startswith(("http", "//"))
