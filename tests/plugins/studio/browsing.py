"""A browser at the page, with no network but the page's own. Tests and the scripts of the pictures drive it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "browser_at", "drop", "slide_to"]

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
LONG = 240_000.0
"""Milliseconds that a slow machine may take for a step."""
_DROP = """([name, kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type: kind }));
  return held;
}"""


@contextmanager
def browser_at(
    url: str, *, width: int = 1400, height: int = 900, dark: bool = False
) -> Iterator[tuple[Any, list[str]]]:
    """A page open at an address, and what it asked of others: an address each, all of them refused."""
    from playwright.sync_api import sync_playwright

    others: list[str] = []

    def only_own(route: Any) -> None:
        asked = route.request.url
        if asked.startswith((url, "data:", "blob:")):
            route.continue_()
        else:
            others.append(asked)
            route.abort()

    cut = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=cut)
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        context.set_default_timeout(LONG)
        context.route("**/*", only_own)
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("#model-told p")
        yield page, others
        browser.close()


def drop(page: Any, where: str, path: Path) -> None:
    """Drop a photo onto a part of the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    held = page.evaluate_handle(_DROP, [path.name, "image/jpeg", data])
    page.dispatch_event(where, "drop", {"dataTransfer": held})


def slide_to(page: Any, place: int, strength: float) -> None:
    """Pull the slider at a place to a strength, with the mouse, and let go."""
    box = page.locator(f"#slider-{place} input[type=range]").bounding_box()
    y, across = box["y"] + box["height"] / 2, box["width"]
    page.mouse.move(box["x"] + across / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + across * (strength + 4) / 8, y, steps=3)
    page.mouse.up()
